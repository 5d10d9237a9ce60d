"""How the front of a study grew: hypervolume over trials, training time or time by the clock."""

from typing import Literal

from plotly import graph_objects as go

from spach_nas.report.document import Section
from spach_nas.report.theme import LIGHT, VERMILLION, layout
from spach_nas.report.view import StudyView
from spach_nas.study.hypervolume import HypervolumeData, figure_words

Against = Literal["trials", "training", "clock"]
_TITLES: dict[Against, str] = {
    "trials": "trials done",
    "training": "training time of all trials together",
    "clock": "time since the start of the search",
}
# Seconds of each; an axis shows at least two of its unit.
_UNITS = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))


def hypervolume_section(view: StudyView) -> Section:
    """How the front grew, over trials and over time.

    Raises:
        StudyError: The baseline was scored by another protocol.
    """
    growth = view.growth
    words = [
        "Share of the box between a reference point and the ideal one that the trials so far "
        "dominate; higher is better.",
        reference_words(growth) if growth else "",
        baseline_words(growth) if growth else "",
    ]
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
        note=" ".join(filter(None, words)) if growth else "",
        missing="No complete trial within the limits spans a box." if view.records else "",
    )


def hypervolume_figure(data: HypervolumeData, *, against: Against = "trials") -> go.Figure:
    """A staircase, the baseline's next to it, and the paper's models as a line."""
    figure = go.Figure(layout=layout())
    ends = [_along(item, against)[-1] for item in (data, data.baseline) if item is not None]
    end = max(map(float, ends))
    unit, size = "trials", 1.0
    if against != "trials":
        unit, size = next((one for one in _UNITS if end >= 2 * one[1]), _UNITS[-1])
    if data.baseline is not None:
        look = {"width": 2, "dash": "dot", "color": LIGHT.muted}
        trace = _stairs(data.baseline, against, unit, size)
        figure.add_trace(trace.update(line=look, name="the baseline"))
    look = {"shape": "hv", "width": 2.5, "color": LIGHT.accent}
    trace = _stairs(data, against, unit, size)
    figure.add_trace(trace.update(line=look, name="found by the search"))
    if data.paper is not None:
        figure.add_trace(
            go.Scatter(
                x=[0, max(end, 1e-9) / size],
                y=[data.paper, data.paper],
                mode="lines",
                line={"width": 2, "dash": "dash", "color": VERMILLION},
                name="paper models alone",
                hovertemplate="paper models: %{y:.1%}<extra></extra>",
            )
        )
    title = _TITLES[against] if against == "trials" else f"{_TITLES[against]} ({unit})"
    figure.update_xaxes(title_text=title, rangemode="tozero")
    figure.update_yaxes(
        title_text="hypervolume (share of the box)", tickformat=".0%", range=[0, 1.03]
    )
    return figure


def _stairs(data: HypervolumeData, against: Against, unit: str, size: float) -> go.Scatter:
    figures, digits = _along(data, against), "" if against == "trials" else ":.3g"
    return go.Scatter(
        x=[figure / size for figure in figures] if against != "trials" else list(figures),
        y=list(data.shares),
        mode="lines",
        hovertemplate=f"%{{x{digits}}} {unit}: %{{y:.1%}}<extra></extra>",
    )


def _along(data: HypervolumeData, against: Against) -> tuple[float, ...]:
    return {"trials": data.trials, "training": data.training, "clock": data.seconds}[against]


def box_ends(data: HypervolumeData) -> tuple[str, str]:
    """The reference point and the ideal one in words."""
    reference, ideal = (
        ", ".join(
            f"{item.label} {figure_words(item, point[item.name])}" for item in data.objectives
        )
        for point in (data.reference, data.ideal)
    )
    return reference, ideal


def reference_words(data: HypervolumeData) -> str:
    """The box, and where it comes from."""
    reference, ideal = box_ends(data)
    if data.fixed:
        return (
            f"Reference point: {reference}: what guessing scores, and the most that the limits, or "
            f"the space, allow. Ideal: {ideal}. Both stood before the first trial."
        )
    of = "this study" if data.baseline is None else "both studies"
    return f"Reference point: {reference} (the worst of {of}). Ideal: {ideal} (the best)."


def baseline_words(data: HypervolumeData) -> str:
    """Which got further with as many trials, and when the search had caught up."""
    other = data.baseline
    if other is None:
        return ""
    trials = min(data.trials[-1], other.trials[-1])
    own_share, other_share = (_share_after(item, trials) for item in (data, other))
    words = (
        f"After {trials:,} trials each, the search dominates {own_share:.1%} of the box and the "
        f"baseline {other_share:.1%}; one run of each, so chance is part of the difference."
    )
    final = other.shares[-1]
    reached = next(
        (n for n, share in zip(data.trials, data.shares, strict=True) if share >= final), None
    )
    if final and reached is not None:
        words += (
            f" What the baseline had at its end, after {other.trials[-1]:,} trials, the search had "
            f"after {reached:,}."
        )
    return words


def _share_after(data: HypervolumeData, trials: int) -> float:
    done = zip(reversed(data.trials), reversed(data.shares), strict=True)
    return next(share for number, share in done if number <= trials)
