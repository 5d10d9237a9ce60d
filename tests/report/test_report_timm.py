"""Models of timm on the page: marks on the axis of a front, and a table of their own."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from report_tools import view_of
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.report import front_table
from spach_nas.report.comparison import ComparedStudy, group_studies
from spach_nas.report.comparison_figures import fronts_figure
from spach_nas.report.comparison_page import render_comparison
from spach_nas.report.front_figure import pareto_data, pareto_figure, spread_out
from spach_nas.report.page import timm_section
from spach_nas.report.view import StudyView, study_view
from spach_nas.study.timm_figures import TimmFigures
from study_factory import TIMM_FIGURES, make_record

FAR = replace(TIMM_FIGURES, name="timm/far", macs=90_000_000_000, latency=None, top1=None)
RECORDS = [make_record(0, 0.7, macs=1_900_000_000), make_record(1, 0.8, macs=4_000_000_000)]


def view(*models: TimmFigures) -> StudyView:
    return study_view(RECORDS, replace(view_of(RECORDS).facts, timm=models))


def test_a_model_near_the_points_is_marked_on_the_axis_and_has_no_score() -> None:
    data = pareto_data(view(TIMM_FIGURES, FAR))
    assert data.timm == (("timm/a<b", 2e9),)
    assert len(data.points) == 2  # neither a point nor on the front
    figure = pareto_figure(data)
    (trace,) = [trace for trace in figure.data if trace.name.startswith("models of timm")]
    assert list(trace.x) == [2e9] and list(trace.y) == [figure.layout.yaxis.range[0]]
    (note,) = [note for note in figure.layout.annotations if note.name == "timm"]
    assert note.text == "a&lt;b"
    assert not pareto_data(view()).timm
    # No record has a latency, so that there is nothing to compare theirs with.
    assert not pareto_data(view(TIMM_FIGURES), OBJECTIVES["latency"]).timm


def test_names_on_the_axis_keep_apart_and_in_order() -> None:
    assert spread_out([0.1, 0.5, 0.501, 0.9], gap=0.02) == pytest.approx([0.1, 0.5, 0.52, 0.9])


def test_the_table_has_published_accuracies_in_a_column_of_their_own() -> None:
    section = timm_section((FAR, TIMM_FIGURES))
    assert not section.hidden and timm_section(()).hidden
    head, near, far = section.body.split("<tr>")[1:]
    assert "Published ImageNet-1k top-1" in head and "Latency, ms" in head
    assert "timm/a&lt;b" in near and "80.4 % at 256 px" in near and "8.50" in near
    assert "timm/far" in far and "%" not in far.split("</table>")[0] and "8.50" not in far


def test_a_comparison_marks_each_model_once_and_lists_it() -> None:
    first, other = (
        ComparedStudy(label=label, records=tuple(RECORDS), timm=models)
        for label, models in (("one", (TIMM_FIGURES, FAR)), ("other", (TIMM_FIGURES,)))
    )
    figure = fronts_figure(group_studies([first, other]))
    (trace,) = [trace for trace in figure.data if trace.name.startswith("models of timm")]
    assert list(trace.x) == [2e9] and list(trace.y) == [figure.layout.yaxis.range[0]]
    page = render_comparison([first, other])
    assert page.count("<td>timm/a&lt;b</td>") == 1 and "80.4 % at 256 px" in page


def test_a_terminal_lists_them_below_the_front_in_its_units() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(front_table(view(TIMM_FIGURES, FAR)))
    lines = console.file.getvalue().splitlines()
    (near,) = [line for line in lines if "timm/a<b" in line]
    (far,) = [line for line in lines if "timm/far" in line]
    assert "2.00" in near and near.split("│")[-2].strip() == "published: 80.4 %"
    assert "90.00" in far and "%" not in far
    assert lines.index(near) > max(i for i, line in enumerate(lines) if "4.00" in line)
