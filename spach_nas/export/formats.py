"""The forms of a bundle: how each is made from a network, and how it is run from its file.

All of them keep the names of the network's tensors, so that the very graph in a file can also be
run with other weights: parity is proven with weights under which every part matters.

Letters: B batch, C channels, H and W image, K classes.
"""

import importlib.util
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import timm
import torch
from safetensors.torch import save
from torch import Tensor

from spach_nas.errors import BundleError, one_line
from spach_nas.export.bundle import SMALL_FORMATS, WEIGHTS, load_architecture, load_weights
from spach_nas.networks import Spach, build
from spach_nas.networks.onnx_graph import INPUT, OUTPUT, onnx_bytes
from spach_nas.networks.onnx_layout import for_runtimes
from spach_nas.networks.onnx_number_formats import fp16_bytes, int8_bytes
from spach_nas.space.architecture import Architecture

Weights = Mapping[str, Tensor]
# (B, C, H, W) -> (B, K), in float32.
Run = Callable[[Tensor], Tensor]
# A form that was read from its file, ready to run with its own weights (None) or with others. A new
# call replaces the weights, so runs that were returned earlier must not be used again.
Opened = Callable[[Weights | None], Run]

# Batches of images (B, C, H, W) by which number formats are chosen.
Calibration = Sequence[Tensor]

ONNX, PT2 = "model.onnx", "model.pt2"
# A float32 sum of n terms has a relative error of about 2**-24 * sqrt(n), and another order of the
# sum is equally valid. On its way through the largest network of the paper a number is summed over
# about 10**5 terms, which gives 2e-5. Measured: 2e-6 for proxies, 6e-6 at full size, and 5e-3 or
# more if any one tensor is set to zero.
RELATIVE_TOLERANCE = 1e-4
# Float16 rounds by 2**-11 each time. Measured: 1e-3 to 5e-3 for trained proxies.
_TOLERANCE_FP16 = 3e-2
_NO_PACKAGE = "needs the packages {}: pip install 'spach-nas[export]'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """One form of a network.

    Attributes:
        name: Its name in `--formats`.
        file: Name of its file.
        open: Reads it from a folder.
        make: Returns its bytes for a network and an opset of ONNX. None if the files that every
            bundle has are sufficient. If torch cannot trace it, it raises one of many errors.
        packages: Packages needed to make it, in addition to this package's requirements.
        runtime: Packages needed to run it.
        relative_tolerance: How much its logits may differ by rounding, as a share of their root
            mean square. None: it is judged by its accuracy alone.
    """

    name: str
    file: str
    open: Callable[[Path], Opened]
    make: Callable[[Spach, int, Calibration], bytes] | None = None
    packages: tuple[str, ...] = ()
    runtime: tuple[str, ...] = ()
    relative_tolerance: float | None = RELATIVE_TOLERANCE

    @property
    def is_small(self) -> bool:
        """Whether it has a smaller number format, so that its outputs are not the network's."""
        return self.name in SMALL_FORMATS

    @property
    def cannot_make(self) -> str:
        """Why it cannot be made on this machine; empty if it can."""
        return _lacking(self.packages)

    @property
    def cannot_run(self) -> str:
        """Why it cannot be run on this machine; empty if it can."""
        return _lacking(self.runtime)


def _lacking(packages: tuple[str, ...]) -> str:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return _NO_PACKAGE.format(", ".join(missing)) if missing else ""


def as_run(network: torch.nn.Module) -> Run:
    """A network in evaluation mode as a function of images."""

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = network(images)
        return logits

    return run


def _open_safetensors(folder: Path) -> Opened:
    network = build(load_architecture(folder)).eval()

    def opened(weights: Weights | None) -> Run:
        data = (folder / WEIGHTS).read_bytes() if weights is None else save(dict(weights))
        load_weights(network, data, where=str(folder / WEIGHTS))
        return as_run(network)

    return opened


def _open_timm(folder: Path) -> Opened:
    def opened(weights: Weights | None) -> Run:
        network = timm.create_model(f"local-dir:{folder}", pretrained=weights is None).eval()
        if weights is not None:
            network.load_state_dict(weights)
        return as_run(network)

    return opened


def trace(network: torch.nn.Module, architecture: Architecture) -> torch.export.ExportedProgram:
    """A network of this architecture as a graph of operators, for any batch size."""
    # With an example batch of 1, torch would treat the batch size as a constant.
    example = torch.zeros(2, architecture.in_channels, *architecture.image_size)
    program = torch.export.export(
        network.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    # Sample inputs would be pickled, and stack traces would reveal paths of this machine.
    program.example_inputs = None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _make_pt2(network: Spach, _: int, __: Calibration) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(trace(network, network.architecture), buffer)
    check_archive(io.BytesIO(buffer.getvalue()), where=PT2)
    return buffer.getvalue()


def _open_pt2(folder: Path) -> Opened:
    path = folder / PT2
    check_archive(path, where=str(path))
    try:
        network = torch.export.load(path).module()
    # torch has no specific error for a damaged file.
    except Exception as problem:
        raise BundleError(f"{path}: cannot be loaded: {one_line(problem)}") from problem
    own = {name: value.clone() for name, value in network.state_dict().items()}

    def opened(weights: Weights | None) -> Run:
        network.load_state_dict(own if weights is None else weights)
        return as_run(network)

    return opened


def _make_onnx(network: Spach, opset: int, _: Calibration) -> bytes:
    data, made = onnx_bytes(trace(for_runtimes(network), network.architecture), opset=opset)
    if made != opset:
        raise BundleError(f"--opset: {opset}; torch's exporter only reaches {made} here")
    return data


def _make_fp16(network: Spach, opset: int, calibration: Calibration) -> bytes:
    return fp16_bytes(_make_onnx(network, opset, calibration))


def _make_int8(network: Spach, opset: int, calibration: Calibration) -> bytes:
    return int8_bytes(_make_onnx(network, opset, calibration), calibration)


@dataclass(frozen=True, kw_only=True, slots=True)
class _OnnxRun:
    session: Any
    # The session does not keep the replaced weights alive; this does.
    borrowed: tuple[Any, ...]

    def __call__(self, images: Tensor) -> Tensor:
        return torch.from_numpy(self.session.run([OUTPUT], {INPUT: images.numpy()})[0])


def _open_onnx(folder: Path, *, file: str = ONNX) -> Opened:
    path = folder / file
    data = path.read_bytes()

    def opened(weights: Weights | None) -> Run:
        try:
            return _onnx_run(data, weights)
        except Exception as problem:  # ONNX Runtime's errors have no common class
            raise BundleError(f"{path}: cannot be loaded: {one_line(problem)}") from problem

    return opened


def _onnx_run(data: bytes, weights: Weights | None) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    borrowed = []
    if weights is not None:
        # The optimiser would fold the original weights into constants before they are replaced.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        for name, value in weights.items():
            if value.is_floating_point():
                borrowed.append(onnxruntime.OrtValue.ortvalue_from_numpy(value.numpy()))
                options.add_initializer(name, borrowed[-1])
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return _OnnxRun(session=session, borrowed=tuple(borrowed))


_ALL = (
    Form(name="safetensors", file=WEIGHTS, open=_open_safetensors),
    Form(name="timm", file="config.json", open=_open_timm),
    Form(
        name="onnx",
        file=ONNX,
        make=_make_onnx,
        open=_open_onnx,
        packages=("onnx", "onnxscript", "onnxruntime"),
        runtime=("onnxruntime",),
    ),
    Form(name="pt2", file=PT2, make=_make_pt2, open=_open_pt2),
    *(
        Form(
            name=name,
            file=file,
            make=make,
            open=partial(_open_onnx, file=file),
            packages=("onnx", "onnxscript", "onnxruntime"),
            runtime=("onnxruntime",),
            relative_tolerance=tolerance,
        )
        for name, file, make, tolerance in (
            ("onnx_fp16", "model_fp16.onnx", _make_fp16, _TOLERANCE_FP16),
            ("onnx_int8", "model_int8.onnx", _make_int8, None),
        )
    ),
)
FORMS = {form.name: form for form in _ALL}


# What a `.pt2` file may contain. `torch.export.load` trusts its file: it unpickles, evaluates
# symbolic sizes and guards as Python, and accepts operators by any path below `torch`. So the file
# is inspected first, and everything that a network of ours does not need is refused.
_MEMBERS = (
    r"models/[\w-]+\.json",
    r"data/(weights|constants)/[\w-]+_config\.json",
    r"data/weights/weight_\d+",
    r"data/constants/tensor_\d+",
    r"archive_format|archive_version|byteorder|\.data/version|\.data/serialization_id",
)
_MEMBER = re.compile("|".join(f"({pattern})" for pattern in _MEMBERS))
# torch writes an empty file for sample inputs that are left out.
_EMPTY_MEMBER = re.compile(r"data/sample_inputs/[\w-]+\.pt")
_OPERATOR = re.compile(r"(torch\.ops|_operator|math)(\.\w+)+")
# torch evaluates sizes as sympy expressions, so only numbers, symbols and arithmetic are allowed.
_SYMBOLIC = re.compile(
    r"("
    r"'[su]\d+'|\d+|[-+*/(),=\s]"
    r"|Symbol|Integer|Rational|positive|integer|nonnegative|True|False"
    r"|Add|Mul|Pow|Mod|PythonMod|Max|Min|FloorDiv|CleanDiv|CeilDiv|Eq|Ne|Lt|Le|Gt|Ge"
    r")*"
)
_LARGEST_JSON = 256 * 2**20


def check_archive(path: Path | IO[bytes], *, where: str) -> None:
    """Check that a `.pt2` file contains tensors, a graph of operators, and nothing else.

    Raises:
        BundleError: It is not such an archive, or contains something that loading might execute.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                _check_member(archive, member, where=where)
    except (zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError) as problem:
        if isinstance(problem, BundleError):  # it is a ValueError, too
            raise
        raise BundleError(
            f"{where}: not an archive of torch.export ({one_line(problem)}); expected the file as "
            "exported"
        ) from None


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, where: str) -> None:
    # The first folder is the archive's own name.
    name = member.filename.partition("/")[2]
    if _EMPTY_MEMBER.fullmatch(name) and member.file_size == 0:
        return
    if not _MEMBER.fullmatch(name):
        raise BundleError(
            f"{where}: contains {member.filename!r}, which might be executed; expected only "
            "weights and a graph"
        )
    if not name.endswith(".json"):
        return
    if member.file_size > _LARGEST_JSON:
        raise BundleError(f"{where}: {member.filename!r} is too large to be inspected")
    for key, value in _items(json.loads(archive.read(member))):
        if not _is_harmless(key, value):
            raise BundleError(
                f"{where}: {member.filename}: {key}: {value!r:.200}, which might be executed; "
                "expected only weights and a graph"
            )


def _is_harmless(key: str, value: Any) -> bool:
    if key == "use_pickle":
        return value is False
    if key == "target":
        return isinstance(value, str) and bool(_OPERATOR.fullmatch(value))
    if key == "expr_str":
        return isinstance(value, str) and bool(_SYMBOLIC.fullmatch(value))
    if key in ("guards_code", "graph_module_guards"):
        return not value
    if key == "path_name":
        return isinstance(value, str) and bool(re.fullmatch(r"(weight|tensor)_\d+", value))
    return True


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of nested JSON with its value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key, item
            yield from _items(item)
    elif isinstance(value, list):
        for item in value:
            yield from _items(item)
