"""The fronts of several studies in one picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from plotly import graph_objects as go

from spach_nas.config.objectives import OBJECTIVES, Objective, score_of
from spach_nas.report.axes import MEMORY, study_axes, with_memory
from spach_nas.report.comparison_settings import protocol_differences
from spach_nas.report.comparison_study import ComparedStudy, StudyGroup
from spach_nas.report.comparison_style import (
    Style,
    cost_axis,
    legend_order,
    make_room,
    score_axis,
    styles,
)
from spach_nas.report.pareto_data import pareto_data
from spach_nas.report.seeds import Trained
from spach_nas.report.theme import LIGHT, layout, plain
from spach_nas.report.trials import hover_text
from spach_nas.study.intervals import Interval
from spach_nas.study.pareto import comparable, front, value
from spach_nas.study.records import Record

# Bars of more fronts than this would hide each other.
_FEW = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFront:
    """The front of one study, in two figures.

    Attributes:
        group: Label of its group.
        study: Label of the study.
        x: Costs, cheapest first.
        y: Scores.
        bars: Their intervals, where they are known.
        hover: What each point says, in plotly's mark-up.
    """

    group: str
    study: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    bars: tuple[Interval | None, ...]
    hover: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperModel:
    """One of the paper's models, over all studies that trained it.

    Attributes:
        name: Its name.
        x: Its cost.
        scores: One for each seed of training.
        interval: Of its images and its seeds.
    """

    name: str
    x: float
    scores: tuple[float, ...]
    interval: Interval

    @property
    def mean(self) -> float:
        """Of the scores."""
        return sum(self.scores) / len(self.scores)


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontsData:
    """What the picture shows.

    Attributes:
        x: The cost on the horizontal axis; lower is better.
        y: The score on the vertical axis.
        groups: For legend and colours.
        fronts: One for each study that has one.
        paper: The paper's models; none where the studies do not share one protocol.
        limits: Bounds on this cost by name, where they are the same everywhere.
    """

    x: Objective
    y: Objective
    groups: tuple[StudyGroup, ...]
    fronts: tuple[StudyFront, ...]
    paper: tuple[PaperModel, ...]
    limits: tuple[tuple[str, int], ...]


def fronts_data(
    groups: Sequence[StudyGroup], *, axis: Objective = OBJECTIVES["macs"]
) -> FrontsData:
    """The front of each study in a cost and the score, whatever else it optimised.

    Args:
        groups: Studies with the same objectives.
        axis: What stands on the horizontal axis, one of `cost_axes`.
    """
    studies = [study for group in groups for study in group.studies]
    x, y = axis, score_of(studies[0].objectives)
    fronts = [
        _front(study, group=group.label, x=x, y=y)
        for group in groups
        for study in group.studies
        if study.usable
    ]
    same = len({study.limits for study in studies}) == 1
    return FrontsData(
        x=x,
        y=y,
        groups=tuple(groups),
        fronts=tuple(fronts),
        paper=() if protocol_differences(studies) else _paper(studies, x=x, y=y),
        limits=pareto_data((), (y, x), axis=x, limits=studies[0].limits).limits if same else (),
    )


def cost_axes(groups: Sequence[StudyGroup]) -> Mapping[str, Objective]:
    """What can stand on the horizontal axis, by the words of a switch; lower is better in all."""
    studies = [study for group in groups for study in group.studies]
    records = [record for study in studies for record in study.usable]
    known = study_axes(records, studies[0].objectives)
    return {words: item for words, item in known.items() if item.direction == "min"}


def _front(study: ComparedStudy, *, group: str, x: Objective, y: Objective) -> StudyFront:
    trained = {group.record.trial: group for group in study.trained}
    # `front` sorts by MACs, which need not be the axis.
    members = sorted(
        front(with_axis(study.usable, x), (y, x)), key=lambda record: value(record, x) or 0.0
    )
    return StudyFront(
        group=group,
        study=study.label,
        x=tuple(value(record, x) or 0.0 for record in members),
        y=tuple(value(record, y) or 0.0 for record in members),
        bars=tuple(trained[record.trial].interval(y) for record in members),
        hover=tuple(
            f"{plain(study.label)}<br>{hover_text(record, seeds=trained[record.trial].seeds)}"
            for record in members
        ),
    )


def with_axis(records: Sequence[Record], axis: Objective) -> tuple[Record, ...]:
    """The records that have a figure for an axis; what can be computed is."""
    known = with_memory(records) if axis == MEMORY else records
    return tuple(record for record in known if value(record, axis) is not None)


def _paper(
    studies: Sequence[ComparedStudy], *, x: Objective, y: Objective
) -> tuple[PaperModel, ...]:
    found: dict[str, dict[int, Record]] = {}
    for study in studies:
        paper = [record for record in comparable(study.records) if record.reference is not None]
        for record in with_axis(paper, x):
            if value(record, y) is not None:
                # The same network trained from the same seed is the same training.
                found.setdefault(record.reference or "", {}).setdefault(record.seed, record)
    return tuple(_paper_model(name, tuple(runs.values()), x=x, y=y) for name, runs in found.items())


def _paper_model(name: str, runs: tuple[Record, ...], *, x: Objective, y: Objective) -> PaperModel:
    scores = tuple(value(record, y) or 0.0 for record in runs)
    mean = {y.name: sum(scores) / len(scores)}
    trained = Trained(record=replace(runs[0], objectives=mean), trainings=runs)
    return PaperModel(
        name=name,
        x=value(runs[0], x) or 0.0,
        scores=scores,
        interval=trained.interval(y) or Interval(min(scores), max(scores)),
    )


def fronts_figure(data: FrontsData) -> go.Figure:
    """A staircase for each study in the look of its group, paper models as stars; log x."""
    figure, looks = go.Figure(layout=layout()), styles(data.groups)
    shown: set[str] = set()
    several = {group.label for group in data.groups if len(group.studies) > 1}
    for one in data.fronts:
        trace = _trace(one, looks[one.group], rank=legend_order(data.groups)[one.group])
        if len(data.fronts) <= _FEW:
            trace.update(error_y=_bars(one.y, one.bars, colour=looks[one.group].colour))
        if one.group in several:
            trace.update(line_width=1, marker_size=6)
        figure.add_trace(trace.update(showlegend=one.group not in shown))
        shown.add(one.group)
    if data.paper:
        figure.add_trace(_stars(data))
    cost_axis(
        figure,
        data.x,
        values=[x for one in data.fronts for x in one.x] + [model.x for model in data.paper],
        limits=data.limits,
    )
    scores = [y for one in data.fronts for y in one.y]
    ends = [model.interval for model in data.paper]
    if len(data.fronts) <= _FEW:
        ends += [bar for one in data.fronts for bar in one.bars if bar is not None]
    score_axis(figure, data.y, values=scores + [end for bar in ends for end in bar])
    return make_room(figure, data.groups)


def _trace(one: StudyFront, look: Style, *, rank: int) -> go.Scatter:
    return go.Scatter(
        x=list(one.x),
        y=list(one.y),
        text=list(one.hover),
        hovertemplate="%{text}<extra></extra>",
        mode="lines+markers",
        line={**look.line, "shape": "hv", "width": 1.5},
        marker={
            "symbol": look.symbol,
            "size": 8,
            "color": look.colour,
            "line": {"width": 1, "color": LIGHT.surface},
        },
        name=look.name,
        legendgroup=plain(one.group),
        legendrank=rank,
    )


def _bars(y: Sequence[float], ends: Sequence[Interval | None], *, colour: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [one.high - at if one else 0.0 for at, one in zip(y, ends, strict=True)],
        "arrayminus": [at - one.low if one else 0.0 for at, one in zip(y, ends, strict=True)],
        "color": colour,
        "thickness": 1,
        "width": 4,
    }


def _stars(data: FrontsData) -> go.Scatter:
    means = [model.mean for model in data.paper]
    return go.Scatter(
        x=[model.x for model in data.paper],
        y=means,
        error_y=_bars(means, [one.interval for one in data.paper], colour=LIGHT.text),
        text=[
            f"<b>{plain(one.name)}</b> (paper model)<br>{one.mean:.4f}"
            + (f", mean of {len(one.scores)} seeds" if len(one.scores) > 1 else "")
            for one in data.paper
        ],
        hovertemplate="%{text}<extra></extra>",
        mode="markers",
        marker={"symbol": "star", "size": 12, "color": LIGHT.text},
        name="paper models",
        legendrank=1000,
    )
