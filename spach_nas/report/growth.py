"""How the front of a study grew: hypervolume over trials, training time or time by the clock."""

from typing import Literal, NamedTuple

from plotly import graph_objects as go

from spach_nas.report.document import Section
from spach_nas.report.theme import LIGHT, VERMILLION, layout
from spach_nas.report.view import StudyView
from spach_nas.study.hypervolume import HypervolumeData

Axis = Literal["trials", "training", "clock"]
_TITLES: dict[Axis, str] = {
    "trials": "trials done",
    "training": "training time of all trials together",
    "clock": "time since the start of the search",
}


def hypervolume_section(view: StudyView) -> Section:
    """How the front grew, over trials and over time."""
    growth = view.growth
    note = (
        "Share of the box between a reference point and the ideal one that the trials so far "
        "dominate; higher is better."
    )
    return Section(
        id="hypervolume",
        title="Hypervolume",
        figure={
            "trials": hypervolume_figure(growth, against="trials"),
            "training time": hypervolume_figure(growth, against="training"),
            "clock": hypervolume_figure(growth, against="clock"),
        }
        if growth
        else None,
        note=f"{note} {box_words(growth, fixed=growth.fixed)}" if growth else "",
        missing="No complete trial within the limits spans a box." if view.records else "",
    )


def hypervolume_figure(data: HypervolumeData, *, against: Axis = "trials") -> go.Figure:
    """A staircase, and the paper's models as a line."""
    figure = go.Figure(layout=layout())
    end = float(along(data, against)[-1])
    unit = axis_unit(against, end)
    line = {"width": 2.5, "color": LIGHT.accent}
    trace = staircase(data, against, unit=unit)
    figure.add_trace(trace.update(name="found by the search", line=line))
    if data.paper is not None:
        figure.add_trace(
            go.Scatter(
                x=[0, max(end, 1e-9) / unit.size],
                y=[data.paper, data.paper],
                mode="lines",
                line={"width": 2, "dash": "dash", "color": VERMILLION},
                name="paper models alone",
                hovertemplate="paper models: %{y:.1%}<extra></extra>",
            )
        )
    return set_axes(figure, _TITLES[against], unit=unit, shares=(0, 1.03))


class Unit(NamedTuple):
    """Of the horizontal axis; `size` in seconds, or 1 for trials."""

    name: str
    size: float


_UNITS = (Unit("hours", 3600.0), Unit("minutes", 60.0), Unit("seconds", 1.0))


def axis_unit(axis: Axis, end: float) -> Unit:
    """The largest unit of which the axis shows at least two."""
    if axis == "trials":
        return Unit("trials", 1.0)
    return next((unit for unit in _UNITS if end >= 2 * unit.size), _UNITS[-1])


def set_axes(
    figure: go.Figure, title: str, *, unit: Unit, shares: tuple[float, float]
) -> go.Figure:
    """Name the axes of a growth, and show these shares."""
    title = title if unit.name == "trials" else f"{title} ({unit.name})"
    figure.update_xaxes(title_text=title, rangemode="tozero")
    return figure.update_yaxes(
        title_text="hypervolume (share of the box)", tickformat=".0%", range=list(shares)
    )


def along(data: HypervolumeData, axis: Axis) -> tuple[float, ...]:
    """Trials or seconds at each step."""
    return {"trials": data.trials, "training": data.training, "clock": data.seconds}[axis]


def staircase(data: HypervolumeData, axis: Axis, *, unit: Unit, words: str = "") -> go.Scatter:
    """The growth of one study; `words` begin its label in plotly's mark-up."""
    steps, shares = along(data, axis), data.shares
    # A step that changes nothing is drawn by its neighbours.
    kept = [
        place
        for place in range(len(steps))
        if place in (0, len(steps) - 1) or shares[place] != shares[place - 1]
    ]
    return go.Scatter(
        x=[round(steps[place] / unit.size, 4) for place in kept],
        y=[round(shares[place], 5) for place in kept],
        mode="lines",
        line={"shape": "hv"},
        hovertemplate=f"{words}%{{x:.4~g}} {unit.name}: %{{y:.1%}}<extra></extra>",
    )


def box_words(data: HypervolumeData, *, fixed: bool) -> str:
    """The box of a hypervolume; `fixed` where it was known before the first trial."""
    reference, ideal = (
        ", ".join(f"{item.label} {item.words(point[item.name])}" for item in data.objectives)
        for point in (data.reference, data.ideal)
    )
    why = "what guessing scores, and the most that the limits or the space allow"
    return f"Reference point: {reference} ({why if fixed else 'the worst found'}). Ideal: {ideal}."
