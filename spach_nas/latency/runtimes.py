"""What runs a module for a measurement: one function for each runtime, as its entry names it."""

from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor, nn

from spach_nas.errors import LatencyError, one_of
from spach_nas.latency.latency_table import Conditions
from spach_nas.networks.onnx_graph import INPUT, OPSET, OUTPUT, onnx_bytes
from spach_nas.networks.onnx_layout import for_runtimes
from spach_nas.networks.onnx_number_formats import fp16_bytes, int8_bytes

Run = Callable[[], object]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def eager(module: nn.Module, example: Tensor, where: Conditions) -> Run:
    """PyTorch as it is."""
    module, example = _on_device(module, example, where)
    return lambda: module(example)


def compiled(module: nn.Module, example: Tensor, where: Conditions) -> Run:
    """torch.compile, which may need a C++ compiler or Triton."""
    module, example = _on_device(module, example, where)
    # After too many shapes of one module class, torch silently falls back to eager.
    torch.compiler.reset()
    faster = torch.compile(module)
    faster(example)
    return lambda: faster(example)


def onnx_runtime(module: nn.Module, example: Tensor, where: Conditions) -> Run:
    """ONNX Runtime on the CPU or a GPU."""
    return _session(module, example, where, providers=(_PROVIDERS[where.device],))


def tensor_rt(module: nn.Module, example: Tensor, where: Conditions) -> Run:
    """TensorRT within ONNX Runtime, which builds an engine and leaves the rest to CUDA."""
    providers = "TensorrtExecutionProvider", _PROVIDERS["cuda"]
    return _session(module, example, where, providers=providers)


def open_vino(module: nn.Module, example: Tensor, where: Conditions) -> Run:
    """OpenVINO on the CPU, one image or batch at a time."""
    vino = import_module("openvino")
    core = vino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": where.threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",  # otherwise bf16 where the processor computes in it
    }
    graph = core.read_model(_onnx_graph(module, example, where))
    request = core.compile_model(graph, "CPU", settings).create_infer_request()
    request.set_input_tensor(vino.Tensor(example.numpy()))
    run: Run = request.infer
    return run


def _on_device(module: nn.Module, example: Tensor, where: Conditions) -> tuple[nn.Module, Tensor]:
    dtype = _DTYPES[where.precision]
    # As in training and deployment: (B, H, W, C) features are channels-last for a convolution.
    module = module.to(where.device, dtype).to(memory_format=torch.channels_last)
    return module, example.to(where.device, dtype)


def _onnx_graph(module: nn.Module, example: Tensor, where: Conditions) -> bytes:
    """The graph that `spach-nas export` writes, in the format of the measurement."""
    program = torch.export.export(for_runtimes(module), (example,))
    data, _ = onnx_bytes(program, opset=OPSET)
    if where.precision == "fp16":
        return fp16_bytes(data)
    # Ranges of features do not matter for the time, so the input is enough to calibrate on.
    return int8_bytes(data, [example]) if where.precision == "int8" else data


def _session(
    module: nn.Module, example: Tensor, where: Conditions, *, providers: tuple[str, ...]
) -> Run:
    ort = import_module("onnxruntime")
    _check_provider(providers[0], ort.get_available_providers())
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = where.threads, 1
    options.log_severity_level = 3
    data = _onnx_graph(module, example, where)
    session = ort.InferenceSession(data, options, providers=list(providers))
    # A provider whose libraries do not load is left out without an error.
    _check_provider(providers[0], session.get_providers())
    # Bound to the device, so that no copy of images and outputs is timed.
    bound = session.io_binding()
    image = ort.OrtValue.ortvalue_from_numpy(example.numpy(), where.device, 0)
    bound.bind_ortvalue_input(INPUT, image)
    bound.bind_output(OUTPUT, where.device)
    return lambda: session.run_with_iobinding(bound)


def _check_provider(wanted: str, found: list[str]) -> None:
    if wanted not in found:
        raise LatencyError(
            f"this ONNX Runtime has {one_of(found)}, no {wanted}; expected another device, or "
            "pip install onnxruntime-gpu in its place, with the libraries of NVIDIA that it names"
        )
