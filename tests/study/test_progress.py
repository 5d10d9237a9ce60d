import math
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import run_main
from search_tools import drive, evaluate, make_study, write_search
from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.search_yaml import load_config
from spach_nas.config.study_files import RECORDS_FILE
from spach_nas.errors import StudyError
from spach_nas.evaluators.heartbeat import Pulse, Running
from spach_nas.files import locked
from spach_nas.study.hypervolume import GrowingHypervolume, HypervolumeData, hypervolume_data
from spach_nas.study.journal import LOG_JSONL, Foreseen, Journal
from spach_nas.study.pareto import best, comparable, front, hypervolume, knee, value
from spach_nas.study.progress import Outline, Phase, Tally, outline
from spach_nas.study.records import Record, read_records
from spach_nas.study.watcher import Watcher
from study_factory import make_record
from study_factory import make_study as make_records

TWO = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])
THREE = (OBJECTIVES["accuracy"], OBJECTIVES["params"], OBJECTIVES["macs"])
RUNGS = {"levels": [{"epochs": 1}], "reduction": 3}


def a_plan(tmp_path: Path, **changes: object) -> Outline:
    return outline(load_config(write_search(tmp_path, limits={}, **changes)), tmp_path)


def climbing(seed: int, count: int = 40) -> list[Record]:
    """Records of two rungs in the order of a search; the paper's models are among them."""
    rng = random.Random(seed)
    records = []
    for record in make_records(count, failed=3, seed=seed):
        records.append(record)
        if record.state == "complete" and rng.random() < 0.4:
            accuracy = record.objectives["accuracy"] + rng.gauss(0.05, 0.01)
            again = make_record(
                record.trial,
                accuracy,
                architecture=record.architecture,
                reference=record.reference,
                rung=1,
                epochs=9,
            )
            records.insert(rng.randrange(len(records) - 1, len(records)) + 1, again)
    return records


def at_work(rung: int, count: int, *, since: float = 0.0) -> tuple[Running, ...]:
    return tuple(Running(trial=900 + i, rung=rung, since=since) for i in range(count))


# Not symmetric, and inside of what the records reach, so that some of them count nothing.
BOX = {"accuracy": (0.78, 1.0), "macs": (9e9, 1e9), "params": (60e6, 2e6)}


def naive_share(found: Sequence[Record]) -> float:
    """The dominated share of the box in two objectives, as the area below a staircase."""
    (low, high), (dear, cheap) = BOX["accuracy"], BOX["macs"]
    area, height = 0.0, low
    for macs, accuracy in sorted((r.target_cost.macs, r.objectives["accuracy"]) for r in found):
        area += max(0.0, accuracy - height) * max(0.0, dear - macs)
        height = max(height, accuracy) if macs < dear else height
    return area / ((high - low) * (dear - cheap))


@pytest.mark.parametrize("seed", range(3))
def test_the_hypervolume_after_each_record_is_the_area_below_the_front(seed: int) -> None:
    records = climbing(seed)
    growing = GrowingHypervolume(TWO, corners=BOX)
    for count, record in enumerate(records, 1):
        growing.add(record)
        # Not asked for each time: what was put off must be made up for.
        if count % 3 and count < len(records):
            continue
        data = growing.data()
        kept = comparable(records[:count])
        assert (data is None) == (not kept)
        if data is None:
            continue
        assert data.shares[-1] == pytest.approx(naive_share([r for r in kept if not r.reference]))
        paper = [r for r in kept if r.reference is not None]
        assert (data.paper is None) == (not paper)
        if paper:
            assert data.paper == pytest.approx(naive_share(paper))


def test_three_objectives_grow_as_well() -> None:
    records = climbing(5)
    data = hypervolume_data(records, THREE, corners=BOX)
    assert data is not None
    assert data.fixed
    box = math.prod(abs(data.ideal[name] - data.reference[name]) for name in data.reference)
    found = [record for record in comparable(records) if record.reference is None]
    expected = hypervolume(found, THREE, reference=data.reference) / box
    assert data.shares[-1] == pytest.approx(expected)
    assert {name: (data.reference[name], data.ideal[name]) for name in BOX} == BOX


def test_without_a_box_the_records_of_a_finished_study_span_one() -> None:
    records = climbing(5)
    data = hypervolume_data(records, THREE)
    assert data is not None
    assert not data.fixed
    for item in THREE:
        figures = [value(record, item) for record in comparable(records)]
        worst, ideal = (min, max) if item.direction == "max" else (max, min)
        assert data.reference[item.name] == worst(figures)
        assert data.ideal[item.name] == ideal(figures)


def test_the_growth_is_told_at_the_time_when_records_were_finished() -> None:
    records = [replace(r, started=10.0 * r.trial, seconds=4.0) for r in make_records(6, failed=0)]
    records.append(replace(records[-1], trial=99, started=2.0, seconds=0.0))  # a shared score
    records.append(replace(records[-1], trial=100, origin="other/3", started=999.0))
    data = hypervolume_data(records, TWO)
    assert isinstance(data, HypervolumeData)
    assert data.seconds == (0.0, 44.0, 54.0, 64.0, 74.0, 84.0, 94.0, 94.0, 94.0)


@pytest.mark.parametrize("seed", range(3))
def test_a_tally_knows_what_a_look_at_all_records_finds(tmp_path: Path, seed: int) -> None:
    records = climbing(seed)
    tally = Tally(a_plan(tmp_path, rungs=RUNGS, training__epochs=9))
    for count, record in enumerate(records, 1):
        tally.add(record)
        if count % 7:
            continue
        progress = tally.progress(running=(), elapsed=1.0)
        seen = records[:count]
        assert progress.front == front(seen, TWO)
        marks: dict[int, list[str]] = {}
        for word, chosen in (("best", best(seen, TWO)), ("knee", knee(seen, TWO))):
            if chosen is not None:
                marks.setdefault(chosen.trial, []).append(word)
        assert progress.marks == {trial: tuple(words) for trial, words in marks.items()}
        failed = [item for item in seen if item.state == "failed"]
        assert progress.last_failure == (failed[-1] if failed else None)
        assert progress.count("failed") == len(failed)
        assert progress.trials == len({item.trial for item in seen})
        for rung in (0, 1):
            there = [r for r in seen if r.fidelity.rung == rung and r.state == "complete"]
            assert progress.finished.get((rung, "complete"), 0) == len(there)


def test_what_is_wanted_is_what_a_search_does(tmp_path: Path) -> None:
    study = make_study(tmp_path, search__trials=13, rungs=RUNGS, training__epochs=3)
    tally = Tally(outline(study.config, study.folder))
    assert tally.progress(running=(), elapsed=0.0).wanted == (13, 4)
    assert tally.progress(running=(), elapsed=0.0).total == 17
    drive(study)
    for record in study.records:
        tally.add(record)
    progress = tally.progress(running=(), elapsed=34.0)
    assert progress.started(0) == 13
    assert progress.started(1) >= 4
    assert (progress.done, progress.time_left) == (progress.total, 0)
    more = tally.progress(running=at_work(1, 2, since=34.0), elapsed=34.0)
    assert more.total == progress.total + 2


def test_warm_records_are_no_work_of_this_search(tmp_path: Path) -> None:
    tally = Tally(a_plan(tmp_path, rungs=RUNGS, search__trials=10, training__epochs=9))
    for trial in range(5):
        tally.add(replace(make_record(trial, 0.5), origin=f"old/{trial}", seconds=100.0))
    progress = tally.progress(running=(), elapsed=1.0)
    # 15 stand on the lowest rung, of which 10 are still to come and 5 may go on.
    assert (progress.done, progress.wanted) == (0, (10, 5))
    assert progress.pace is None


def test_time_left_follows_the_work_that_is_left(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, rungs=RUNGS, search__trials=12, training__epochs=5)
    tally = Tally(plan)
    for trial in range(6):  # two at a time: 6 of 10 s in 30 s
        tally.add(replace(make_record(trial, 0.5), seconds=10.0, started=10.0 * (trial // 2)))
    progress = tally.progress(running=at_work(0, 2, since=30.0), elapsed=30.0)
    # 6 more of 10 s, and 4 that go on for four times the epochs, at two seconds a second.
    assert progress.time_left == pytest.approx((6 * 10 + 4 * 40) / 2)
    assert progress.pace == pytest.approx(6 / 30)
    limited = Tally(replace(plan, max_duration=50.0))
    for trial in range(6):
        limited.add(replace(make_record(trial, 0.5), seconds=10.0))
    # What runs when the time is up is finished, half of it on average.
    assert limited.progress(running=(), elapsed=30.0).time_left == 20.0 + 5.0
    late = limited.progress(running=at_work(0, 2, since=48.0), elapsed=52.0)
    assert late.late and late.time_left == pytest.approx(10 - 4)


FORESEEN = Foreseen(
    seconds=100.0, evaluation_seconds=(10.0, 40.0), at_once=2, start_seconds=8.0, finish_seconds=4.0
)


def test_time_left_starts_from_the_estimate_and_ends_with_what_is_seen(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, rungs=RUNGS, search__trials=12, training__epochs=5)
    tally = Tally(plan, FORESEEN)
    # Before anything is finished: 12 of 10 s and 4 of 40 s, two at a time.
    begin = tally.progress(running=at_work(0, 2, since=8.0), elapsed=8.0)
    assert begin.time_left == pytest.approx((12 * 10 + 4 * 40) / 2)
    # Trainings take twice as long as foreseen: what is left comes to that, at both rungs.
    errors = []
    for trial in range(10):
        start = 8.0 + 20.0 * (trial // 2)
        tally.add(replace(make_record(trial, 0.5), seconds=20.0, started=start))
        left = tally.progress(running=(), elapsed=start + 20.0).time_left
        assert left is not None
        errors.append(abs(left - ((11 - trial) * 20 + 4 * 80) / 2))
    assert errors[-1] < errors[1] and errors[-1] < 0.1 * 170


def test_a_training_that_runs_counts_by_what_it_says(tmp_path: Path) -> None:
    tally = Tally(a_plan(tmp_path, search__trials=2), FORESEEN)
    [first, second] = at_work(0, 2)
    heard = Pulse(trial=first.trial, rung=0, epochs=0.75, first=0, last=1)
    running = (replace(first, pulse=heard), second)
    # Nothing is heard of the other one: its worker starts.
    progress = tally.progress(running=running, elapsed=5.0)
    assert progress.time_left == pytest.approx(10.0) and not progress.starting
    # Once there are records it counts by the clock: half of it is done.
    tally.add(replace(make_record(0, 0.5), seconds=10.0, started=-10.0))
    progress = tally.progress(running=running, elapsed=5.0)
    assert progress.time_left == pytest.approx(5.0)


@pytest.mark.parametrize("phase", ["running", "stopping"])
@pytest.mark.parametrize("limit", [None, 30.0])
def test_time_left_is_never_nothing_while_a_training_runs(
    tmp_path: Path, phase: Phase, limit: float | None
) -> None:
    plan = replace(a_plan(tmp_path, search__trials=2), max_duration=limit)
    tally = Tally(plan, FORESEEN)
    for trial in range(2):
        tally.add(replace(make_record(trial, 0.5), seconds=10.0))
    done = Pulse(trial=900, rung=0, epochs=1.0, first=0, last=1)
    running = (Running(trial=900, rung=0, since=20.0, pulse=done),)
    for elapsed in (21.0, 40.0):
        progress = tally.progress(running=running, elapsed=elapsed, phase=phase)
        assert progress.time_left == 1.0
    assert tally.progress(running=(), elapsed=40.0, phase=phase).time_left == 0.0
    assert tally.progress(running=running, elapsed=40.0, phase="finishing").time_left is None


def test_the_pace_is_that_of_late(tmp_path: Path) -> None:
    tally = Tally(a_plan(tmp_path, search__trials=100))
    for trial in range(30):  # ten that took 100 s each, then one a second
        start = 100.0 * trial if trial < 10 else 1000.0 + trial - 10
        seconds = 100.0 if trial < 10 else 1.0
        tally.add(replace(make_record(trial, 0.5), started=start, seconds=seconds))
    assert tally.progress(running=(), elapsed=1020.0).pace == pytest.approx(1.0)
    # A search that hangs slows down.
    assert tally.progress(running=(), elapsed=1040.0).pace == pytest.approx(0.5)


def test_a_folder_tells_what_its_study_knows(tmp_path: Path) -> None:
    study = make_study(tmp_path, search__trials=9, rungs=RUNGS, training__epochs=3)
    with locked(study.folder):
        study.begin()
        watcher = Watcher(study.folder)
        for step in range(8):
            request = study.next()
            assert isinstance(request, EvaluationRequest)
            if step != 5:  # this one stays on its way
                study.tell(request, _failing(request) if step == 2 else evaluate(request))
            progress, afresh = watcher.progress(), Watcher(study.folder).progress()
            assert progress.front == afresh.front == study.front()
            assert sum(progress.finished.values()) == len(study.records)
            assert progress.phase == "running"
        assert progress.running == study.under_way != ()
        [one] = progress.running
        pulse = Pulse(trial=one.trial, rung=one.rung, epochs=0.5, first=0, last=1)
        study.hear(pulse)
        study.hear(replace(pulse, trial=99))  # nothing that runs
        assert watcher.progress().running == study.under_way == (replace(one, pulse=pulse),)
        assert progress.last_failure is not None
        assert progress.last_failure.reason == "not a number"
        study.stop()
        assert watcher.progress().phase == "stopping"
        study.end()
        assert (watcher.progress().phase, watcher.progress().over) == ("stopped", True)
    study.close()


def _failing(_: EvaluationRequest) -> Evaluation:
    return Evaluation(state="failed", reason="not a number", seconds=1.0)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that was killed with three records and one request on its way."""
    study = make_study(tmp_path_factory.mktemp("killed"))
    study.begin()
    for _ in range(3):
        request = study.next()
        assert isinstance(request, EvaluationRequest)
        study.tell(request, evaluate(request))
    study.next()
    study.close()
    return study.folder


@pytest.fixture
def folder(killed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / "study"))


def test_a_search_whose_process_is_gone_shows_no_sign_of_life(folder: Path) -> None:
    progress = Watcher(folder).progress()
    assert (progress.phase, progress.over, progress.running) == ("silent", True, ())
    assert progress.last_sign is not None
    with locked(folder):
        assert [item.rung for item in Watcher(folder).progress().running] == [0]
        # Whoever goes on begins with nothing on its way.
        Journal(folder).write("resumed", {"elapsed": 3.0})
        again = Watcher(folder).progress()
        assert (again.phase, again.running) == ("running", ())


def test_a_search_that_ended_is_over_whether_it_is_locked_or_not(folder: Path) -> None:
    Journal(folder).write("ended", {"elapsed": 44.0})
    with locked(folder):
        assert Watcher(folder).progress().phase == "ended"
    progress = Watcher(folder).progress()
    assert (progress.phase, progress.elapsed) == ("ended", 44.0)


def test_a_study_without_a_journal_is_read_from_its_records(folder: Path) -> None:
    (folder / LOG_JSONL).unlink()
    progress = Watcher(folder).progress()
    assert (progress.phase, progress.done) == ("ended", 3)
    assert progress.elapsed == max(r.started + r.seconds for r in read_records(folder))


def test_a_torn_line_is_read_once_it_is_whole(folder: Path) -> None:
    path = folder / RECORDS_FILE
    text = path.read_bytes()
    last = text.rindex(b"\n", 0, -1) + 1
    path.write_bytes(text[: last + 20])
    watcher = Watcher(folder)
    assert watcher.progress().done == 2
    path.write_bytes(text)
    assert watcher.progress().done == 3
    assert watcher.progress().done == 3


def test_a_damaged_record_is_told_with_its_line(folder: Path) -> None:
    with (folder / RECORDS_FILE).open("ab") as file:
        file.write(b"{broken\n")
    with pytest.raises(StudyError, match=r"records\.jsonl:4: damaged line; expected a JSON object"):
        Watcher(folder).progress()


@pytest.mark.parametrize("arguments", [["--once"], []])
def test_watching_what_is_no_study_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    code, lines = run_main("watch", str(tmp_path), *arguments)
    assert (code, len(lines)) == (2, 1)
    assert lines[0] == f"{tmp_path}: holds no search.yaml; expected the folder of a study"
