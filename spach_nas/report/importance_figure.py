"""Which parameters the best trials agree on: a bar each, pale where chance explains it."""

from collections.abc import Sequence

from plotly import graph_objects as go

from spach_nas.report.importance_data import Importance, ImportanceData
from spach_nas.report.theme import BLUE, LIGHT, layout, plain, shortened

_ROW = 22  # pixels
_SELDOM = 0.05


def importance_figure(importances: Sequence[Importance]) -> go.Figure:
    """Bars, the most important parameter at the top; pale ones are within chance.

    Args:
        importances: Of `ImportanceData`.
    """
    figure = go.Figure(layout=layout())
    names = [plain(shortened(item.name)) for item in importances]
    beyond = [item for item in importances if item.by_chance < _SELDOM]
    within = [item for item in importances if item.by_chance >= _SELDOM]
    for name, colour, items in (
        ("more than chance", BLUE, beyond),
        ("within chance", LIGHT.faded, within),
    ):
        if items:
            figure.add_trace(_bars(items, name, colour, among=importances))
    figure.update_layout(height=120 + _ROW * len(importances), bargap=0.25, barmode="overlay")
    figure.update_xaxes(title_text="share of the importance", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=names,
        range=[len(names) - 0.4, -0.6],
        showgrid=False,
        showline=False,
        ticks="",
    )
    return figure


def importance_note(data: ImportanceData) -> str:
    """What the bars are."""
    if not data.importances:
        return ""
    used = (
        f"{data.used:,} of the {data.trials:,}" if data.used < data.trials else f"{data.trials:,}"
    )
    return (
        "PED-ANOVA (Watanabe and others 2023): how much the values that the best tenth chose "
        f"differ from those of all {used} architectures of the search, each parameter by itself. "
        "Shares add up to 100 % even when nothing matters; pale bars are no longer than a tenth "
        "drawn at random gives 1 time of 20. The best are those farthest above the "
        "parabola in log MACs through all."
    )


def _bars(
    items: Sequence[Importance], name: str, colour: str, *, among: Sequence[Importance]
) -> go.Bar:
    place = {item.name: row for row, item in enumerate(among)}
    return go.Bar(
        x=[item.share for item in items],
        y=[place[item.name] for item in items],
        orientation="h",
        marker={"color": colour, "line": {"width": 0}},
        name=name,
        customdata=[
            f"{plain(item.name)}: {item.share:.1%}<br>by chance {item.by_chance:.1%} of the time"
            for item in items
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
