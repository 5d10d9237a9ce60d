"""The published table of `results/spach_bench` is whole, and what is said of it comes from it."""

from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from scripts import load_script
from spach_nas.config.search_settings import SearchSettings
from spach_nas.config.search_yaml import load_config
from spach_nas.cost.closed_form import cost
from spach_nas.replay import Benchmark, Table, read_benchmark, read_table, write_table
from spach_nas.space.references import REFERENCES
from spach_nas.space.scaling import DataShape, scale

pytestmark = pytest.mark.published

FOLDER = Path(__file__).parents[2] / "results" / "spach_bench"
CONFIG = load_config(FOLDER / "search.yaml")
SEEDS = [load_config(FOLDER / f"seed_{seed}.yaml") for seed in (1, 2)]
DEFAULTS = SearchSettings(trials=1)


@cache
def table() -> Table:
    return read_table(FOLDER / "table.csv")


@cache
def benchmark() -> Benchmark:
    return read_benchmark([FOLDER])


def test_every_architecture_of_the_space_is_there() -> None:
    inside = {entry.architecture.arch_id for entry in table().entries.values()} & {
        item.arch_id for item in benchmark().feasible.members
    }
    assert len(inside) == CONFIG.search.trials == CONFIG.space.size()
    assert all(CONFIG.space.contains(entry.architecture) or entry.reference
               for entry in table().entries.values())  # fmt: skip


def test_every_training_has_the_epochs_of_the_protocol() -> None:
    for entry in table().entries.values():
        assert {len(curve) for curve in entry.curves.values()} == {CONFIG.training.epochs}


@pytest.mark.parametrize("of", ["target", "proxy"])
def test_costs_are_those_of_the_architectures(of: str) -> None:
    data = DataShape(in_channels=1, num_classes=10)
    for entry in table().entries.values():
        architecture = entry.architecture
        if of == "proxy":
            assert entry.proxy_cost == cost(scale(architecture, CONFIG.proxy, data))
        else:
            assert entry.target_cost == cost(architecture)


def test_the_papers_models_and_forty_more_have_three_seeds() -> None:
    several = [entry for entry in table().entries.values() if len(entry.curves) > 1]
    assert {tuple(entry.curves) for entry in several} == {(0, 1, 2)}
    assert {entry.reference for entry in several} - {None} == set(CONFIG.references)
    assert sum(entry.reference is None for entry in several) == SEEDS[0].search.trials


def test_the_papers_models_are_those_of_the_paper() -> None:
    named = {entry.reference: entry for entry in table().entries.values() if entry.reference}
    assert set(named) == set(CONFIG.references)
    for name, entry in named.items():
        assert entry.architecture == REFERENCES[name].architecture


def test_the_table_is_that_of_the_records(tmp_path: Path) -> None:
    studies = [FOLDER / f"study_{seed}" for seed in (0, 1, 2)]
    write_table(read_benchmark(studies).table, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes() == (FOLDER / "table.csv").read_bytes()


def test_what_is_said_of_trust_comes_from_the_table() -> None:
    trust = load_script(FOLDER / "trust.py")
    rows = trust.read_table()
    for name, found in {"trust": trust.figures(rows), "effects": trust.effects(rows)}.items():
        published = pd.read_csv(FOLDER / f"{name}.csv")
        pd.testing.assert_frame_equal(
            published, found.reset_index(drop=True), check_dtype=False, atol=6e-4, rtol=0
        )


def test_the_front_is_that_of_the_table() -> None:
    front = pd.read_csv(FOLDER / "front.csv")
    entries = {entry.architecture.arch_id: entry for entry in benchmark().front}
    assert list(front["target_macs"]) == sorted(front["target_macs"])
    assert set(front["arch_id"]) == set(entries)
    for row in front.itertuples():
        last = [curve[-1].accuracy for curve in entries[row.arch_id].curves.values()]
        assert row.table == pytest.approx(sum(last) / len(last), abs=1e-6)


def test_the_default_sampler_leads_once_it_has_begun() -> None:
    """Stock, by the same sampler too, and uniform search never find more, in the median."""
    medians = medians_after_startup("regret")
    for other in ("random", *(name for name in medians if name.startswith("stock"))):
        assert (medians[DEFAULTS.sampler] <= medians[other]).all(), other


def test_without_noise_the_default_sampler_leads_them_all() -> None:
    medians = medians_after_startup("denoised")
    assert (medians.min(axis="columns") == medians[DEFAULTS.sampler]).all()


def medians_after_startup(figures: str) -> pd.DataFrame:
    """Of each strategy, in its column, by the share of the trials."""
    table = pd.read_csv(FOLDER / f"{figures}.csv")
    rows = table[(table["axis"] == "trials") & (table["spent"] >= 2 * DEFAULTS.startup_trials)]
    return rows.pivot(index="share", columns="strategy", values="median")
