"""`model.onnx` in the hands of other tools: what is in the graph, and what reads it."""

from collections import Counter
from functools import cache
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

from conftest import run_main
from effort import with_slow
from network_tools import images, randomised, small
from spach_nas.export.formats import FORMS
from spach_nas.networks.onnx_layout import for_runtimes
from spach_nas.space.architecture import Architecture

# Every mixer, both stems, a halving, and a stage whose mixer functions stand outside its blocks.
NETWORKS: dict[str, tuple[Architecture, int]] = {
    "deep": (small(("attention",), ("mlp",), stem="conv4"), 20),
    "shared": (small(("mlp", "attention", "mlp"), shared=True), 18),
}


@cache
def exported(name: str) -> tuple[torch.nn.Module, bytes]:
    architecture, opset = NETWORKS[name]
    network = randomised(architecture).eval()
    make = FORMS["onnx"].make
    assert make is not None
    return network, make(network, opset, ())


def difference(model: bytes | Path, name: str, *, batch: int) -> float:
    """From the network's logits, at most."""
    network, _ = exported(name)
    x = images(NETWORKS[name][0], batch=batch)
    session = onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model))
    (logits,) = session.run(["logits"], {"image": x.numpy()})
    with torch.inference_mode():
        return float((torch.from_numpy(logits) - network(x)).abs().max())


@pytest.mark.parametrize("name", with_slow(NETWORKS, "deep"))
def test_a_graph_has_neither_sequences_nor_computed_shapes(name: str) -> None:
    network, data = exported(name)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    found = Counter(node.op_type for node in model.graph.node)
    foreign = {"SplitToSequence", "SequenceAt", "Shape", "Concat", "CastLike", "Constant", "If"}
    assert foreign.isdisjoint(found)
    assert found["Softmax"] == 1
    names = {item.name for item in model.graph.initializer}
    counts = {key for key, value in network.state_dict().items() if not value.is_floating_point()}
    assert set(network.state_dict()) - names == counts
    formats = {item.data_type for item in model.graph.initializer}
    assert formats <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}


@pytest.mark.parametrize("name", with_slow(NETWORKS, "deep"))
def test_layouts_change_only_where_a_convolution_or_heads_need_it(name: str) -> None:
    architecture = NETWORKS[name][0]
    found = Counter(node.op_type for node in onnx.load_from_string(exported(name)[1]).graph.node)
    mixers = Counter(mixer for stage in architecture.stages for mixer in stage.mixers)
    halvings = len(architecture.stages) - 1
    # To a convolution and back, but for the stem, whose image is as convolutions want it;
    # queries, keys, values and what attention makes of them.
    assert found["Transpose"] == 1 + 2 * (mixers.total() + halvings) + 4 * mixers["attention"]
    assert found["InstanceNormalization"] == halvings
    # Products of linear layers with their bias, and their weights as the network has them.
    assert found["Gemm"] == 2 * mixers.total() + 2 * mixers["attention"] + 1
    assert found["Slice"] == found["Squeeze"] == 0


def test_a_graph_for_runtimes_leaves_the_network_as_it_is() -> None:
    network = randomised(NETWORKS["deep"][0]).eval()
    kinds = [type(module) for module in network.modules()]
    faster = for_runtimes(network)
    assert [type(module) for module in network.modules()] == kinds
    own, other = network.state_dict(), faster.state_dict()
    assert list(own) == list(other)
    assert all(own[name].data_ptr() == other[name].data_ptr() for name in own)


@pytest.mark.parametrize("name", with_slow(NETWORKS, "deep"))
def test_the_batch_is_called_batch(name: str) -> None:
    graph = onnx.load_from_string(exported(name)[1]).graph
    axes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    ]
    assert axes == [["batch", 2, 16, 24], ["batch", 5]]
    inner = [dim for item in graph.value_info for dim in item.type.tensor_type.shape.dim]
    assert not any(dim.dim_param.startswith("s") for dim in inner)
    assert all(dim.WhichOneof("value") is None or dim.dim_param or dim.dim_value for dim in inner)


@pytest.mark.parametrize("name", with_slow(NETWORKS, "deep"))
def test_tools_of_onnx_runtime_know_every_shape(name: str, tmp_path: Path) -> None:
    _, data = exported(name)
    assert difference(data, name, batch=3) < 1e-5
    assert SymbolicShapeInference.infer_shapes(onnx.load_from_string(data)) is not None
    (tmp_path / "model.onnx").write_bytes(data)
    quant_pre_process(str(tmp_path / "model.onnx"), str(tmp_path / "ready.onnx"))
    assert difference(tmp_path / "ready.onnx", name, batch=2) < 1e-5


@pytest.mark.parametrize("name", with_slow(NETWORKS, "deep"))
def test_the_opset_is_the_one_asked_for(name: str) -> None:
    model = onnx.load_from_string(exported(name)[1])
    assert {item.domain: item.version for item in model.opset_import} == {"": NETWORKS[name][1]}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--opset", "17"],
        ["--opset", "24"],
        ["--opset", "18", "--formats", "pt2"],
    ],
)
def test_an_opset_that_cannot_be_made_is_told(arguments: list[str], tmp_path: Path) -> None:
    code, lines = run_main("export", "conv_xxs", "--out", str(tmp_path / "net"), *arguments)
    assert code == 2
    assert "--opset" in "\n".join(lines)
