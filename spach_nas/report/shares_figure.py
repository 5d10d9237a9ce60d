"""Pictures of the mixers that the front prefers: by stage, and by the depth inside each stage."""

from collections.abc import Sequence

from plotly import graph_objects as go

from spach_nas.report.shares_data import POSITIONS, Group, SharesData, mixer_order
from spach_nas.report.theme import LIGHT, ink_on, layout, mixer_colour, plain

# A narrower bar has no room for its figure.
_NARROWEST_LABEL = 0.09
# In parts of a stage: what lies between two stages.
_GAP = 1.5


def shares_figure(data: SharesData) -> go.Figure:
    """Stacked bars, one for each stage and group; first stage at the top."""
    figure = go.Figure(layout=layout())
    stages = max((len(group.shares) for group in data.groups), default=0)
    # A stage takes one row for its name and one for each group.
    step = len(data.groups) + 1
    rows = [
        (i * step + place + 1, group.title, group.shares[i])
        for i in range(stages)
        for place, group in enumerate(data.groups)
        if i < len(group.shares)
    ]
    for mixer in data.mixers:
        figure.add_trace(_bars(mixer, rows))
    for i in range(stages):
        figure.add_annotation(
            text=f"<b>stage {i + 1}</b>",
            x=0,
            y=i * step + 0.1,
            xanchor="left",
            showarrow=False,
            xshift=-4,
        )
    figure.update_layout(
        barmode="stack",
        bargap=0.16,
        height=110 + 27 * stages * step,
        legend={"traceorder": "normal"},
    )
    figure.update_xaxes(
        title_text="share of the blocks", tickformat=".0%", range=[0, 1], showgrid=False
    )
    figure.update_yaxes(
        tickvals=[row for row, _, _ in rows],
        ticktext=[plain(name) for _, name, _ in rows],
        range=[stages * step - 0.4, -0.6],
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


def positions_figure(data: SharesData) -> go.Figure:
    """For each group a row, for each stage a field: from its first block to its last one."""
    figure = go.Figure(layout=layout())
    stages = max((len(group.positions) for group in data.groups), default=0)
    for row, group in enumerate(data.groups):
        for mixer in data.mixers:
            figure.add_trace(_parts(mixer, group, row))
        figure.add_annotation(
            text=f"<b>{plain(group.title)}</b>",
            x=0,
            y=_base(row) + 1,
            xanchor="left",
            yanchor="bottom",
            showarrow=False,
            xshift=-4,
        )
    figure.update_layout(
        barmode="overlay",
        bargap=0,
        height=120 + 104 * len(data.groups),
        legend={"traceorder": "normal"},
    )
    figure.update_xaxes(
        tickvals=[_left(i) + POSITIONS / 2 for i in range(stages)],
        ticktext=[f"stage {i + 1}" for i in range(stages)],
        title_text="from the first block of a stage to its last",
        showgrid=False,
        showline=False,
        ticks="",
        range=[-0.2, _left(stages) - _GAP + 0.2],
    )
    figure.update_yaxes(
        tickvals=[_base(row) + share for row in range(len(data.groups)) for share in (0, 0.5, 1)],
        ticktext=["0%", "50%", "100%"] * len(data.groups),
        range=[_base(len(data.groups) - 1) - 0.04, 1.32],
        showgrid=False,
        showline=False,
        ticks="",
    )
    return figure


def _left(stage: int) -> float:
    return stage * (POSITIONS + _GAP)


def _base(row: int) -> float:
    return -1.34 * row


def _parts(mixer: str, group: Group, row: int) -> go.Bar:
    """The share of a mixer at each part of each stage, on top of the mixers before it."""
    x, y, base, words = [], [], [], []
    for i, parts in enumerate(group.positions):
        for place, part in enumerate(parts):
            names = sorted(part, key=mixer_order)
            below = sum(part[name] for name in names if mixer_order(name) < mixer_order(mixer))
            x.append(_left(i) + place + 0.5)
            y.append(part.get(mixer, 0.0))
            base.append(_base(row) + below)
            words.append(
                f"{plain(group.title)}<br>stage {i + 1}, {place / POSITIONS:.0%} to "
                f"{(place + 1) / POSITIONS:.0%} of its depth"
            )
    return go.Bar(
        x=x,
        y=y,
        base=base,
        width=1,
        customdata=words,
        name=plain(mixer),
        legendgroup=mixer,
        showlegend=row == 0,
        marker={"color": mixer_colour(mixer), "line": {"width": 0}},
        hovertemplate=f"%{{customdata}}<br>{plain(mixer)} %{{y:.1%}}<extra></extra>",
    )
