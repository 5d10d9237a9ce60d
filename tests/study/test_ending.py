import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from search_tools import drive, evaluate, make_study
from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.errors import StudyError
from spach_nas.files import locked
from spach_nas.report.page import page_header
from spach_nas.report.study import study_facts
from spach_nas.report.view import study_view
from spach_nas.study.driver import StudyDriver
from spach_nas.study.ending import ending, resume_command
from spach_nas.study.journal import LOG_JSONL, Foreseen, read_foreseen
from study_factory import make_record

FORESEEN = Foreseen(
    seconds=170.0,
    evaluation_seconds=(12.0,),
    at_once=2,
    start_seconds=8.0,
    finish_seconds=4.0,
)


def head_of(study: StudyDriver) -> str:
    view = study_view(study.records, study_facts(study.folder))
    return page_header(view, folder=study.folder)


def some(study: StudyDriver, count: int) -> None:
    for _ in range(count):
        request = study.next()
        assert isinstance(request, EvaluationRequest)
        study.tell(request, evaluate(request))


def test_a_search_that_max_duration_cut_says_so(tmp_path: Path) -> None:
    times = [0.0]
    study = make_study(
        tmp_path,
        clock=lambda: times[0],
        search__max_duration="5m",
        references=[],
        search__trials=28,
    )
    study.begin(FORESEEN)
    some(study, 15)
    times[0] = 301.0
    drive(study)
    study.conclude()
    found = ending(study.folder)
    assert (found.why, found.done, found.planned, found.cut) == ("max_duration", 15, 28, True)
    assert found.outcome == "Ended by max_duration (5m 00s): 15 of 28 trials are done."
    assert found.duration == "took 5m 01s, estimated 2m 50s"
    file = study.folder / "search.yaml"
    assert found.advice == (
        f"To go on: a larger max_duration in {file}, then "
        f"spach-nas search {file} --out {study.folder} --resume"
    )
    head = head_of(study)
    assert found.outcome in head and "a larger max_duration" in head
    study.close()


def test_a_search_that_somebody_stopped_says_so(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    with locked(study.folder):
        study.begin()
        some(study, 3)
        assert ending(study.folder).why == "running"
        study.stop()
        study.conclude()
        # The report is written while the folder is still held.
        found = ending(study.folder)
    assert (found.why, found.done, found.planned) == ("stopped", 3, 12)
    assert found.outcome == "Stopped before the budget was spent: 3 of 12 trials are done."
    assert found.advice == f"To go on: {resume_command(study.folder)}"
    study.close()


def test_a_search_that_did_all_has_nothing_to_go_on_with(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    study.begin()
    drive(study)
    study.conclude()
    study.end()
    study.close()
    found = ending(study.folder)
    assert (found.why, found.cut, found.command, found.advice) == ("done", False, "", "")
    assert "To go on" not in head_of(study)
    # A budget that grew afterwards is another search: this one did what it was asked for.
    (study.folder / "search.yaml").write_text(
        (study.folder / "search.yaml").read_text().replace("trials: 12", "trials: 40")
    )
    assert ending(study.folder).planned == 12


def test_a_space_that_is_used_up_is_no_cut(tmp_path: Path) -> None:
    space = {
        "image_size": 32,
        "num_classes": 10,
        "in_channels": 1,
        "patch_size": 4,
        "stem_width": 8,
        "heads": 2,
        "expansion_ratio": 2,
        "stages": [
            {"depth": [1, 2], "width": 8, "mixers": "conv"},
            {"depth": 1, "width": {"times": 2}, "mixers": "conv"},
        ],
    }
    study = make_study(tmp_path, space=space, limits={}, search__trials=50)
    study.begin()
    drive(study)
    study.conclude()
    study.close()
    found = ending(study.folder)
    assert (found.why, found.cut, found.command) == ("exhausted", False, "")
    assert found.outcome.startswith("No architecture is left inside the limits: ")


def test_a_search_that_failed_says_why(tmp_path: Path) -> None:
    study = make_study(tmp_path, search__stop_after_failures=2)
    study.begin()
    with pytest.raises(StudyError):
        drive(study, lambda _: Evaluation(state="failed", reason="not a number"))
    study.close()
    found = ending(study.folder)
    assert found.outcome == "Stopped: the first 2 trials all failed: 2 of 12 trials are done."


def test_a_search_that_was_killed_is_gone(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    study.begin(FORESEEN)
    some(study, 2)
    study.close()
    found = ending(study.folder)
    assert (found.why, found.done) == ("gone", 2)
    assert found.advice == f"To go on: {resume_command(study.folder)}"


@pytest.mark.parametrize(
    ("journal", "limit", "expected"),
    [
        ([], None, "unknown"),
        ([], 2.0, "max_duration"),
        (["begun", "stopped", "ended"], None, "stopped"),
        (["begun", "ended"], None, "exhausted"),
    ],
)
def test_an_older_study_says_what_it_can(
    tmp_path: Path, journal: list[str], limit: float | None, expected: str
) -> None:
    change = {} if limit is None else {"search__max_duration": limit}
    study = make_study(tmp_path, **change)
    study.close()
    lines = "".join(f'{{"event": "{event}"}}\n' for event in journal)
    (study.folder / LOG_JSONL).write_text(lines)
    records = [replace(make_record(0, 0.5), started=1.0, seconds=2.0)]
    assert ending(study.folder, records).why == expected


def test_the_command_is_quoted_for_a_shell(tmp_path: Path) -> None:
    folder = tmp_path / "it's a=1 & more"
    folder.mkdir()
    (folder / "plugins.json").write_text('{"pool": "my_mixers"}')
    words = shlex.split(resume_command(folder))
    assert words[2:5] == [f"{folder}/search.yaml", "--out", str(folder)]
    assert words[-2:] == ["--plugin", "my_mixers"]
    # What begins with a dash would be taken for an option.
    assert shlex.split(resume_command(Path("-x")))[2] == "./-x/search.yaml"


def test_an_estimate_comes_back_from_the_journal() -> None:
    assert read_foreseen(FORESEEN.to_dict()) == FORESEEN
    plain = FORESEEN.to_dict()
    for damaged in (None, 3, {}, {**plain, "seconds": "soon"}, {**plain, "evaluation_seconds": []}):
        assert read_foreseen(damaged) is None
