"""Which mixers the front prefers in each stage, compared with what chance gives."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from plotly import graph_objects as go

from spach_nas.cost.limits import Limits, ProxyLimits
from spach_nas.errors import SearchSpaceError
from spach_nas.feasible import FeasibleSet
from spach_nas.report.document import Section, sentences
from spach_nas.report.theme import (
    LIGHT,
    ink_on,
    layout,
    mixer_colour,
    mixer_order,
    plain,
)
from spach_nas.report.view import StudyView, Trained
from spach_nas.space.architecture import Architecture
from spach_nas.space.search_space import SearchSpace, contexts

# A narrower bar has no room for its figure.
_NARROWEST_LABEL = 0.09
# The standard error of a share is at most 1.6 points with so many.
_DRAWN = 1000
# Comparisons of exact tables that take a second or two, and contexts that are worth a count.
_MOST_PAIRS, _MOST_CONTEXTS = 300_000_000, 2_000_000

Shares = dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A set of architectures.

    Attributes:
        title: Its name and size.
        shares: For each stage, the share of its blocks by mixer name, in [0, 1], averaged over the
            architectures that have the stage.
    """

    name: str
    title: str
    shares: tuple[Shares, ...]


def shares_section(view: StudyView) -> Section:
    """Shares of the mixers, next to those of chance."""
    if not view.within:
        return Section(id="shares", title="Mixers")
    space, proxy = view.facts.search_space, view.facts.proxy_limits
    feasible = draw_feasible(space, view.limits, proxy=proxy) if space else ()
    return Section(
        id="shares",
        title="Mixers",
        figure=shares_figure(shares_data(view, feasible=feasible)),
        size="free",
        note=sentences("study.html", "shares", len(feasible)),
    )


def shares_data(view: StudyView, *, feasible: Sequence[Architecture] = ()) -> tuple[Group, ...]:
    """Shares on the front, among all feasible, over all evaluated, and in the paper's models.

    Args:
        view: Of the study.
        feasible: Drawn uniformly from all feasible architectures: what chance gives.
    """
    if not view.trained:
        return ()
    groups = {
        "front": _distinct(view.of(record) for record in view.front),
        "all feasible": tuple(feasible),
        "all evaluated": _distinct(view.found),
        "paper models": _distinct(view.paper),
    }
    return tuple(
        Group(
            name=name,
            title=f"{name} ({len(items):,}{' drawn' if name == 'all feasible' else ''})",
            shares=tuple(_shares(i, items) for i in range(max(len(item.stages) for item in items))),
        )
        for name, items in groups.items()
        if items
    )


def _distinct(trained: Iterable[Trained]) -> tuple[Architecture, ...]:
    return tuple({one.record.arch_id: one.record.architecture for one in trained}.values())


def _shares(i: int, architectures: Sequence[Architecture]) -> Shares:
    having = [item.stages[i].mixers for item in architectures if len(item.stages) > i]
    shares: Shares = {}
    for mixers in having:
        for mixer in mixers:
            shares[mixer] = shares.get(mixer, 0.0) + 1 / len(mixers) / len(having)
    return {name: shares[name] for name in sorted(shares, key=mixer_order)}


def shares_figure(groups: Sequence[Group]) -> go.Figure:
    """Stacked bars, one for each group in each stage; first stage at the top.

    A stage with the same mixer everywhere is left out.
    """
    figure = go.Figure(layout=layout())
    number = max((len(group.shares) for group in groups), default=0)
    used = [
        {name for group in groups for shares in group.shares[i : i + 1] for name in shares}
        for i in range(number)
    ]
    stages = [i for i, names in enumerate(used) if len(names) > 1] or list(range(number))
    # A stage takes one row for its name and one for each group.
    step = len(groups) + 1
    rows = [
        (row * step + place + 1, group.title, group.shares[i])
        for row, i in enumerate(stages)
        for place, group in enumerate(groups)
        if i < len(group.shares)
    ]
    for mixer in sorted(set().union(*used), key=mixer_order):
        values = [shares.get(mixer, 0.0) for _, _, shares in rows]
        colour = mixer_colour(mixer)
        trace = go.Bar(
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
        figure.add_trace(trace)
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
    return figure.update_yaxes(
        tickvals=[row for row, _, _ in rows],
        ticktext=[plain(name) for _, name, _ in rows],
        range=[len(stages) * step - 0.4, -0.6],
        showgrid=False,
        showline=False,
        ticks="",
    )


@lru_cache(maxsize=4)
def draw_feasible(
    space: SearchSpace, limits: Limits, *, proxy: ProxyLimits | None = None, seed: int = 0
) -> tuple[Architecture, ...]:
    """Architectures, each uniformly over the distinct feasible ones, in a second or two.

    Args:
        space: What was searched.
        limits: Bounds on the target's cost.
        proxy: Bounds on the cost of its proxy.
        seed: Of the draws.

    Returns:
        Empty where nothing is feasible, the space is too large to be counted that fast, or the
        limits bound the latency, which is not known here.
    """
    classes = [len(stage.mixers.classes(stage.depth)) for stage in space.stages]
    number = sum(1 for _ in itertools.islice(contexts(space), _MOST_CONTEXTS))
    pairs = number * math.prod(classes)
    if limits.max_latency is not None or pairs > _MOST_PAIRS:
        return ()
    try:
        feasible = FeasibleSet(space, limits, proxy=proxy)
    except SearchSpaceError:  # no architecture meets the limits
        return ()
    return tuple(feasible.samples(_DRAWN, seed)) if feasible.count is not None else ()
