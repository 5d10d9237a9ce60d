"""Models of timm on the page: marks on the axis of a front, and a table of their own."""

from dataclasses import replace

import pytest

from report_tools import view_of
from spach_nas.config.objectives import OBJECTIVES
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
    section = timm_section(view(FAR, TIMM_FIGURES))
    assert not section.hidden and timm_section(view()).hidden
    head, near, far = section.body.split("<tr>")[1:]
    assert "Published ImageNet-1k top-1" in head and "Latency, ms" in head
    assert "timm/a&lt;b" in near and "80.4 % at 256 px" in near and "8.50" in near
    assert "timm/far" in far and "%" not in far.split("</table>")[0] and "8.50" not in far
