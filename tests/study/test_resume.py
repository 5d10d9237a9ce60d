"""A search that is killed goes on as if nothing had been."""

import itertools
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from effort import some_or_all, thorough
from kill_tools import CHANGES, SAMPLERS, essence, killed, make_study_in
from search_tools import DATA, drive, evaluate, make_study, open_study, write_search
from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.search_yaml import load_config
from spach_nas.config.study_files import DATA_JSON, RECORDS_FILE
from spach_nas.data.preprocessing import Preprocessing, to_json
from spach_nas.errors import StudyError
from spach_nas.feasible import FeasibleSet
from spach_nas.study import folder as archive
from spach_nas.study.driver import Signal, StudyDriver
from spach_nas.study.folder import kept_checkpoints
from spach_nas.study.records import Record, read_records
from spach_nas.study.resume_checks import check_resumable, warm_records

IMAGES = Preprocessing(mean=(0.3,), std=(0.2,), class_names=tuple("0123456789"))
# The samplers of Optuna that keep notes, and those that cost little, for thorough tests.
QUICK = ("nsga2", "evolution")


SOME = [(sampler, True) for sampler in SAMPLERS if sampler != "gp"] + [("nsga2", False)]


@thorough
@pytest.mark.parametrize(
    ("sampler", "rungs"), some_or_all(SOME, list(itertools.product(SAMPLERS, (False, True))))
)
def test_a_study_goes_on_from_any_record_as_if_nothing_had_been(
    tmp_path: Path, sampler: str, rungs: bool
) -> None:
    changes = {**CHANGES, "search__sampler": sampler}
    if sampler == "gp":
        changes |= {"search__trials": 10, "search__startup_trials": 7}
    if not rungs:
        del changes["rungs"]
    whole = make_study(tmp_path, **changes)
    drive(whole)
    whole.close()
    wanted = essence(read_records(whole.folder))
    assert len(wanted) >= 10
    # A proposal of a Gaussian process takes a second.
    counts = [9] if sampler == "gp" else some_or_all([9], range(1, len(wanted), 4))
    for count in counts:
        folder = tmp_path / f"cut{count}"
        shutil.copytree(whole.folder, folder)
        cut_after(folder, count)
        study = open_study(folder)
        drive(study)
        study.close()
        assert essence(read_records(folder)) == wanted


def cut_after(folder: Path, count: int) -> None:
    """The folder as it was after so many records, and half a line more."""
    lines = (folder / RECORDS_FILE).read_bytes().splitlines(keepends=True)
    torn = lines[count][: len(lines[count]) // 2]
    (folder / RECORDS_FILE).write_bytes(b"".join([*lines[:count], torn]))


def test_a_study_of_which_the_records_alone_are_left_goes_on(tmp_path: Path) -> None:
    # As one that was published: mirrors and weights are missing.
    whole = make_study(tmp_path, **{**CHANGES, "rungs": {}})
    drive(whole)
    whole.close()
    folder = tmp_path / "published"
    folder.mkdir()
    for name in (RECORDS_FILE, "search.yaml", "space.yaml"):
        if (whole.folder / name).exists():
            shutil.copy(whole.folder / name, folder)
    cut_after(folder, 5)
    study = open_study(folder)
    drive(study)
    study.close()
    assert essence(read_records(folder)) == essence(read_records(whole.folder))
    assert kept_checkpoints(folder)


@pytest.mark.parametrize("sampler", QUICK)
def test_a_crash_at_any_write_loses_and_doubles_nothing(
    tmp_path: Path, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every place where the study touches the disk, before and after it does.
    changes = {**CHANGES, "search__sampler": sampler, "search__trials": 6}
    wanted_study = make_study_in(tmp_path / "a", **changes)
    drive(wanted_study)
    wanted = essence(read_records(wanted_study.folder))

    class Crash(BaseException):
        pass

    writes = ("write_checkpoint", "append_record", "append_to_table", "remove_checkpoints")
    study = make_study_in(tmp_path / "b", **changes)
    crashes = 0
    for after in (False, True):
        for name in writes:
            original = getattr(archive, name)

            def crash(
                *arguments: object, original: Callable[..., object] = original, after: bool = after
            ) -> None:
                if after:
                    original(*arguments)
                raise Crash

            monkeypatch.setattr(archive, name, crash)
            try:
                drive(study)
            except Crash:
                crashes += 1
            monkeypatch.undo()
            study.close()
            study = open_study(study.folder)
    assert crashes == 8
    drive(study)
    assert essence(read_records(study.folder)) == wanted
    assert kept_checkpoints(study.folder) == kept_checkpoints(wanted_study.folder)


@thorough
@pytest.mark.parametrize("sampler", some_or_all(QUICK[:1], QUICK))
def test_kill_9_at_random_moments_changes_no_proposal(tmp_path: Path, sampler: str) -> None:
    changes = {**CHANGES, "search__sampler": sampler, "search__trials": some_or_all(8, 12)}
    # Of the processor: a busy machine would make all that follows look fast.
    started = time.process_time()
    whole = make_study_in(tmp_path / "a", **changes)
    drive(whole)
    duration = time.process_time() - started
    wanted = essence(read_records(whole.folder))
    make_study_in(tmp_path / "b", **changes).close()
    folder = tmp_path / "b" / "study"
    kills, ramp = 0, some_or_all(4, 10)
    source = random.Random(5)
    while not killed(folder, after=source.uniform(0, (0.2 + kills / ramp) * duration)):
        kills += 1
    assert kills >= 2, "the search was too fast to be killed"
    assert essence(read_records(folder)) == wanted


def test_the_mirrors_are_mended(tmp_path: Path) -> None:
    study = make_study(tmp_path, mirrored=True, search__trials=4)
    drive(study)
    study.close()
    table = (study.folder / "trials.csv").read_text()
    (study.folder / "trials.csv").write_text(table[:-70])
    (study.folder / "study.db").write_bytes(b"no database")
    again = open_study(study.folder, mirrored=True)
    assert again.next() is Signal.DONE
    again.close()
    assert (study.folder / "trials.csv").read_text() == table
    storage = optuna.storages.RDBStorage(f"sqlite:///{study.folder / 'study.db'}")
    mirror = optuna.load_study(study_name="small", storage=storage)
    assert [trial.params for trial in mirror.trials] == [r.encoding for r in study.records]
    storage.remove_session()
    storage.engine.dispose()


def test_a_larger_budget_continues(tmp_path: Path) -> None:
    whole = make_study_in(tmp_path / "a", search__trials=14)
    drive(whole)
    short = make_study_in(tmp_path / "b", search__trials=9)
    drive(short)
    short.close()
    config = load_config(write_search(tmp_path / "b", search__trials=14))
    longer = open_study(short.folder, config)
    drive(longer)
    assert essence(tuple(longer.records)) == essence(tuple(whole.records))


def test_time_goes_on_where_it_stopped(tmp_path: Path) -> None:
    study = make_study(tmp_path, clock=iter(range(100, 1000, 2)).__next__)
    request = study.next()
    assert isinstance(request, EvaluationRequest)
    record = study.tell(request, replace(evaluate(request), seconds=30.0))
    study.close()
    again = open_study(study.folder, clock=lambda: 5.0)
    assert again.elapsed == record.started + 30.0


@pytest.fixture
def begun(tmp_path: Path) -> StudyDriver:
    study = make_study(tmp_path, search__max_duration="1h", training__epochs=2)
    (study.folder / DATA_JSON).write_text(to_json(IMAGES))
    drive(study)
    study.close()
    return study


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"search__trials": 11}, "search.trials: was changed from 12 to 11"),
        ({"search__max_duration": "59m"}, "search.max_duration: was changed from 3600"),
        ({"search__sampler": "tpe"}, "search.sampler: was changed from 'nsga2' to 'tpe'"),
        ({"training__batch_size": 16}, "training.batch_size: was changed from 32 to 16"),
        ({"limits": {"max_macs": "1.1M"}}, "limits.max_macs: was changed"),
        ({"proxy__patch_size": 4}, "proxy.patch_size: was changed"),
        ({"objectives": {"accuracy": "max"}}, "objectives: was changed"),
        ({"rungs": {"levels": [{"epochs": 1}]}}, "rungs.levels: was changed"),
    ],
)
def test_another_search_does_not_go_on_in_a_folder(
    tmp_path: Path, begun: StudyDriver, change: dict[str, object], message: str
) -> None:
    before = {path: path.read_bytes() for path in begun.folder.rglob("*") if path.is_file()}
    changes = {"search__max_duration": "1h", "training__epochs": 2, **change}
    config = load_config(write_search(tmp_path, **changes))
    with pytest.raises(StudyError) as raised:
        check_resumable(begun.folder, config, IMAGES)
    assert f"{begun.folder}: {message}" in str(raised.value)
    assert "expected no change but a larger search.trials" in str(raised.value)
    assert {p: p.read_bytes() for p in begun.folder.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "change", [{}, {"search__trials": 40}, {"search__max_duration": "2h"}, {"search__trials": 13}]
)
def test_a_search_whose_budget_grew_may_go_on(
    tmp_path: Path, begun: StudyDriver, change: dict[str, object]
) -> None:
    changes = {"search__max_duration": "1h", "training__epochs": 2, **change}
    check_resumable(begun.folder, load_config(write_search(tmp_path, **changes)), IMAGES)


def test_other_images_are_told(begun: StudyDriver) -> None:
    with pytest.raises(StudyError, match="the images are not those that the study began with"):
        check_resumable(begun.folder, begun.config, replace(IMAGES, mean=(0.4,)))


def test_a_study_of_another_version_is_told(begun: StudyDriver) -> None:
    path = begun.folder / RECORDS_FILE
    path.write_text(path.read_text().replace('"version": "0.1.', '"version": "99.7.'))
    with pytest.raises(StudyError, match=r"was made by spach-nas 99\.7\.\d+, and this is"):
        check_resumable(begun.folder, begun.config, IMAGES)


def test_a_folder_that_is_no_study_is_told(tmp_path: Path, begun: StudyDriver) -> None:
    with pytest.raises(StudyError, match="is no study, since it lacks"):
        check_resumable(tmp_path, begun.config, IMAGES)


# Warm start.


def warm(source: Path, folder: Path, **changes: object) -> tuple[Record, ...]:
    config = load_config(write_search(folder, **changes))
    feasible = FeasibleSet(config.space, config.limits)
    return warm_records(source, config, feasible, images=IMAGES)


def test_a_warm_start_knows_the_other_study_and_repeats_nothing(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    old = make_study(tmp_path / "old", search__trials=10)
    drive(old)
    old.close()
    records = warm(old.folder, tmp_path, study="new", search__trials=8)
    assert [record.origin for record in records] == [f"small/{i}" for i in range(10)]
    assert all(IMAGES.data_shape == DATA for _ in records)
    new = make_study(tmp_path, records=records, study="new", search__trials=8)
    asked = drive(new)
    assert len(asked) == 8
    assert [request.trial for request in asked] == list(range(10, 18))
    known = {record.arch_id for record in records}
    assert not known & {request.architecture.arch_id for request in asked}
    cold = make_study_in(tmp_path / "cold", study="new", search__trials=8)
    assert [r.architecture for r in drive(cold)] != [r.architecture for r in asked]


def test_a_warm_start_is_resumed_as_any_other(tmp_path: Path) -> None:
    old = make_study_in(tmp_path / "old", search__trials=10)
    drive(old)
    old.close()
    records = warm(old.folder, tmp_path, search__trials=8)
    whole = make_study(tmp_path, records=records, search__trials=8)
    drive(whole)
    whole.close()
    wanted = essence(read_records(whole.folder))
    cut_after(whole.folder, 13)
    again = open_study(whole.folder)
    drive(again)
    assert essence(read_records(whole.folder)) == wanted


def test_a_warm_start_leaves_out_what_breaks_the_limits(tmp_path: Path) -> None:
    old = make_study_in(tmp_path / "old", search__trials=20)
    drive(old)
    limits = {"max_macs": "600k"}
    records = warm(old.folder, tmp_path, limits=limits)
    inside = [r for r in old.records if r.target_cost.macs <= 600_000]
    assert 0 < len(inside) < 20
    assert [record.arch_id for record in records] == [record.arch_id for record in inside]
    assert [record.trial for record in records] == list(range(len(inside)))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"training__epochs": 3}, "its training differs"),
        ({"proxy__patch_size": 4}, "its proxy differs"),
        ({"search__seed": 9}, r"draw from seed 3; expected 9"),
    ],
)
def test_a_warm_start_by_another_protocol_is_told(
    tmp_path: Path, change: dict[str, object], what: str
) -> None:
    old = make_study_in(tmp_path / "old", search__trials=4)
    drive(old)
    with pytest.raises(StudyError, match=f"search.warm_start: .*{what}"):
        warm(old.folder, tmp_path, **change)


def test_a_warm_start_from_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"search\.warm_start: .*is no study"):
        warm(tmp_path, tmp_path)


# Rungs.


def test_promotions_go_on_from_their_checkpoints(tmp_path: Path) -> None:
    study = make_study(tmp_path, **{**CHANGES, "search__trials": 8})
    seen: dict[int, list[EvaluationRequest]] = {}

    def look(request: EvaluationRequest) -> Evaluation:
        assert (request.parent is None) == (request.fidelity.rung == 0)
        if request.parent is not None:
            assert request.parent.read_bytes() == request.proxy.arch_id.encode()
        seen.setdefault(request.trial, []).append(request)
        return evaluate(request)

    drive(study, look)
    heights = [len(requests) for requests in seen.values()]
    assert sorted(heights) == [1, 1, 1, 1, 2, 2, 3, 3], "half of a rung goes on"
    for requests in seen.values():
        assert [request.fidelity.rung for request in requests] == list(range(len(requests)))
        assert [request.fidelity.epochs for request in requests] == [1, 2, 4][: len(requests)]
        assert {request.course for request in requests} == {study.config.fidelities}
    tops = [record for record in study.records if record.fidelity.rung == 2]
    assert all(len(record.curve) == 4 for record in tops)
    assert {record.fidelity.rung for record in study.front()} == {2}


def test_a_rung_of_another_image_size_begins_afresh(tmp_path: Path) -> None:
    levels = [{"epochs": 3, "image_size": 48}, {"epochs": 2}]
    study = make_study(
        tmp_path, **{**CHANGES, "search__trials": 6, "rungs": {"levels": levels, "reduction": 2}}
    )
    asked = drive(study)
    on_front = {(record.proxy_id, record.fidelity.rung) for record in study.front()}
    assert {key for key in kept_checkpoints(study.folder) if key[1] == 0} <= on_front
    for request in asked:
        assert request.proxy.image_size == request.fidelity.image_size
        assert (request.parent is not None) == (request.fidelity.rung == 2)
        assert len(request.course) == (1 if request.fidelity.rung == 0 else 2)


def test_checkpoints_that_nothing_can_need_are_removed(tmp_path: Path) -> None:
    study = make_study(tmp_path, **{**CHANGES, "search__trials": 24})
    most = 0
    while isinstance(request := study.next(), EvaluationRequest):
        study.tell(request, evaluate(request))
        most = max(most, len(kept_checkpoints(study.folder)))
    assert kept_checkpoints(study.folder) == {(r.proxy_id, 2) for r in study.front()} | {
        (record.proxy_id, record.fidelity.rung)
        for record in study.records
        if study.ladder.may_go_on(record)
    }
    assert most < len(study.records)


def test_a_sampler_never_sees_scores_of_two_rungs_in_one_model(tmp_path: Path) -> None:
    study = make_study(tmp_path, **{**CHANGES, "search__sampler": "tpe", "search__trials": 24})
    drive(study)
    for rung, model in enumerate(study.proposer.models):
        told = {
            (tuple(sorted(trial.params.items())), tuple(trial.values))
            for trial in model.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        }
        assert told == {
            (
                tuple(sorted((record.encoding or {}).items())),
                tuple(record.objectives[item.name] for item in study.objectives),
            )
            for record in study.records
            if record.fidelity.rung == rung
        }


def test_a_lost_checkpoint_is_made_up_for_by_training_from_the_start(tmp_path: Path) -> None:
    study = make_study(tmp_path, **{**CHANGES, "search__trials": 2})
    parents = []
    while isinstance(request := study.next(), EvaluationRequest):
        parents.append(request.parent)
        for path in (study.folder / "checkpoints").iterdir():
            path.unlink()
        study.tell(request, evaluate(request))
        for path in (study.folder / "checkpoints").iterdir():
            path.unlink()
    assert parents == [None] * len(parents)
    assert {len(record.curve) for record in study.records} == {1, 2, 4}


def test_a_promotion_that_was_lost_still_has_its_checkpoint(tmp_path: Path) -> None:
    # Others overtake it meanwhile: as a candidate it would be given up.
    changes = {**CHANGES, "search__trials": 12, "objectives": {"accuracy": "max"}}
    study = make_study(tmp_path, **changes)
    while isinstance(request := study.next(), EvaluationRequest) and request.parent is None:
        study.tell(request, evaluate(request))
    assert isinstance(request, EvaluationRequest) and request.parent is not None
    others = [study.next() for _ in range(8)]
    study.lose(request, "the worker was lost")
    for other in others:
        assert isinstance(other, EvaluationRequest)
        study.tell(other, replace(evaluate(other), scores={"accuracy": 0.99, "loss": 0.1}))
    assert study.next() == request
    assert request.parent.is_file()
