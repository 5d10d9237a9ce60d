import csv
import itertools
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from effort import some_or_all, thorough, with_slow
from search_tools import drive, evaluate, make_study
from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.cost.closed_form import cost
from spach_nas.errors import StudyError
from spach_nas.samplers import feasible_sampler as samplers
from spach_nas.space.references import get_reference
from spach_nas.study.driver import Signal
from spach_nas.study.folder import checkpoint_file, kept_checkpoints
from spach_nas.study.records import read_records

SAMPLERS = ("random", "nsga2", "tpe", "evolution", "local", "surrogate")
# Models of the paper are for 224 px and cost more than the small space.
WITH_REFERENCES = {
    "space": "spach_ms",
    "limits": {"max_macs": "8G"},
    "proxy": {"image_size": 32, "patch_size": 2, "width_scale": 0.125},
    "references": ["conv_ms_s", "trans_ms_s"],
}


@thorough
@pytest.mark.parametrize("sampler", with_slow(SAMPLERS, "surrogate"))
def test_every_trial_is_inside_the_limits_and_new(tmp_path: Path, sampler: str) -> None:
    count = some_or_all(20, 40)
    study = make_study(tmp_path, search__sampler=sampler, search__trials=count)
    asked = drive(study)
    assert len(asked) == count
    assert all(cost(request.architecture).macs <= 1_200_000 for request in asked)
    assert len({request.architecture.arch_id for request in asked}) == count


@thorough
@pytest.mark.parametrize("sampler", with_slow(SAMPLERS, "surrogate", "local"))
def test_one_worker_proposes_the_same_again(tmp_path: Path, sampler: str) -> None:
    count = some_or_all(10, 20)
    runs = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / name).mkdir()
        study = make_study(
            tmp_path / name, search__sampler=sampler, search__trials=count, search__seed=seed
        )
        runs.append([request.architecture.arch_id for request in drive(study)])
    assert runs[0] == runs[1] != runs[2]


def test_the_seed_of_the_training_leaves_the_proposals_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = drive(make_study(tmp_path / "a", search__sampler="random"))
    second = drive(make_study(tmp_path / "b", search__sampler="random", training__seed=8))
    assert [r.architecture for r in first] == [r.architecture for r in second]
    assert {r.seed for r in first} == {3}
    assert {r.seed for r in second} == {8}


@thorough
@pytest.mark.parametrize("sampler", with_slow(SAMPLERS[1:], "surrogate", "tpe"))
def test_a_sampler_learns_what_scores_well(tmp_path: Path, sampler: str) -> None:
    # Accuracy alone: the proposals after the start-up beat uniform ones.
    count, last = some_or_all((48, 16), (80, 32))
    study = make_study(
        tmp_path,
        search__sampler=sampler,
        search__trials=count,
        search__startup_trials=16,
        objectives={"accuracy": "max"},
    )
    drive(study)
    scores = [record.objectives["accuracy"] for record in study.records]
    assert sum(scores[-last:]) / last > sum(scores[:16]) / 16 + 0.005


def test_records_on_disk_are_the_records_in_memory(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    drive(study)
    assert read_records(study.folder) == tuple(study.records)
    assert [record.trial for record in study.records] == list(range(12))
    for record in study.records:
        assert study.config.space.decode(record.encoding or {}) == record.architecture
        assert record.target_cost == cost(record.architecture)
        assert record.proxy_cost != record.target_cost
        assert record.objectives["macs"] == record.target_cost.macs


def test_the_table_mirrors_the_records(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    drive(study)
    with (study.folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["trial"], row["arch_id"], row["proxy_id"], row["state"]) for row in rows] == [
        (str(record.trial), record.arch_id, record.proxy_id, record.state)
        for record in study.records
    ]
    assert [float(row["accuracy"]) for row in rows] == [
        record.objectives["accuracy"] for record in study.records
    ]


def test_optuna_opens_the_mirror(tmp_path: Path) -> None:
    study = make_study(tmp_path, mirrored=True)
    drive(study, lambda r: evaluate(r) if r.trial != 5 else Evaluation(state="failed", reason="x"))
    study.close()
    storage = optuna.storages.RDBStorage(f"sqlite:///{study.folder / 'study.db'}")
    mirror = optuna.load_study(study_name="small", storage=storage)
    assert [trial.params for trial in mirror.trials] == [r.encoding for r in study.records]
    assert [trial.state for trial in mirror.trials].count(TrialState.FAIL) == 1
    front = {trial.user_attrs["arch_id"] for trial in mirror.best_trials}
    assert front >= {record.arch_id for record in study.front()}
    storage.remove_session()
    storage.engine.dispose()


def test_references_come_first_and_are_ordinary_records(tmp_path: Path) -> None:
    study = make_study(tmp_path, **WITH_REFERENCES)
    drive(study)
    assert [record.reference for record in study.records[:3]] == ["conv_ms_s", "trans_ms_s", None]
    assert study.records[0].architecture == get_reference("conv_ms_s").architecture
    assert study.records[0].encoding is not None
    assert len(study.records) == 14


REFERENCES = ["conv_ms_s", "conv_ms_xs", "trans_ms_xxs"]


@pytest.mark.parametrize("neighbours", [samplers.MUTATIONS, 0])
def test_a_reference_is_not_proposed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, neighbours: int
) -> None:
    # Without neighbours to try, what is left is counted and drawn.
    monkeypatch.setattr(samplers, "MUTATIONS", neighbours)
    # The only four architectures are two models of the paper and two others; a third model is none
    # of them and must not stand for one.
    space = {
        "patch_size": 4,
        "expansion_ratio": [2, 3],
        "stages": [
            {"depth": depth, "width": width, "mixers": "conv"}
            for depth, width in zip((3, 4, 12, 3), ([96, 128], *[{"times": 2}] * 3), strict=True)
        ],
    }
    study = make_study(tmp_path, **{**WITH_REFERENCES, "space": space, "references": REFERENCES})
    asked = drive(study)
    assert len(asked) == 5, "the space is exhausted before the budget"
    assert len({request.architecture.arch_id for request in asked}) == 5


def test_failed_trials_are_recorded_and_not_tried_again(tmp_path: Path) -> None:
    study = make_study(tmp_path, search__stop_after_failures=100)
    drive(study, lambda request: Evaluation(state="failed", reason="loss is nan", seconds=2.0))
    assert {record.state for record in study.records} == {"failed"}
    assert {record.reason for record in study.records} == {"loss is nan"}
    assert all(not record.objectives for record in study.records)
    assert len({record.arch_id for record in study.records}) == 12
    assert study.front() == ()
    assert study.best() is None


@pytest.mark.parametrize(("failing", "stops"), [(range(3), True), (range(1, 9), False)])
def test_a_search_whose_first_trials_all_fail_stops(
    tmp_path: Path, failing: range, stops: bool
) -> None:
    def some(request: EvaluationRequest) -> Evaluation:
        if request.trial in failing:
            return Evaluation(state="failed", reason="NameError: no such thing")
        return evaluate(request)

    study = make_study(tmp_path, search__stop_after_failures=3)
    if stops:
        with pytest.raises(StudyError, match="first 3 trials all failed, the last one: NameError"):
            drive(study, some)
        assert len(study.records) == 3
        assert study.next() is Signal.DONE
    else:
        drive(study, some)
        assert len(study.records) == 12


def test_the_duration_stops_proposals_and_keeps_what_runs(tmp_path: Path) -> None:
    ticks = itertools.count()
    study = make_study(tmp_path, clock=lambda: next(ticks), search__max_duration=10)
    running = study.next()
    assert isinstance(running, EvaluationRequest)
    while isinstance(study.next(), EvaluationRequest):
        pass
    record = study.tell(running, evaluate(running))
    assert record.state == "complete"
    assert 1 < len(study.running) < 11


def test_a_study_waits_for_what_may_be_lost(tmp_path: Path) -> None:
    study = make_study(tmp_path, search__trials=1)
    request = study.next()
    assert isinstance(request, EvaluationRequest)
    assert study.next() is Signal.WAIT
    study.lose(request, "the worker was lost")
    assert study.next() == request
    study.lose(request, "the worker was lost")
    smaller = study.next()
    assert smaller == replace(request, micro_batch=8), "the host may have run out of memory"
    study.tell(request, evaluate(request))
    assert study.next() is Signal.DONE


def test_a_trial_that_loses_every_worker_fails(tmp_path: Path) -> None:
    study = make_study(tmp_path, search__trials=1)
    for _ in range(3):
        request = study.next()
        assert isinstance(request, EvaluationRequest)
        study.lose(request, "the worker was lost")
    assert study.next() is Signal.DONE
    assert study.records[0].state == "failed"
    assert study.records[0].reason == "the worker was lost (3 times)"


def test_equal_proxies_are_trained_once_and_share_the_score(tmp_path: Path) -> None:
    # At a sixth of the depth, most targets of equal widths have the same proxy.
    study = make_study(
        tmp_path, proxy__depth_scale=0.17, search__trials=60, search__sampler="random"
    )
    asked = drive(study)
    trained = [request.proxy.arch_id for request in asked]
    assert len(trained) == len(set(trained)) < 60
    assert len(study.records) == 60
    scores: dict[str, set[float]] = {}
    for record in study.records:
        scores.setdefault(record.proxy_id, set()).add(record.objectives["accuracy"])
    assert all(len(values) == 1 for values in scores.values())
    assert sum(record.seconds == 0 for record in study.records) == 60 - len(trained)


def test_equal_proxies_in_flight_wait_for_the_one_that_is_trained(tmp_path: Path) -> None:
    study = make_study(
        tmp_path, proxy__depth_scale=0.17, search__trials=60, search__sampler="random"
    )
    asked = []
    while isinstance(request := study.next(), EvaluationRequest):
        asked.append(request)
    assert request is Signal.WAIT
    assert len({request.proxy.arch_id for request in asked}) == len(asked) < 60
    for request in asked:
        study.tell(request, evaluate(request))
    assert len(study.records) == 60
    assert study.next() is Signal.DONE


def test_a_shared_score_brings_its_weights_to_the_front(tmp_path: Path) -> None:
    # Of three equal scores: the trained target is dearer than a rival that is told before it, and
    # a target that shares its proxy is cheaper than the rival.
    changes = {"search__trials": 60, "search__sampler": "random"}
    study = make_study(tmp_path, proxy__depth_scale=0.17, **changes)
    asked = []
    while isinstance(request := study.next(), EvaluationRequest):
        asked.append(request)
    # Random proposals do not depend on scores: the same study, evaluated, tells who shares.
    (tmp_path / "same").mkdir()
    same = make_study(tmp_path / "same", proxy__depth_scale=0.17, **changes)
    drive(same)

    def macs(request: EvaluationRequest) -> int:
        return cost(request.architecture).macs

    trained, rival = next(
        (request, other)
        for request, other in itertools.product(asked, asked)
        for record in same.records
        if record.proxy_id == request.proxy.arch_id
        if record.target_cost.macs < macs(other) < macs(request)
    )
    for request in (rival, trained):
        study.tell(request, replace(evaluate(request), scores={"accuracy": 0.9, "loss": 1.0}))
    front = {record.proxy_id for record in study.front()}
    assert trained.proxy.arch_id in front
    assert kept_checkpoints(study.folder) == {(proxy_id, 0) for proxy_id in front}


def test_weights_are_kept_for_the_front_alone(tmp_path: Path) -> None:
    study = make_study(tmp_path, search__trials=40)
    drive(study)
    kept = kept_checkpoints(study.folder)
    assert kept == {(record.proxy_id, 0) for record in study.front()}
    assert len(kept) < 40
    for key in kept:
        assert checkpoint_file(study.folder, key).read_bytes() == key[0].encode()


def test_the_front_holds_what_nothing_dominates(tmp_path: Path) -> None:
    study = make_study(tmp_path, search__trials=40)
    drive(study)
    points = {r.trial: (r.objectives["accuracy"], r.objectives["macs"]) for r in study.records}

    def dominated(trial: int) -> bool:
        accuracy, macs = points[trial]
        return any(
            a >= accuracy and m <= macs and (a, m) != (accuracy, macs) for a, m in points.values()
        )

    assert {record.trial for record in study.front()} == {t for t in points if not dominated(t)}


def test_stopping_asks_for_nothing_more(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    request = study.next()
    assert isinstance(request, EvaluationRequest)
    study.stop()
    assert study.next() is Signal.WAIT
    study.tell(request, replace(evaluate(request), seconds=4.0))
    assert study.next() is Signal.DONE
    assert study.stopped
    assert len(study.records) == 1


def test_a_budget_of_a_billion_trials_takes_no_memory(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="Windows bounds no process")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, hard))
    try:
        study = make_study(tmp_path, search__trials=10**9, search__sampler="random")
        first = study.next()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert study.total == 10**9
    assert isinstance(first, EvaluationRequest) and first.trial == 0
