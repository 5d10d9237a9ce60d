"""What `results/fashion_mnist` publishes is of these networks, and its README of these figures."""

from pathlib import Path

import pandas as pd
import pytest

from scripts import load_script
from spach_nas.cost.closed_form import cost
from spach_nas.space.architecture import Architecture

pytestmark = pytest.mark.published

FOLDER = Path(__file__).parents[2] / "results" / "fashion_mnist"
NAMES = ("best", "hybrid", "conv", "attention", "mlp")


def test_the_networks_are_those_that_the_script_chooses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load_script(FOLDER / "networks.py")
    monkeypatch.setattr(script, "HERE", tmp_path)
    script.main()
    for name in NAMES:
        made, published = (home / "networks" / f"{name}.yaml" for home in (tmp_path, FOLDER))
        assert made.read_text() == published.read_text()


def test_the_networks_cost_about_the_same() -> None:
    macs = [cost(Architecture.from_yaml(FOLDER / "networks" / f"{name}.yaml")).macs
            for name in NAMES]  # fmt: skip
    assert max(macs) < 1.1 * min(macs)


def test_every_network_was_trained_with_three_seeds_to_the_end() -> None:
    curves = pd.read_csv(FOLDER / "curves.csv")
    scores = pd.read_csv(FOLDER / "scores.csv")
    trained = {(name, seed) for name in NAMES for seed in (0, 1, 2)}
    assert set(zip(scores["network"], scores["seed"], strict=True)) == trained
    ends = curves.groupby(["network", "seed"])
    assert set(ends.groups) == trained
    assert (ends["epoch"].apply(list).map(lambda epochs: epochs == [*range(1, 9)])).all()
    best = ends[["top1", "ema_top1"]].max().max(axis="columns")
    kept = scores.set_index(["network", "seed"])["validation"]
    pd.testing.assert_series_equal(kept.sort_index(), best, check_names=False)


def test_the_readme_says_what_the_figures_say() -> None:
    rows = load_script(FOLDER / "summary.py").readme_rows(pd.read_csv(FOLDER / "scores.csv"))
    assert "\n".join(rows) in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_front_page_quotes_them() -> None:
    scores = pd.read_csv(FOLDER / "scores.csv")
    page = (FOLDER.parents[1] / "README.md").read_text(encoding="utf-8")
    means = scores.groupby("network")["test"].mean() * 100
    order = ("best", "conv", "mlp", "attention", "hybrid")
    assert f"| {' | '.join(f'{means[name]:.2f}' for name in order)} |" in page
    squares = ((scores["test"] * 100 - scores["network"].map(means)) ** 2).sum()
    # Five means were taken of the fifteen trainings.
    assert f"One training deviates by {(squares / (15 - 5)) ** 0.5:.2f}:" in page
