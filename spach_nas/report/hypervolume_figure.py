"""How the front grew: hypervolume against trials, training time or time by the clock."""

from typing import Literal, NamedTuple

from plotly import graph_objects as go

from spach_nas.report.theme import LIGHT, VERMILLION, layout
from spach_nas.study.hypervolume import HypervolumeData, figure_words

Against = Literal["trials", "training", "clock"]
_TITLES: dict[Against, str] = {
    "trials": "trials done",
    "training": "training time of all trials together",
    "clock": "time since the start of the search",
}


class _Unit(NamedTuple):
    name: str
    size: float


def hypervolume_figure(
    data: HypervolumeData,
    *,
    against: Against = "trials",
    baseline_name: str = "the baseline",
) -> go.Figure:
    """A staircase, beside it the baseline's, and the paper's models as a line.

    Args:
        data: The growth.
        against: What is on the horizontal axis.
        baseline_name: What the baseline is called.
    """
    figure = go.Figure(layout=layout())
    unit = _unit(data, against)
    if data.baseline is not None:
        figure.add_trace(_stairs(data.baseline, against, unit, name=baseline_name))
        figure.data[-1].line = {"width": 2, "dash": "dot", "color": LIGHT.muted}
    figure.add_trace(_stairs(data, against, unit, name="found by the search"))
    if data.paper is not None:
        figure.add_trace(
            go.Scatter(
                x=[0, max(_end(data, against), 1e-9) / unit.size],
                y=[data.paper, data.paper],
                mode="lines",
                line={"width": 2, "dash": "dash", "color": VERMILLION},
                name="paper models alone",
                hovertemplate="paper models: %{y:.1%}<extra></extra>",
            )
        )
    title = _TITLES[against] if against == "trials" else f"{_TITLES[against]} ({unit.name})"
    figure.update_xaxes(title_text=title, rangemode="tozero")
    figure.update_yaxes(title_text="hypervolume (share of the box)", tickformat=".0%")
    figure.update_yaxes(range=[0, 1.03])
    return figure


def reference_words(data: HypervolumeData) -> str:
    """The reference point and the ideal one in words."""
    ends = [
        ", ".join(
            f"{item.label} {figure_words(item, point[item.name])}" for item in data.objectives
        )
        for point in (data.reference, data.ideal)
    ]
    if data.fixed:
        return (
            f"Reference point: {ends[0]}: what guessing scores, and the most that the limits, or "
            f"the space, allow. Ideal: {ends[1]}. Both stood before the first trial."
        )
    of = "this study" if data.baseline is None else "both studies"
    return f"Reference point: {ends[0]} (the worst of {of}). Ideal: {ends[1]} (the best)."


def baseline_words(data: HypervolumeData, *, name: str = "the baseline") -> str:
    """Who got farther with as many trials, and when the search had caught up; else nothing."""
    other = data.baseline
    if other is None:
        return ""
    trials = min(data.trials[-1], other.trials[-1])
    own_share, other_share = (_share_after(item, trials) for item in (data, other))
    words = (
        f"After {trials:,} trials each, the search dominates {own_share:.1%} of the box and {name} "
        f"{other_share:.1%}; one run of each, so chance is part of the difference."
    )
    final = other.shares[-1]
    reached = next(
        (n for n, share in zip(data.trials, data.shares, strict=True) if share >= final), None
    )
    if final and reached is not None:
        words += (
            f" What {name} had at its end, after {other.trials[-1]:,} trials, the search had after "
            f"{reached:,}."
        )
    return words


def _share_after(data: HypervolumeData, trials: int) -> float:
    return next(
        share
        for done, share in zip(reversed(data.trials), reversed(data.shares), strict=True)
        if done <= trials
    )


def _stairs(data: HypervolumeData, against: Against, unit: _Unit, *, name: str) -> go.Scatter:
    words = f"%{{x}} {unit.name}" if against == "trials" else f"%{{x:.3g}} {unit.name}"
    return go.Scatter(
        x=[figure / unit.size for figure in _along(data, against)]
        if against != "trials"
        else list(data.trials),
        y=list(data.shares),
        mode="lines",
        line={"shape": "hv", "width": 2.5, "color": LIGHT.accent},
        name=name,
        hovertemplate=f"{words}: %{{y:.1%}}<extra></extra>",
    )


def _along(data: HypervolumeData, against: Against) -> tuple[float, ...]:
    return {"trials": data.trials, "training": data.training, "clock": data.seconds}[against]


def _end(data: HypervolumeData, against: Against) -> float:
    both = [data] if data.baseline is None else [data, data.baseline]
    return max(float(_along(item, against)[-1]) for item in both)


def _unit(data: HypervolumeData, against: Against) -> _Unit:
    if against == "trials":
        return _Unit("trials", 1.0)
    end = _end(data, against)
    units = (_Unit("hours", 3600.0), _Unit("minutes", 60.0), _Unit("seconds", 1.0))
    return next((unit for unit in units if end >= 2 * unit.size), units[-1])
