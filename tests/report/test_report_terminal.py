import io
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from spach_nas.config.objectives import OBJECTIVES
from spach_nas.report import StudyFacts, front_table
from spach_nas.report.view import study_view
from spach_nas.study.pareto import best, front, knee
from spach_nas.study.records import Record
from study_factory import make_record, make_study

TWO = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])


def printed(records: Sequence[Record], width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(front_table(study_view(records, StudyFacts(name="", objectives=TWO))))
    return console.file.getvalue()


def test_the_table_lists_the_front_cheapest_first() -> None:
    study = make_study()
    text = printed(study)
    members = front(study, TWO)
    lines = [line for line in text.splitlines() if " | " in line]
    assert len(lines) == len(members)
    for line, record in zip(lines, members, strict=True):
        assert str(record.architecture) in line
        assert f"{record.target_cost.macs / 1e9:.2f}" in line
        assert ("best" in line) == (record.trial == best(study).trial)
        assert ("knee" in line) == (record.trial == knee(study, TWO).trial)


def test_paper_models_are_named() -> None:
    assert "conv_ms_s" in printed([make_record(0, 0.5, reference="conv_ms_s")])


def test_brackets_are_text() -> None:
    record = replace(make_record(0, 0.5), reference="[bold]x[/bold] [link=http://x]")
    assert "[bold]x[/bold]" in printed([record])


def test_an_empty_front_is_a_table_all_the_same() -> None:
    assert "0 of 1 trial" in printed([make_record(0, None)])


def test_a_narrow_terminal_keeps_the_figures() -> None:
    record = make_record(0, 0.8125, macs=3_210_000_000)
    text = printed([record], width=70)
    assert "81.25%" in text
    assert "3.21" in text


def test_a_latency_has_a_column_where_one_is_known() -> None:
    record = make_record(0, 0.5)
    timed = replace(record, objectives={**record.objectives, "latency": 7.126})
    assert "latency" not in printed([record])
    assert "latency (ms)" in printed([timed])
    assert "7.13" in printed([timed])
