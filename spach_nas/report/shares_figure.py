"""Which mixers the front prefers: their share of the blocks, stage by stage."""

from collections.abc import Sequence
from dataclasses import dataclass

from plotly import graph_objects as go

from spach_nas.limits import Limits
from spach_nas.objectives import Objective
from spach_nas.pareto import comparable, front
from spach_nas.records import Record
from spach_nas.report.theme import LIGHT, ink_on, layout, mixer_colour, plain

# A narrower bar has no room for its figure.
_NARROWEST_LABEL = 0.09


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A set of architectures.

    Attributes:
        name: As on the axis.
        count: Architectures in it.
        shares: For each stage, the share of its blocks by mixer name, in [0, 1], averaged over the
            architectures that have the stage.
    """

    name: str
    count: int
    shares: tuple[dict[str, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SharesData:
    """The groups to compare, and the mixers that occur in any."""

    mixers: tuple[str, ...]
    groups: tuple[Group, ...]


def shares_data(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None = None,
) -> SharesData:
    """Shares on the front, over all that the search evaluated, and in the paper's models."""
    evaluated = comparable(records)
    groups = [
        ("front", front(records, objectives, limits=limits)),
        ("all evaluated", tuple(item for item in evaluated if item.reference is None)),
        ("paper models", tuple(item for item in evaluated if item.reference is not None)),
    ]
    used = {
        mixer: None
        for record in evaluated
        for stage in record.architecture.stages
        for mixer in stage.mixers
    }
    order = {mixer: position for position, mixer in enumerate(("conv", "attention", "mlp"))}
    return SharesData(
        mixers=tuple(sorted(used, key=lambda mixer: (order.get(mixer, len(order)), mixer))),
        groups=tuple(
            Group(name=name, count=len(members), shares=_shares(members))
            for name, members in groups
            if members
        ),
    )


def _shares(records: Sequence[Record]) -> tuple[dict[str, float], ...]:
    stages = max(len(record.architecture.stages) for record in records)
    result = []
    for i in range(stages):
        having = [
            record.architecture.stages[i]
            for record in records
            if len(record.architecture.stages) > i
        ]
        shares: dict[str, float] = {}
        for stage in having:
            for mixer in set(stage.mixers):
                part = stage.mixers.count(mixer) / stage.depth / len(having)
                shares[mixer] = shares.get(mixer, 0.0) + part
        result.append(shares)
    return tuple(result)


def shares_figure(data: SharesData) -> go.Figure:
    """Stacked bars, one for each stage and group; first stage at the top."""
    figure = go.Figure(layout=layout())
    stages = max((len(group.shares) for group in data.groups), default=0)
    # A stage takes one row for its name and one for each group.
    step = len(data.groups) + 1
    rows = [
        (i * step + place + 1, f"{group.name} ({group.count})", group.shares[i])
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
