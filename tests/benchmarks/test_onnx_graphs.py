"""Nodes and latency of ONNX graphs, in the layout of PyTorch and in that of runtimes.

Off by default; `pytest -m benchmark tests/benchmarks/test_onnx_graphs.py` takes about five minutes
and writes `results/benchmarks/onnx_graphs.csv`. Both graphs of a network are timed in turns, in
seconds of the processor, by ONNX Runtime on one thread. Nothing here asserts a time.
"""

import time
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from result_tables import write_table

from spach_nas.networks import build
from spach_nas.networks.onnx_graph import INPUT, OPSET, OUTPUT, onnx_bytes
from spach_nas.networks.onnx_layout import for_runtimes
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import get_reference
from spach_nas.space.scaling import DataShape, ProxyRule, scale

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1200)]
PROXY = ProxyRule(image_size=(32, 32), patch_size=2, width_scale=0.25)
DATA = DataShape(in_channels=1, num_classes=10)
PROXIES = ("conv_ms_s", "trans_ms_s", "mlp_ms_s", "hybrid_ms_s_plus")
TARGETS = ("conv_ms_xs", "trans_ms_xs", "mlp_ms_xs", "hybrid_ms_xs")
ROUNDS = {32: 150, 224: 15}


def test_nodes_and_latency() -> None:
    named = [(name, scale(get_reference(name).architecture, PROXY, DATA)) for name in PROXIES]
    named += [(name, get_reference(name).architecture) for name in TARGETS]
    write_table("onnx_graphs.csv", [_row(name, item) for name, item in named], test=__file__)


def _row(name: str, architecture: Architecture) -> dict[str, object]:
    network = build(architecture).eval()
    image = torch.randn(1, architecture.in_channels, *architecture.image_size)
    before, after = (_data(module, image) for module in (network, for_runtimes(network)))
    sessions = [_session(before), _session(after)]
    times = np.array(
        [_round(sessions, image.numpy()) for _ in range(ROUNDS[architecture.image_size[0]])]
    )
    row: dict[str, object] = {"network": name, "px": architecture.image_size[0]}
    for which, data, own in zip(("before", "after"), (before, after), times.T, strict=True):
        kinds = Counter(node.op_type for node in onnx.load_from_string(data).graph.node)
        row |= {
            f"nodes_{which}": kinds.total(),
            f"transposes_{which}": kinds["Transpose"],
            f"ms_{which}": f"{1e3 * np.median(own):.3f}",
        }
    return row | {"after_over_before": f"{np.median(times[:, 1] / times[:, 0]):.3f}"}


def _data(module: torch.nn.Module, image: torch.Tensor) -> bytes:
    return onnx_bytes(torch.export.export(module, (image,)), opset=OPSET)[0]


def _session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _round(sessions: list[onnxruntime.InferenceSession], image: np.ndarray) -> list[float]:
    found = []
    for session in sessions:
        session.run([OUTPUT], {INPUT: image})  # its weights are in the caches
        started = time.thread_time()
        session.run([OUTPUT], {INPUT: image})
        found.append(time.thread_time() - started)
    return found
