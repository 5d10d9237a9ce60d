"""A picture of the mixers that the front prefers in each stage."""

from collections.abc import Sequence

from plotly import graph_objects as go

from spach_nas.report.shares_data import SharesData
from spach_nas.report.theme import LIGHT, ink_on, layout, mixer_colour, plain

# A narrower bar has no room for its figure.
_NARROWEST_LABEL = 0.09


def shares_figure(data: SharesData) -> go.Figure:
    """Stacked bars, one for each group in each stage; first stage at the top.

    A stage with the same mixer everywhere is left out.
    """
    figure = go.Figure(layout=layout())
    number = max((len(group.shares) for group in data.groups), default=0)
    used = [
        {name for group in data.groups for shares in group.shares[i : i + 1] for name in shares}
        for i in range(number)
    ]
    stages = [i for i, names in enumerate(used) if len(names) > 1] or list(range(number))
    # A stage takes one row for its name and one for each group.
    step = len(data.groups) + 1
    rows = [
        (row * step + place + 1, group.title, group.shares[i])
        for row, i in enumerate(stages)
        for place, group in enumerate(data.groups)
        if i < len(group.shares)
    ]
    for mixer in data.mixers:
        figure.add_trace(_bars(mixer, rows))
    for row, i in enumerate(stages):
        figure.add_annotation(
            text=f"<b>stage {i + 1}</b>",
            x=0,
            y=row * step + 0.1,
            xanchor="left",
            showarrow=False,
            xshift=-4,
        )
    figure.update_layout(
        barmode="stack",
        bargap=0.16,
        height=110 + 27 * len(stages) * step,
        legend={"traceorder": "normal"},
    )
    figure.update_xaxes(
        title_text="share of the blocks", tickformat=".0%", range=[0, 1], showgrid=False
    )
    figure.update_yaxes(
        tickvals=[row for row, _, _ in rows],
        ticktext=[plain(name) for _, name, _ in rows],
        range=[len(stages) * step - 0.4, -0.6],
        showgrid=False,
        showline=False,
        ticks="",
    )
    return figure


def _bars(mixer: str, rows: Sequence[tuple[int, str, dict[str, float]]]) -> go.Bar:
    values = [shares.get(mixer, 0.0) for _, _, shares in rows]
    colour = mixer_colour(mixer)
    return go.Bar(
        x=values,
        y=[row for row, _, _ in rows],
        customdata=[plain(name) for _, name, _ in rows],
        orientation="h",
        name=plain(mixer),
        marker={"color": colour, "line": {"width": 1, "color": LIGHT.surface}},
        text=[f"{share:.0%}" if share >= _NARROWEST_LABEL else "" for share in values],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        textfont={"color": ink_on(colour)},
        hovertemplate=f"%{{customdata}}: {plain(mixer)} %{{x:.1%}}<extra></extra>",
    )
