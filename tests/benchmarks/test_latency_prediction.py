"""How far predicted latency is off for whole networks, on one thread.

Off by default; `pytest -m benchmark tests/benchmarks/test_latency_prediction.py` takes about three
minutes and writes `results/benchmarks/latency.csv`. Parts and networks are timed in turns, so that
drift cancels, and in seconds of the processor, so that other work on the machine matters little.
Nothing here asserts a time.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from result_tables import RESULTS, write_table
from scipy.stats import kendalltau

from spach_nas.config.shipped import shipped_folder
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.feasible import FeasibleSet
from spach_nas.latency.latency_table import Conditions, Timing
from spach_nas.latency.measuring import Clock, Network, measure_table
from spach_nas.latency.parts import Part, part_name, parts_of
from spach_nas.latency.timing import CHAIN, conditions, part_module, time_module
from spach_nas.networks import build
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import get_reference
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from spach_nas.space.search_space import SearchSpace

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
RANDOM, FITTED = 40, 8
PAPER = ("conv_ms_xxs", "trans_ms_xxs", "mlp_ms_xxs")
# The dearest networks would take most of the time and say nothing else.
LIMITS = Limits(max_macs=2_500_000_000)
PROXY = ProxyRule(image_size=(32, 32), patch_size=2, width_scale=0.25)
DATA = DataShape(in_channels=1, num_classes=10)
SECONDS = 0.05
Floats = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Sums over parts, or another figure, that stand for the latency of each network."""

    what: str
    figures: Floats


def targets() -> list[tuple[str, Architecture]]:
    space = SearchSpace.from_yaml(shipped_folder() / "spach_ms.yaml")
    drawn = FeasibleSet(space, LIMITS).samples(RANDOM, 0)
    named = [(item.arch_id, item) for item in dict.fromkeys(drawn)]
    return [*named, *((name, get_reference(name).architecture) for name in PAPER)]


def proxies() -> list[tuple[str, Architecture]]:
    found = {scale(item, PROXY, DATA): name for name, item in targets()}
    return [(name, item) for item, name in found.items()]


@pytest.mark.parametrize("networks", [targets, proxies], ids=["targets", "proxies"])
def test_prediction_error(networks: Callable[[], list[tuple[str, Architecture]]]) -> None:
    named = networks()
    architectures = [item for _, item in named]
    alone: dict[str, float] = {}

    def part(item: Part, where: Conditions) -> Timing:
        alone[part_name(item)] = _time_part(item, where, 1).median
        return _time_part(item, where, CHAIN)

    def network(item: Architecture, where: Conditions) -> Timing:
        return time_module(
            build(item),
            _image(item),
            where,
            seconds=2 * SECONDS,
        )

    parts = list(dict.fromkeys(own for item in architectures for own in parts_of(item)))
    # In a random order: the table of a space has the parts of a stage one after another.
    parts = [parts[i] for i in np.random.default_rng(0).permutation(len(parts))]
    table = measure_table(
        parts,
        [Network(name, item, False) for name, item in named],
        conditions(),
        clock=Clock(part=part, network=network),
    )
    measured = np.array([check.measured for check in table.checks])
    chained = {name: times.median for name, times in table.parts.items()}
    predictions = [
        Prediction(what=f"blocks in a chain of {CHAIN}", figures=_sums(architectures, chained)),
        Prediction(what="blocks alone", figures=_sums(architectures, alone)),
        Prediction(what="MACs", figures=np.array([float(cost(a).macs) for a in architectures])),
    ]
    rows = [
        (networks.__name__, each.what, correction, *figures)
        for each in predictions
        for correction, figures in _errors(measured, each)
    ]
    _write(networks.__name__, rows, parts=len(parts))


def _time_part(item: Part, where: Conditions, chain: int) -> Timing:
    module, example, number = part_module(item, batch_size=1, chain=chain)
    whole = time_module(module, example, where, seconds=SECONDS)
    return Timing(median=whole.median / number, low=whole.low, high=whole.high, runs=whole.runs)


def _image(item: Architecture) -> torch.Tensor:
    return torch.randn(1, item.in_channels, *item.image_size)


def _sums(architectures: Sequence[Architecture], times: dict[str, float]) -> Floats:
    return np.array(
        [
            sum(count * times[part_name(part)] for part, count in parts_of(item).items())
            for item in architectures
        ]
    )


def _errors(measured: Floats, prediction: Prediction) -> Iterator[tuple[str, tuple]]:
    """By correction: held-out networks, median and largest error, Kendall's tau."""
    fit, held = slice(0, FITTED), slice(FITTED, None)
    ratio = measured[fit] / prediction.figures[fit]
    # Least squares of the relative error.
    lines = np.stack([1 / measured[fit], prediction.figures[fit] / measured[fit]], axis=1)
    offset, slope = np.linalg.lstsq(lines, np.ones(FITTED), rcond=None)[0]
    corrected = {
        "none": prediction.figures,
        "one factor": np.median(ratio) * prediction.figures,
        "factor and offset": offset + slope * prediction.figures,
    }
    if prediction.what == "MACs":
        del corrected["none"]
    for name, figures in corrected.items():
        off = np.abs(figures[held] / measured[held] - 1)
        tau = kendalltau(figures[held], measured[held]).statistic
        yield (
            name,
            (
                len(off),
                f"{np.median(off):.4f}",
                f"{np.quantile(off, 0.9):.4f}",
                f"{off.max():.4f}",
                f"{tau:.3f}",
            ),
        )


def _write(networks: str, rows: list[tuple], *, parts: int) -> None:
    """Replace the rows of these networks."""
    path = RESULTS / "latency.csv"
    kept: list[dict[str, str]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            kept = [row for row in csv.DictReader(file) if row["networks"] != networks]
    names = ("networks", "predicted_by", "correction", "held_out", "median_error")
    names += ("p90_error", "largest_error", "kendall")
    new = [{**dict(zip(names, row, strict=True)), "parts": parts} for row in rows]
    write_table("latency.csv", [*kept, *new], test=__file__)
