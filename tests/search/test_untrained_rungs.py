"""What a search with rungs that train nothing is foreseen to take."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

import own_evaluators
from search_tools import write_search
from spach_nas.cli.search_view import budget_line
from spach_nas.config.evaluator_registry import EVALUATORS
from spach_nas.config.study_files import INITIAL, PLACEMENT, PREPARED, TEACHER
from spach_nas.search.budget import budget, budget_warnings
from spach_nas.search.estimate import Timed, estimate_search
from spach_nas.search.kept_networks import keep_networks
from spach_nas.search.loggers import record_entries
from spach_nas.search.plan import plan_search
from spach_nas.search.proxy_timing import time_scores
from spach_nas.search.run import prepare_folder
from spach_nas.study.folder import holds_prepared, remove_if_empty
from study_factory import make_record

TIMED = (Timed(macs=10**5, train_seconds=1e-3, validate_seconds=0.0, build_seconds=0.0),)
LEVELS = [{"evaluator": {"name": "size", "figure": "macs"}}, {"evaluator": "shared"}]


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EVALUATORS, "known", dict(EVALUATORS))
    own_evaluators.register()


def test_rungs_without_training_take_what_was_measured_of_them(tmp_path: Path) -> None:
    plan = plan_search(write_search(tmp_path, rungs={"levels": LEVELS}))
    targets = plan.feasible.samples(9, 0)
    # What needs a preparation cannot be measured before it.
    assert time_scores(plan, targets, device="cpu").keys() == {0}
    found = estimate_search(
        plan, targets, TIMED, device="cpu", concurrent=1, scored={0: 0.5}, slowdown=2.0
    )
    assert [rung.evaluations for rung in found.rungs] == [12, 4, 1]
    assert found.rungs[0].seconds == pytest.approx(2 * 0.5 + 0.1)
    assert found.rungs[0].epochs == found.rungs[0].images == 0
    assert found.rungs[2].seconds > found.rungs[1].seconds == pytest.approx(0.1)
    told = budget(plan, found)
    assert budget_line(told, now=datetime(2026, 1, 1)).startswith("17 evaluations, one at a time")
    [warning] = budget_warnings(plan, told)
    assert warning.startswith("the time of preparing shared")


def test_a_search_that_trains_nothing_has_an_estimate(tmp_path: Path) -> None:
    objectives = {"score": "max", "macs": "min"}
    path = write_search(tmp_path, evaluator=LEVELS[0]["evaluator"], objectives=objectives)
    plan = plan_search(path)
    targets = plan.feasible.samples(9, 0)
    found = estimate_search(plan, targets, (), device="cpu", concurrent=1, scored={0: 1.0})
    assert found.seconds == pytest.approx(found.start_seconds + 12 * 1.1)
    assert found.scatter == 0


def test_loggers_get_a_score_that_has_no_epochs() -> None:
    record = replace(make_record(0, 0.5), curve=(), objectives={"score": 7.5, "macs": 3.0})
    [entry] = record_entries(record, run_id="x")
    assert entry.figures["score"] == 7.5
    assert "macs" not in entry.figures
    assert entry.state == "complete"


def test_a_placement_search_is_kept_and_copies_of_networks_are_not(tmp_path: Path) -> None:
    plan = plan_search(write_search(tmp_path))
    prepare_folder(plan, tmp_path / "study")
    keep_networks(tmp_path / "study", {INITIAL: b"weights", TEACHER: b"weights"})
    assert not holds_prepared(tmp_path / "study")
    (tmp_path / "study" / PREPARED / PLACEMENT).write_text("{}")
    assert holds_prepared(tmp_path / "study")


def test_a_folder_keeps_what_was_prepared(tmp_path: Path) -> None:
    plan = plan_search(write_search(tmp_path, evaluator="shared"))
    prepare_folder(plan, tmp_path / "study")
    kept = tmp_path / "study" / "prepared" / "shared" / "steps"
    kept.parent.mkdir(parents=True)
    kept.write_text("2")
    remove_if_empty(tmp_path / "study")
    assert kept.is_file()
    kept.unlink()
    remove_if_empty(tmp_path / "study")
    assert not (tmp_path / "study").exists()
