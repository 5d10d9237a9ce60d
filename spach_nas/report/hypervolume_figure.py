"""How the front grew: hypervolume against the number of trials."""

from plotly import graph_objects as go

from spach_nas.hypervolume import HypervolumeData, figure_words
from spach_nas.report.theme import LIGHT, VERMILLION, layout


def hypervolume_figure(data: HypervolumeData) -> go.Figure:
    """A staircase, and the paper's models as a line."""
    figure = go.Figure(layout=layout())
    figure.add_trace(
        go.Scatter(
            x=list(data.trials),
            y=list(data.shares),
            mode="lines",
            line={"shape": "hv", "width": 2.5, "color": LIGHT.accent},
            name="found by the search",
            hovertemplate="%{x} trials: %{y:.1%}<extra></extra>",
        )
    )
    if data.paper is not None:
        figure.add_trace(
            go.Scatter(
                x=[0, max(1, data.trials[-1])],
                y=[data.paper, data.paper],
                mode="lines",
                line={"width": 2, "dash": "dash", "color": VERMILLION},
                name="paper models alone",
                hovertemplate="paper models: %{y:.1%}<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="trials done", rangemode="tozero")
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
    return f"Reference point: {ends[0]} (the worst of this study). Ideal: {ends[1]} (the best)."
