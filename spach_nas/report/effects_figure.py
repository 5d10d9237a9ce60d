"""What each choice did: a row for each value, its change of the score with an interval."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from plotly import graph_objects as go

from spach_nas.report.effects_data import FEWEST, ChoiceEffects, Effect, EffectsData
from spach_nas.report.theme import BLUE, LIGHT, VERMILLION, layout, plain, shortened

_ROW = 19  # pixels
# So many parameters are shown, those of which most was seen first.
_MOST = 8
_SAID = 4
_GAP = 1.4  # rows from the last value of a parameter to the name of the next
MINUS = "\N{MINUS SIGN}"


class _Row(NamedTuple):
    y: float
    choice: ChoiceEffects
    effect: Effect | None  # None: the reference value


def effects_figure(data: EffectsData) -> go.Figure:
    """Points with intervals; a value whose interval keeps off zero is filled."""
    figure = go.Figure(layout=layout())
    heads, rows = _rows(_by_strength(data)[:_MOST])
    scale = 100 if _is_share(data) else 1
    figure.add_vline(x=0, line={"width": 1, "color": LIGHT.muted})
    figure.add_trace(_references([row for row in rows if row.effect is None]))
    better = 1 if data.score.direction == "max" else -1
    for name, colour, filled, sign in (
        ("better", BLUE, True, better),
        ("worse", VERMILLION, True, -better),
        ("no difference seen", LIGHT.muted, False, 0),
    ):
        chosen = [row for row in rows if row.effect is not None and _sign(row.effect) == sign]
        if chosen:
            figure.add_trace(_points(chosen, name, colour, filled=filled, data=data))
    for y, name in heads:
        figure.add_annotation(
            text=f"<b>{plain(shortened(name))}</b>",
            x=0,
            xref="paper",
            y=y,
            xanchor="left",
            bgcolor=LIGHT.surface,
            showarrow=False,
        )
    last = rows[-1].y if rows else 0.0
    figure.update_layout(height=round(130 + _ROW * (last + 1)))
    unit = " (points)" if scale == 100 else ""
    figure.update_xaxes(title_text=f"change of {data.score.name}{unit}")
    figure.update_yaxes(
        tickvals=[row.y for row in rows],
        ticktext=[_tick(row) for row in rows],
        range=[last + 0.8, -0.8],
        showgrid=False,
        showline=False,
        ticks="",
    )
    return figure


def effects_words(data: EffectsData) -> str:
    """What was found: the changes that chance does not explain, the largest first."""
    seen = [
        (effect.change.estimate, effect, choice)
        for choice in data.choices
        for effect in choice.shown
        if effect.change is not None and _sign(effect)
    ]
    if not seen:
        return (
            f"None of {data.intervals} comparisons tells a choice from chance: no value did better "
            "or worse than the usual one beyond its interval."
        )
    seen.sort(key=lambda item: -abs(item[0]))
    scale, unit = (100, " points") if _is_share(data) else (1, "")
    said = [
        f"{choice.name} {effect.level} instead of {choice.reference} "
        f"({_signed(scale * change, digits=2)}{unit})"
        for change, effect, choice in seen[:_SAID]
    ]
    more = f"; {len(seen) - _SAID} more below" if len(seen) > _SAID else ""
    return f"What changed {data.score.name} beyond chance: {', '.join(said)}{more}."


def _by_strength(data: EffectsData) -> list[ChoiceEffects]:
    """Choices with an effect beyond chance first, the others by how much they seem to change."""

    def strength(choice: ChoiceEffects) -> tuple[bool, float]:
        effects = [(bool(_sign(item)), item.change) for item in choice.shown]
        return max((seen, abs(change.estimate)) for seen, change in effects if change is not None)

    return sorted((item for item in data.choices if item.shown), key=strength, reverse=True)


def effects_note(data: EffectsData) -> str:
    """What the picture assumes, and what it leaves out."""
    few = [
        f"{choice.name} {effect.level}"
        for choice in data.choices
        for effect in choice.effects
        if effect.change is None
    ]
    shown = sum(bool(choice.shown) for choice in data.choices)
    words = [
        f"Over {data.trials:,} architectures of the search, each value beside the one that most of "
        "them have (square, at 0), on the range of MACs that both cover; bars are 95 % intervals.",
        f"Of {data.intervals} intervals, {data.intervals / 20:.0f} would miss 0 by chance alone."
        if data.intervals >= 10
        else "",
        "Assumed: a score that is a parabola in log MACs, shifted by the choice. All other choices "
        "are as the search happened to combine them: a sampler that learns combines what does "
        "well, so this is what went together, not proof of a cause.",
        f"Not shown for fewer than {FEWEST} trials of either at common MACs: {_some(few)}."
        if few
        else "",
        f"The {_MOST} choices of which most was seen are shown, of {shown}."
        if shown > _MOST
        else "",
        f"{data.left_out} without a known choice are left out." if data.left_out else "",
    ]
    return " ".join(filter(None, words))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"


def _rows(choices: Sequence[ChoiceEffects]) -> tuple[list[tuple[float, str]], list[_Row]]:
    """Where each parameter's name and each of its values stand, from the top."""
    heads: list[tuple[float, str]] = []
    rows: list[_Row] = []
    y = 0.0
    for choice in choices:
        heads.append((y, choice.name))
        effects: list[Effect | None] = [*choice.shown]
        effects.insert(sum(item in choice.shown for item in choice.effects[: choice.place]), None)
        rows += [_Row(y + 1 + i, choice, effect) for i, effect in enumerate(effects)]
        y = rows[-1].y + _GAP
    return heads, rows


def _tick(row: _Row) -> str:
    if row.effect is None:
        return f"{plain(shortened(row.choice.reference))} ({row.choice.trials:,})"
    return f"{plain(shortened(row.effect.level))} ({row.effect.trials:,})"


def _is_share(data: EffectsData) -> bool:
    return data.score.is_share


def _sign(effect: Effect) -> int:
    assert effect.change is not None
    if effect.change.low <= 0 <= effect.change.high:
        return 0
    return int(math.copysign(1, effect.change.estimate))


def _references(rows: Sequence[_Row]) -> go.Scatter:
    return go.Scatter(
        x=[0] * len(rows),
        y=[row.y for row in rows],
        mode="markers",
        marker={"size": 8, "color": LIGHT.text, "symbol": "square"},
        name="compared with",
        customdata=[
            f"{plain(row.choice.name)} = {plain(row.choice.reference)}<br>"
            f"{row.choice.trials:,} architectures, the others are compared with them"
            for row in rows
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _points(
    rows: Sequence[_Row], name: str, colour: str, *, filled: bool, data: EffectsData
) -> go.Scatter:
    scale = 100 if _is_share(data) else 1
    effects = [row.effect for row in rows if row.effect is not None]
    changes = [effect.change for effect in effects if effect.change is not None]
    return go.Scatter(
        x=[scale * change.estimate for change in changes],
        y=[row.y for row in rows],
        mode="markers",
        error_x={
            "array": [scale * (change.high - change.estimate) for change in changes],
            "color": colour,
            "thickness": 2,
            "width": 0,
        },
        marker={
            "size": 9,
            "color": colour if filled else LIGHT.surface,
            "line": {"width": 2, "color": colour},
        },
        name=name,
        customdata=[_words(row, data) for row in rows],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _words(row: _Row, data: EffectsData) -> str:
    effect = row.effect
    assert effect is not None
    assert effect.change is not None
    scale, unit = (100, " points") if _is_share(data) else (1, "")
    figures = [_signed(scale * figure) for figure in effect.change]
    return (
        f"{plain(row.choice.name)} = {plain(effect.level)}, beside {plain(row.choice.reference)}"
        f"<br><b>{figures[0]}</b>{unit} of {data.score.label}<br>95 % interval {figures[1]} to "
        f"{figures[2]}<br>{effect.compared:,} of {effect.trials:,} beside {effect.against:,} of "
        f"{row.choice.trials:,} architectures"
    )


def _signed(number: float, *, digits: int = 3) -> str:
    return f"{number:+.{digits}g}".replace("-", MINUS)
