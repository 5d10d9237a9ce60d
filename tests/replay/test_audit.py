"""How well scores rank trained architectures: statistics against scipy, and whole audits."""

import csv
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap, kendalltau, spearmanr

from conftest import run_main
from search_tools import write_search
from spach_nas.config.evaluation import Epoch
from spach_nas.config.evaluator_registry import choices_of
from spach_nas.config.search_yaml import load_config
from spach_nas.cost.closed_form import cost
from spach_nas.errors import ConfigError, StudyError
from spach_nas.replay.audit import (
    Scored,
    audit,
    read_scores,
    write_scores,
)
from spach_nas.replay.training_table import Entry, Table
from spach_nas.report.study import write_study_report
from spach_nas.search.plan import plan_search
from spach_nas.search.run import prepare_folder
from spach_nas.space.architecture import Architecture
from spach_nas.study.audit_rows import AuditRow, Estimate, audit_doubts, verdict, write_audit
from spach_nas.study.rank_correlation import kendall, spearman
from study_factory import make_architecture

BENCH = Path(__file__).parents[2] / "results" / "spach_bench"
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=40), RNG.integers(0, 6, 40).astype(float)  # Y has ties
ONE = np.zeros(40, dtype=np.int64)
BANDS = np.arange(40) % 4


def whole(count: int) -> np.ndarray:
    return np.ones((1, count))


def make_table(
    count: int, *, seeds: int = 1, noise: float = 0.0, per_attention: float = 0.0
) -> Table:
    """Accuracies that grow with the MACs, and with the share of attention."""
    rng = random.Random(4)
    entries = {}
    while len(entries) < count:
        found = make_architecture(rng)
        own = cost(found)
        true = 0.1 * np.log(own.macs) + per_attention * attention(found)
        curves = {
            seed: tuple(
                Epoch(train_loss=1.0, loss=1.0, accuracy=accuracy, seconds=2.0)
                for accuracy in (rng.random(), true + rng.gauss(0, noise))
            )
            for seed in range(seeds)
        }
        entries[found.arch_id] = Entry(
            architecture=found, target_cost=own, proxy_cost=own, curves=curves
        )
    return Table(entries=entries, epochs=2, image_size=(32, 32), data_share=1.0)


def attention(found: Architecture) -> float:
    blocks = [name for stage in found.stages for name in stage.mixers]
    return blocks.count("attention") / len(blocks)


def scored(table: Table, values: Mapping[str, float]) -> Scored:
    return Scored(values=values, seconds=dict.fromkeys(table.entries, 0.5))


def by_name(rows: tuple[AuditRow, ...]) -> dict[str, AuditRow]:
    return {row.name: row for row in rows}


def test_over_all_they_are_scipys() -> None:
    assert kendall(X, Y, bands=ONE, weights=whole(40))[0] == pytest.approx(kendalltau(X, Y)[0])
    assert spearman(X, Y, bands=ONE, weights=whole(40))[0] == pytest.approx(spearmanr(X, Y)[0])


def test_within_bands_only_pairs_of_one_band_count() -> None:
    total, (one, other) = 0.0, (0.0, 0.0)
    for i in range(40):
        for j in range(i):
            if BANDS[i] == BANDS[j]:
                a, b = np.sign(X[i] - X[j]), np.sign(Y[i] - Y[j])
                total, one, other = total + a * b, one + abs(a), other + abs(b)
    expected = total / np.sqrt(one * other)
    assert kendall(X, Y, bands=BANDS, weights=whole(40))[0] == pytest.approx(expected)


def test_a_resample_counts_an_architecture_as_often_as_it_is_drawn() -> None:
    drawn = RNG.integers(0, 40, 40)
    weights = np.bincount(drawn, minlength=40)[None].astype(float)
    expected = kendalltau(X[drawn], Y[drawn])[0]
    assert kendall(X, Y, bands=ONE, weights=weights)[0] == pytest.approx(expected)


def test_the_interval_is_that_of_scipys_bootstrap() -> None:
    table = make_table(40)
    noisy = {
        arch_id: np.log(entry.target_cost.macs) + RNG.normal(0, 0.5)
        for arch_id, entry in table.entries.items()
    }
    row = by_name(audit(table, {"noisy": scored(table, noisy)}))["noisy"]
    truth = [entry.curves[0][-1].accuracy for entry in table.entries.values()]
    expected = bootstrap(
        (list(noisy.values()), truth),
        lambda a, b: kendalltau(a, b)[0],
        paired=True,
        vectorized=False,
        n_resamples=300,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert (row.tau.low, row.tau.high) == pytest.approx(tuple(expected), abs=0.05)
    assert row.seconds == 0.5


def test_sizes_rank_all_and_a_score_that_knows_more_ranks_within_bands() -> None:
    table = make_table(30, per_attention=0.3)
    true = {arch_id: entry.curves[0][-1].accuracy for arch_id, entry in table.entries.items()}
    rows = by_name(audit(table, {"oracle": scored(table, true)}))
    assert rows["oracle"].tau.figure == rows["oracle"].within.figure == pytest.approx(1)
    assert rows["macs"].tau.figure > rows["macs"].within.figure
    assert rows["oracle"].gain_within.low > 0
    assert rows["oracle"].gain.figure == pytest.approx(1 - rows["macs"].tau.figure)
    assert verdict(tuple(rows.values())).startswith("Use oracle: within bands of MACs")
    # The first of two epochs is a score of its own, at half the time.
    assert rows["epoch 1"].seconds == 2.0
    assert abs(rows["epoch 1"].tau.figure) < 0.3


def test_a_score_no_better_than_the_macs_is_not_for_use() -> None:
    table = make_table(30)
    sizes = {arch_id: float(one.target_cost.macs) for arch_id, one in table.entries.items()}
    rows = audit(table, {"copy": scored(table, sizes)})
    assert verdict(rows).startswith("Use none of these scores")


def test_a_bias_for_a_mixer_is_found_with_its_sign() -> None:
    table = make_table(30)
    liked = {
        arch_id: np.log(entry.target_cost.macs) + 3 * attention(entry.architecture)
        for arch_id, entry in table.entries.items()
    }
    bias = by_name(audit(table, {"liked": scored(table, liked)}))["liked"].bias
    assert bias["attention"].low > 0.5
    assert bias["conv"].high < 0
    assert set(bias) == {"conv", "attention", "mlp"}


def test_the_ceiling_is_how_well_seeds_rank_each_other() -> None:
    ceilings = [
        by_name(audit(make_table(24, seeds=3, noise=noise), {}))["another seed"].tau.figure
        for noise in (0.0, 0.05, 5.0)
    ]
    assert ceilings[0] == pytest.approx(1)
    assert 0.2 < ceilings[1] < 0.95
    assert abs(ceilings[2]) < 0.3
    assert "another seed" not in by_name(audit(make_table(24), {}))


def test_too_few_trainings_are_told() -> None:
    with pytest.raises(StudyError, match="7 architectures were trained to the end"):
        audit(make_table(7), {})


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    given = {"a:b": Scored(values={"x": 0.1, "y": -3.0}, seconds={"x": 0.5, "y": 0.25})}
    write_scores(given, tmp_path / "scores.csv")
    assert read_scores(tmp_path / "scores.csv") == given
    (tmp_path / "scores.csv").write_text("evaluator,arch_id,value,seconds\na,b,c,d\n")
    with pytest.raises(StudyError, match=r"scores.csv:2: is damaged"):
        read_scores(tmp_path / "scores.csv")


def test_unknown_scores_and_options_are_told_together() -> None:
    with pytest.raises(ConfigError) as problem:
        choices_of(["nasvot"], ["trian", "{name: training_free, score: zico, imags: 3}"])
    lines = str(problem.value).split("\n")
    assert "--score: score: 'nasvot'" in lines[0] and "'naswot'" in lines[0]
    assert "--evaluator: 'trian'" in lines[1] and "'train'" in lines[1]
    assert "--evaluator: imags: training_free has no such option" in lines[2]
    assert [item.label for item in choices_of(["zico"], [])] == ["training_free:zico"]
    assert len(choices_of(None, [])) == 9


@pytest.mark.slow
def test_the_command_audits_the_published_table_without_its_images(tmp_path: Path) -> None:
    with (BENCH / "table.csv").open(newline="") as file:
        sizes = {row["arch_id"]: float(row["proxy_macs"]) for row in csv.DictReader(file)}
    scores, out = tmp_path / "scores.csv", tmp_path / "audit.csv"
    write_scores(
        {"training_free:macs": Scored(values=sizes, seconds=dict.fromkeys(sizes, 0.1))}, scores
    )
    command = ["audit", str(BENCH), "--score", "macs", "--scores", str(scores), "--out", str(out)]
    code, lines = run_main(*command)
    assert code == 0, lines
    with out.open(newline="") as file:
        rows = {row["score"]: row for row in csv.DictReader(file)}
    assert list(rows) == [
        "params",
        "macs",
        "training_free:macs",
        "epoch 1",
        "epoch 2",
        "another seed",
    ]
    # Those of results/spach_bench/trust.csv.
    assert float(rows["another seed"]["tau"]) == pytest.approx(0.62, abs=0.005)
    assert rows["another seed"]["architectures"] == "49"
    assert float(rows["epoch 2"]["tau"]) > float(rows["epoch 1"]["tau"])
    assert float(rows["macs"]["gain_low"]) == 0


def test_a_study_without_final_scores_is_refused(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").touch()
    (tmp_path / "search.yaml").write_bytes((BENCH / "search.yaml").read_bytes())
    code, lines = run_main("audit", str(tmp_path))
    assert code == 2
    assert "holds no complete training" in lines[-1]


def test_a_search_warns_of_a_score_no_better_than_the_macs(tmp_path: Path) -> None:
    table = make_table(30, per_attention=0.3)
    true = {arch_id: one.curves[0][-1].accuracy for arch_id, one in table.entries.items()}
    sizes = {arch_id: float(one.target_cost.macs) for arch_id, one in table.entries.items()}
    found = {
        "training_free:zico": scored(table, sizes),
        "training_free:naswot": scored(table, true),
    }
    write_audit(audit(table, found), tmp_path / "audit.csv")
    levels = [
        {"evaluator": {"name": "training_free", "score": name}} for name in ("zico", "naswot")
    ]
    path = write_search(tmp_path, rungs={"levels": levels})
    (warning,) = audit_doubts(load_config(path), path)
    assert warning.startswith("training_free:zico ranks architectures of one cost no better")
    assert str(tmp_path / "audit.csv") in warning
    (tmp_path / "audit.csv").write_text("something,else\n1,2\n")
    assert not list(audit_doubts(load_config(path), path))


def test_a_report_says_first_what_an_audit_next_to_the_yaml_says(tmp_path: Path) -> None:
    path = write_search(tmp_path)
    rows = audit(make_table(30), {})
    ceiling = replace(rows[1], name="another seed")

    def write(folder: Path, low: float) -> None:
        gain = Estimate(figure=low + 0.1, low=low, high=low + 0.2)
        write_audit((*rows, replace(ceiling, gain_within=gain)), folder / "audit.csv")

    write(tmp_path, low=-0.1)
    plan = plan_search(path, out=tmp_path / "study")
    prepare_folder(plan, tmp_path / "study")
    page = write_study_report(tmp_path / "study").read_text()
    said = (
        "Do not choose between networks of one cost by this study: the same training with another"
    )
    assert page.index(said) < page.index("No trial is finished yet")
    write(tmp_path / "study", low=0.1)
    assert said not in write_study_report(tmp_path / "study").read_text()


def test_a_table_has_a_row_for_each_score(tmp_path: Path) -> None:
    write_audit(audit(make_table(9), {}), tmp_path / "audit.csv")
    with (tmp_path / "audit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["score"] for row in rows] == ["params", "macs", "epoch 1"]
    assert all(float(row["tau_low"]) <= float(row["tau_high"]) for row in rows)
    assert {"bias_conv", "bias_attention_low", "seconds"} <= rows[0].keys()
