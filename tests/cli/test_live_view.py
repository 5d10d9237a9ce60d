import io
import math
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from conftest import run_main
from search_tools import drive, evaluate, make_study, write_search
from spach_nas.cli import live_view, status_line
from spach_nas.cli.live_view import LiveView, ProgressView, sparkline
from spach_nas.cli.search_view import print_result
from spach_nas.cli.status_line import Doing
from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.search_yaml import load_config
from spach_nas.evaluators.heartbeat import Pulse, Running
from spach_nas.files import locked
from spach_nas.study.folder import checkpoint_path
from spach_nas.study.hypervolume import HypervolumeData, hypervolume_data
from spach_nas.study.journal import Journal
from spach_nas.study.pareto import best, front, knee
from spach_nas.study.progress import Progress, Tally, outline
from spach_nas.study.records import Record
from spach_nas.units import format_count
from study_factory import make_record
from study_factory import make_study as make_records

TWO = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])
RUNGS = {"levels": [{"epochs": 1}], "reduction": 3}


def progress_of(records: Sequence[Record], tmp_path: Path, **changes: object) -> Progress:
    config = load_config(write_search(tmp_path, limits={}, **changes))
    tally = Tally(outline(config, tmp_path))
    for record in records:
        tally.add(record)
    running = tuple(Running(trial=901 + i, rung=0, since=190.0) for i in range(2))
    return tally.progress(running=running, elapsed=200.0)


def shown(progress: Progress, width: int, height: int, *, whole: bool = False) -> list[str]:
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    console.print(ProgressView(progress, whole=whole))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def long_front(count: int) -> list[Record]:
    """All on the front, with a knee inside, and one that failed with a reason of several lines."""
    records = [
        make_record(
            trial, 0.3 + 0.05 * math.log(trial + 1) + 0.1 * (trial >= 37), macs=(trial + 1) * 10**8
        )
        for trial in range(count)
    ]
    reason = "Traceback:\n  File 'mixer.py'\n" + 30 * "a long line; " + "\nValueError: [/bold] x"
    return [*records, make_record(count, None, reason=reason)]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 15), (200, 60)])
def test_the_view_fits_the_terminal(tmp_path: Path, width: int, height: int) -> None:
    records = long_front(80)
    progress = progress_of(
        records, tmp_path, study="a" * 100, rungs=RUNGS, training__epochs=9, search__trials=5000
    )
    lines = shown(progress, width, height)
    assert len(lines) <= height - 1, "the cursor has a line of its own"
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    trials = [int(found[1]) for line in lines if (found := re.match(r" *(\d+)  conv2 ", line))]
    members = len(trials)
    assert f"... and {80 - members} more" in text
    assert max(b - a for a, b in pairwise(trials)) <= 3 * 80 / (members - 1), "evenly"
    # Both ends, best and knee are among those that are left.
    two = knee(records, TWO)
    assert two is not None
    assert two.trial == 37
    assert re.search(r"^ *0  ", text, re.M)
    assert re.search(rf"^ *{two.trial}  .*knee", text, re.M)
    assert re.search(r"^ *79  .*best", text, re.M)


def test_all_that_matters_is_in_the_view(tmp_path: Path) -> None:
    records = [replace(r, started=2.0 * r.trial) for r in make_records(20, failed=2)]
    progress = progress_of(records, tmp_path, search__trials=30)
    text = "\n".join(shown(progress, 120, 40))
    data = hypervolume_data(records, TWO, corners=progress.outline.corners)
    assert data is not None
    failed = [record.trial for record in records if record.state == "failed"]
    assert "24/30 done  running" in text
    assert "3m 20s elapsed, about " in text
    assert "1 epoch: 22 complete, 2 failed, 2 running, 4 to come" in text
    assert f"{data.shares[-1]:.1%} of the box, the paper's models {data.paper:.1%}" in text
    # This folder does not say how many classes it has, so that guessing is always wrong.
    worst = f"accuracy 0.0%, macs {format_count(data.reference['macs'])}"
    assert f"reference point: {worst}\n" in text
    assert f"2 failed, the last trial {failed[-1]}: the loss is not finite after epoch 1" in text
    assert f"Pareto front, {len(front(records, TWO))} of 24 trials" in text
    for record in front(records, TWO):
        assert f"{record.target_cost.macs / 1e9:.2f}" in text


def test_the_trials_that_run_say_how_far_they_are(tmp_path: Path) -> None:
    progress = progress_of([make_record(0, 0.5)], tmp_path)
    pulse = Pulse(trial=901, rung=0, epochs=1.25, first=0, last=4, images_per_second=212.4)
    first, second = progress.running
    both = replace(progress, running=(replace(first, pulse=pulse), second))
    words = "trial 901 in epoch 2 of 4 (31%), trial 902 is starting; 212 images/s"
    assert words in shown(both, 100, 24)
    many = tuple(replace(second, trial=i) for i in range(1, 60))
    assert "trial 3 is starting, 56 more" in "\n".join(shown(replace(both, running=many), 100, 24))
    # Nothing about running trials when none run.
    none = "\n".join(shown(replace(progress, running=()), 100, 24))
    assert "trial 90" not in none and " running, " not in none
    late = replace(progress, elapsed=400.0, outline=replace(progress.outline, max_duration=300.0))
    assert "max_duration is over: running trials finish first" in shown(late, 100, 24)[0]
    stopping = replace(progress, running=(), phase="stopping")
    assert shown(stopping, 100, 24)[0].rstrip().endswith("done  stopping")


def test_rungs_have_a_line_each(tmp_path: Path) -> None:
    records = [make_record(0, 0.5), make_record(1, 0.6), make_record(0, 0.7, rung=1, epochs=9)]
    progress = progress_of(records, tmp_path, rungs=RUNGS, training__epochs=9, search__trials=12)
    lines = shown(progress, 80, 24)
    assert "rung 0, 1 epoch:  2 complete, 2 running, 8 to come" in lines
    assert "rung 1, 9 epochs: 1 complete, 0 running, 3 to come" in lines


@pytest.mark.parametrize("records", [[], [make_record(0, None)], [make_record(0, 0.5)]])
def test_a_search_that_has_just_begun_is_shown(tmp_path: Path, records: list[Record]) -> None:
    lines = shown(progress_of(records, tmp_path), 80, 24)
    assert f"{len(records)}/12 done  {'running' if records else 'starting'}" in lines[0]
    assert ("Pareto front" in "\n".join(lines)) == (best(records) is not None)


def test_small_networks_are_counted_in_small_units(tmp_path: Path) -> None:
    records = [make_record(0, 0.5, macs=42_500)]
    text = "\n".join(shown(progress_of(records, tmp_path), 100, 24))
    assert "MACs (k)" in text
    assert " 42.50 " in text


def test_the_whole_front_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    lines = shown(progress_of(long_front(80), tmp_path), 80, 24, whole=True)
    assert sum("conv2 |" in line for line in lines) == 80


def test_a_view_follows_its_progress(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100, height=30, force_terminal=True)
    view = ProgressView()
    view.doing = Doing("starting Ray")
    console.print(view)
    view.doing = None
    for records in (long_front(3), long_front(5)):
        view.progress = progress_of(records, tmp_path)
        console.print(view)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.index("starting Ray ...") < text.index("front, 3 of 4") < text.index("5 of 6")
    assert text.count("conv2 | conv2") == 3 + 5


def grown(seconds: tuple[float, ...], shares: tuple[float, ...]) -> HypervolumeData:
    return HypervolumeData(
        objectives=TWO,
        reference={},
        ideal={},
        trials=tuple(range(len(seconds))),
        seconds=seconds,
        shares=shares,
        paper=None,
    )


@pytest.mark.parametrize(
    ("seconds", "shares", "now", "line"),
    [
        # Nothing for half of the time, then half of what is reached at last.
        ((0.0, 40.0, 70.0), (0.0, 0.2, 0.4), 80.0, "▁▁▁▅▅▅██"),
        # The present is in the last character, the first step in the first.
        ((0.0, 80.0), (0.0, 0.4), 80.0, "▁▁▁▁▁▁▁█"),
        ((0.0, 1.0), (0.0, 0.4), 80.0, "████████"),
        ((0.0, 80.0), (0.0, 0.4), 20.0, "▁▁▁▁▁▁▁█"),
        ((0.0,), (0.0,), 10.0, "▁▁▁▁▁▁▁▁"),
    ],
)
def test_the_line_is_the_share_over_time(
    seconds: tuple[float, ...], shares: tuple[float, ...], now: float, line: str
) -> None:
    assert sparkline(grown(seconds, shares), seconds=now, width=8) == line


def test_without_a_terminal_each_record_is_a_line(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80)
    study = make_study(tmp_path, search__trials=2)
    with LiveView(console).shown() as live:
        live(study, None)
        for number in range(2):
            request = study.next()
            assert isinstance(request, EvaluationRequest)
            bad = Evaluation(state="failed", reason="not [a] number", seconds=1.0)
            live(study, study.tell(request, evaluate(request) if number else bad))
    study.close()
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == f"small: 2 trials into {study.folder}"
    assert lines[1].startswith("[1/2] trial 0: failed: not [a] number, ")
    assert lines[2].startswith(
        f"[2/2] trial 1: accuracy {study.records[1].objectives['accuracy']:.4f}"
    )
    assert len(lines) == 3


def test_without_a_terminal_running_trials_give_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spach_nas.cli.status_line.TICK_S", 0.001)
    monkeypatch.setattr("spach_nas.cli.live_view.SILENCE_S", 1e6)
    console = Console(file=io.StringIO(), width=80)
    study = make_study(tmp_path, search__trials=2)
    with LiveView(console).shown() as live:
        live(study, None)
        live.doing("starting workers")
        request = study.next()
        assert isinstance(request, EvaluationRequest)
        study.hear(Pulse(trial=0, rung=0, epochs=0.5, first=0, last=1, images_per_second=90.0))
        text = console.file.getvalue  # type: ignore[attr-defined]
        while text().count("\n") < 3:
            time.sleep(0.001)
    study.close()
    _, starting, sign = text().splitlines()
    assert starting == "starting workers ..."
    assert sign == "trial 0 in epoch 1 of 1 (50%); 90 images/s"


@pytest.mark.parametrize("lost", [False, True])
def test_a_result_says_whose_weights_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lost: bool
) -> None:
    study = make_study(tmp_path, search__trials=5)
    drive(study)
    study.close()
    top = best(study.records)
    assert top is not None
    if lost:
        checkpoint_path(study.folder, top).unlink()
    print_result(study, console=Console(width=120))
    printed = capsys.readouterr().out
    assert (
        f"weights of trial {top.trial}, the best one, are not in this folder" in printed
    ) == lost
    # Nothing was exported here.
    assert "report.html" in printed and "\nbest " not in printed


def test_a_live_view_shows_the_study_while_it_runs(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    study = make_study(tmp_path, search__trials=3)
    live = LiveView(console)
    with live.shown():
        live(study, None)
        for _ in range(2):
            request = study.next()
            assert isinstance(request, EvaluationRequest)
            live(study, study.tell(request, evaluate(request)))
        study.next()
    progress = live.render().progress
    assert progress is not None
    assert (progress.done, progress.running_at(0), progress.phase) == (2, 1, "running")
    study.stop()
    assert live.render().progress.phase == "stopping"  # type: ignore[union-attr]
    study.conclude()
    assert live.render().progress.phase == "finishing"  # type: ignore[union-attr]
    study.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search with two records."""
    study = make_study(tmp_path_factory.mktemp("running"), search__trials=5)
    study.begin()
    for _ in range(2):
        request = study.next()
        assert isinstance(request, EvaluationRequest)
        study.tell(request, evaluate(request))
    study.close()
    return study.folder


def test_watching_without_a_terminal_prints_once(
    running: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(running):
        code, lines = run_main("watch", str(running))
    assert (code, lines) == (0, [])
    text = capsys.readouterr().out
    assert text.count("2/5 done  running") == 1
    assert "\x1b" not in text


def test_watching_ends_with_the_search(running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            Journal(running).write("ended", {"elapsed": 5.0})

    monkeypatch.setattr(live_view.time, "sleep", sleep)
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    with locked(running):
        progress = live_view.watch(running, console=console)
    assert progress.phase == "ended"
    assert looks == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("interrupted", "code"), [(True, 0), (False, 1)])
def test_leaving_is_no_fault_but_a_search_that_died_is(
    running: Path, monkeypatch: pytest.MonkeyPatch, interrupted: bool, code: int
) -> None:
    def sleep(_: float) -> None:
        raise KeyboardInterrupt

    console = Console(file=io.StringIO(), width=100, height=24, force_terminal=True)
    monkeypatch.setattr(status_line, "make_console", lambda: console)
    monkeypatch.setattr(live_view.time, "sleep", sleep)
    Journal(running).write("resumed", {"elapsed": 5.0})
    if interrupted:
        with locked(running):
            assert run_main("watch", str(running)) == (0, [])
        return
    assert run_main("watch", str(running)) == (code, [])
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "no sign of life since " in text
    command = f"spach-nas search {running}/search.yaml --out {running} --resume"
    assert command.replace(" ", "") in re.sub(r"\x1b\[[0-9;]*m|\s", "", text)
