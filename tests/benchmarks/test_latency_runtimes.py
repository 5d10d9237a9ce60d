"""How the runtimes compare: errors of predicted latency, and times of whole networks.

Off by default; `pytest -m benchmark tests/benchmarks/test_latency_runtimes.py` takes about eight
minutes of processor time and writes `results/benchmarks/latency_runtimes.csv` and
`runtime_ratios.csv`. One thread, batch size 1, processor time. Nothing here asserts a time.
"""

import csv
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from result_tables import RESULTS, write_table
from torch import nn

from spach_nas.config.runtime_registry import RUNTIMES, Format
from spach_nas.cost.limits import Limits
from spach_nas.feasible import FeasibleSet
from spach_nas.latency import runtimes
from spach_nas.latency.latency_table import Conditions, Timing
from spach_nas.latency.measuring import Clock, Network, measure_table
from spach_nas.latency.parts import BlockPart, Part, space_parts
from spach_nas.latency.timing import CHAIN, conditions, part_module, summarise
from spach_nas.networks import build
from spach_nas.networks.onnx_graph import onnx_bytes
from spach_nas.registry import import_named
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import get_reference
from spach_nas.space.search_space import SearchSpace

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]
FITTED, HELD_OUT = 5, 9
ROUNDS = 12
# Without `compile`, which takes half a minute for each part and network.
KINDS: tuple[tuple[str, Format], ...] = (
    ("eager", "fp32"),
    ("onnx", "fp32"),
    ("onnx", "int8"),
    ("openvino", "fp32"),
)
Key = tuple[tuple[str, Format], Part | Architecture]
SECONDS = 0.02
PAPER = ("conv_ms_xxs", "trans_ms_xxs", "mlp_ms_xxs", "hybrid_ms_xs")


def space(image_size: int) -> SearchSpace:
    """Two stages, small enough that every network can be timed in every runtime."""
    wide = image_size > 32
    return SearchSpace.from_dict(
        {
            "image_size": image_size,
            "in_channels": 3,
            "num_classes": 10,
            "patch_size": 4 if wide else 2,
            "expansion_ratio": 2,
            "heads": 2,
            "stages": [
                {"depth": [1, 2], "width": [32, 64] if wide else [16, 32], "mixers": "conv"},
                {
                    "depth": [2, 4],
                    "width": {"times": 2},
                    "mixers": {"leading": "conv", "trailing": ["conv", "attention", "mlp"]},
                },
            ],
        }
    )


@pytest.fixture(autouse=True)
def exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting takes seconds, so runtimes share a graph; its weights are random anyway."""
    known: dict[str, tuple[bytes, int]] = {}

    def share(program: torch.export.ExportedProgram, *, opset: int) -> tuple[bytes, int]:
        text = program.graph_module.print_readable(print_output=False)  # with all shapes
        if text not in known:
            known[text] = onnx_bytes(program, opset=opset)
        return known[text]

    monkeypatch.setattr(runtimes, "onnx_bytes", share)


@pytest.mark.parametrize("image_size", [32, 224])
def test_prediction_error(image_size: int) -> None:
    pytest.importorskip("openvino")
    searched = space(image_size)
    drawn = FeasibleSet(searched, Limits()).samples(FITTED + HELD_OUT, 0)
    networks = [
        Network(item.arch_id, item, place < FITTED)
        for place, item in enumerate(dict.fromkeys(drawn))
    ]
    items: list[Part | Architecture] = [*space_parts(searched), *(each[1] for each in networks)]
    with torch.inference_mode():
        times = _in_turns({(kind, item): _ready(item, *kind) for kind in KINDS for item in items})
    for kind in KINDS:
        table = measure_table(
            space_parts(searched),
            networks,
            _where(*kind),
            clock=Clock(
                part=lambda part, _, kind=kind: times[kind, part],
                network=lambda item, _, kind=kind: times[kind, item],
            ),
        )
        assert table.error is not None
        row = {
            **{"runtime": kind[0], "precision": kind[1], "px": image_size},
            **{"parts": len(table.parts), "held_out": table.error.networks},
            "scale": f"{table.scale:.3f}",
            "median_error": f"{table.error.median:.4f}",
            "largest_error": f"{table.error.largest:.4f}",
            "kendall": f"{table.error.rank_correlation:.3f}",
            "version": " ".join(list(_where(*kind).versions.items())[-1]),
        }
        _replace("latency_runtimes.csv", [row], keys=("runtime", "precision", "px"))


def _in_turns(runs: Mapping[Key, Callable[[], object]]) -> dict[Key, Timing]:
    """Medians over rounds in a new order each, so that drift and other work hit all alike."""
    rng, keys = np.random.default_rng(0), list(runs)
    passes = {}
    for key, run in runs.items():
        run()
        passes[key] = max(1, math.ceil(SECONDS / _timed(run)))
    found: dict[Key, list[float]] = {key: [] for key in keys}
    for _ in range(ROUNDS):
        for place in rng.permutation(len(keys)):
            key = keys[place]
            found[key].append(_timed(runs[key], passes[key]) / passes[key])
    return {
        # A part is timed in a chain, as for a table.
        key: summarise(
            [1e9 * each / (CHAIN if isinstance(key[1], BlockPart) else 1) for each in own]
        )
        for key, own in found.items()
    }


@pytest.mark.parametrize("name", PAPER)
def test_whole_networks(name: str) -> None:
    pytest.importorskip("openvino")
    architecture = get_reference(name).architecture
    with torch.inference_mode():
        runs = [_ready(architecture, *kind) for kind in KINDS]
        for run in runs:
            run()
        # In turns, so that drift cancels.
        times = np.array([[_timed(run) for run in runs] for _ in range(ROUNDS)])
    rows = [
        {
            **{"network": name, "runtime": runtime, "precision": precision},
            "ms": f"{1e3 * np.median(times[:, place]):.1f}",
            "over_eager": f"{np.median(times[:, place] / times[:, 0]):.3f}",
            "low": f"{np.quantile(times[:, place] / times[:, 0], 0.25):.3f}",
            "high": f"{np.quantile(times[:, place] / times[:, 0], 0.75):.3f}",
        }
        for place, (runtime, precision) in enumerate(KINDS)
    ]
    _replace("runtime_ratios.csv", rows, keys=("network",))


def _where(runtime: str, precision: Format) -> Conditions:
    return conditions(runtime=runtime, device="cpu", precision=precision)


def _ready(item: Part | Architecture, runtime: str, precision: Format) -> Callable[[], object]:
    torch.manual_seed(0)
    if isinstance(item, Architecture):
        module: nn.Module = build(item)
        image = torch.randn(1, item.in_channels, *item.image_size)
    else:
        module, image, _ = part_module(item, batch_size=1)
    factory = import_named(RUNTIMES.find(runtime).factory, what=runtime)
    run: Callable[[], object] = factory(
        module.eval().requires_grad_(False), image, _where(runtime, precision)
    )
    return run


def _timed(run: Callable[[], object], passes: int = 1) -> float:
    started = time.thread_time()
    for _ in range(passes):
        run()
    return time.thread_time() - started


def _replace(name: str, rows: Sequence[dict[str, object]], *, keys: Sequence[str]) -> None:
    """Write rows in place of those with the same keys, so that a run can be continued."""
    path: Path = RESULTS / name
    kept: list[dict[str, str]] = []
    new = {tuple(str(row[key]) for key in keys) for row in rows}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            kept = [
                row for row in csv.DictReader(file) if tuple(row[key] for key in keys) not in new
            ]
    write_table(name, [*kept, *rows], test=__file__)
