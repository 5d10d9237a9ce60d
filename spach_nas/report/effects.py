"""What each choice did to the score at equal MACs.

Two values of a parameter are compared at a time, on the range of MACs that trials of both cover:
there the score is a parabola in log MACs, and one value is as much higher as the other everywhere.
Leading and trailing mixer of a stage are each judged with the other held equal: they depend on each
other, since a stage of one mixer is counted once. All else is as these trials happen to have it.

The step between the two values is fitted by least squares. Its standard error holds for scores that
vary more in one group than in the other, and for small groups: HC2 of MacKinnon & White 1985 with
the degrees of freedom of Bell & McCaffrey 2002, as Imbens & Kolesar 2016, "Robust standard errors
in small samples: some practical advice", recommend.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from plotly import graph_objects as go
from scipy.special import stdtrit

from spach_nas.config.objectives import Objective
from spach_nas.report.choice_table import Choice, Choices, Floats, Indices, choices_table
from spach_nas.report.document import Section
from spach_nas.report.theme import BLUE, LIGHT, VERMILLION, layout, plain, shortened
from spach_nas.report.view import StudyView

# Of either value, on the common range of MACs: fewer trials tell an effect from nothing only when
# it is huge.
FEWEST = 5
_CONFIDENCE = 0.95
_DEGREE = 2
_PARTNERS = {"leading": "trailing", "trailing": "leading"}
_ROW = 22  # pixels
# So many parameters are shown, those of which most was seen first, and so many effects are named.
_MOST, _NAMED, _LEFT_OUT = 8, 4, 6
_MINUS = "\N{MINUS SIGN}"


class Difference(NamedTuple):
    """A difference and the ends of its 95 % interval, in units of the score."""

    estimate: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval excludes zero, else 0."""
        return 0 if self.low <= 0 <= self.high else int(math.copysign(1, self.estimate))


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """A value of a parameter compared with the reference value.

    Attributes:
        trials: Architectures that have it.
        compared: Those on the range of MACs that it shares with the reference value.
        against: Those of the reference value on this range.
        change: Of the score; None where too few trials are behind it.
    """

    level: str
    trials: int
    compared: int
    against: int
    change: Difference | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceEffects:
    """A parameter of the encoding.

    Attributes:
        reference: The value that most trials have, the first of them.
        trials: Architectures that have it.
        effects: Of the other values.
    """

    name: str
    reference: str
    trials: int
    effects: tuple[Effect, ...]

    @property
    def shown(self) -> tuple[Effect, ...]:
        """Those with enough trials behind them."""
        return tuple(effect for effect in self.effects if effect.change is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectsData:
    """Every parameter, in the order of the encoding.

    Attributes:
        trials: Architectures that were compared.
        left_out: Trials without a known choice.
    """

    score: Objective
    trials: int
    choices: tuple[ChoiceEffects, ...]
    left_out: int

    @property
    def intervals(self) -> int:
        """How many were estimated; one of twenty misses the truth."""
        return sum(len(choice.shown) for choice in self.choices)

    @property
    def scale(self) -> int:
        """An accuracy changes by percentage points."""
        return 100 if self.score.is_share else 1

    @property
    def unit(self) -> str:
        """After a change."""
        return " points" if self.scale == 100 else ""

    def words(self, change: float, *, digits: int = 3) -> str:
        """A change with its sign."""
        return f"{self.scale * change:+.{digits}g}".replace("-", _MINUS)


def effects_section(view: StudyView) -> Section:
    """The changes beyond chance in words, and all of them as intervals."""
    data = effects_data(view)
    if not data.intervals:
        return Section(id="effects", title="What each choice did at equal MACs")
    selected = (
        "Only trials of the highest rung are compared, and lower rungs chose those for their "
        "scores: effects look smaller than they are."
    )
    chosen = any(one.record.fidelity.rung for one in view.within)
    return Section(
        id="effects",
        title="What each choice did at equal MACs",
        figure=effects_figure(data),
        size="free",
        lead=effects_words(data),
        note=" ".join([effects_note(data), *([selected] if chosen else [])]),
    )


def effects_data(view: StudyView) -> EffectsData:
    """The effect of each choice over a search's own complete trials of the highest rung."""
    table = choices_table(view)
    return EffectsData(
        score=table.score,
        trials=len(table.scores),
        choices=tuple(_effects(choice, table) for choice in table.choices),
        left_out=table.left_out,
    )


def _effects(choice: Choice, table: Choices) -> ChoiceEffects:
    numbers = np.bincount(choice.level[choice.level >= 0], minlength=len(choice.levels))
    reference = int(np.argmax(numbers))
    return ChoiceEffects(
        name=choice.name,
        reference=choice.levels[reference],
        trials=int(numbers[reference]),
        effects=tuple(
            _effect(choice, table, level=level, reference=reference)
            for level in range(len(choice.levels))
            if level != reference
        ),
    )


def _effect(choice: Choice, table: Choices, *, level: int, reference: int) -> Effect:
    partner = _partner(choice, table)
    first = _observations(table, choice.level == reference, partner)
    second = _observations(table, choice.level == level, partner)
    low = max(first[1].min(), second[1].min())
    high = min(first[1].max(), second[1].max())
    scores, log_macs, kinds = np.concatenate([first, second], axis=1)
    is_second = np.arange(len(scores)) >= first.shape[1]
    common = (log_macs >= low) & (log_macs <= high)
    compared, against = int((common & is_second).sum()), int((common & ~is_second).sum())
    change = None
    if min(compared, against) >= FEWEST:
        change = difference(
            scores[common],
            log_macs[common],
            second=is_second[common],
            classes=kinds[common].astype(np.intp),
        )
    return Effect(
        level=choice.levels[level],
        trials=int((choice.level == level).sum()),
        compared=compared,
        against=against,
        change=change,
    )


def _partner(choice: Choice, table: Choices) -> Indices:
    """The other mixer of the stage, where the choice is one of the two."""
    prefix, _, key = choice.name.rpartition(".")
    other = f"{prefix}.{_PARTNERS.get(key, '')}"
    found = [item.level for item in table.choices if item.name == other]
    return found[0] if found else np.zeros(len(table.scores), dtype=np.intp)


def _observations(table: Choices, rows: NDArray[np.bool_], partner: Indices) -> Floats:
    """Score, log MACs and partner, (3, N); architectures that share one training are one of N."""
    keys = table.proxies[rows] * (partner.max() + 2) + partner[rows]
    _, place, number = np.unique(keys, return_inverse=True, return_counts=True)
    figures = (table.scores[rows], table.log_macs[rows], partner[rows])
    return np.stack([np.bincount(place, weights=figure) / number for figure in figures])


def difference(
    scores: Floats,
    log_macs: Floats,
    *,
    second: NDArray[np.bool_],
    classes: NDArray[np.intp] | None = None,
) -> Difference | None:
    """By how much the second group scores higher than the first at equal log MACs.

    Args:
        scores: (N,), independent of each other.
        log_macs: (N,), which both groups should cover.
        second: (N,), who belongs to the second group.
        classes: (N,), classes to be equal too: the score is shifted by a constant in each.

    Returns:
        None where the groups cannot be told apart from cost or class, or too few trials are left
        to judge.
    """
    basis = _span(log_macs, classes)
    step = second - basis @ (basis.T @ second)
    size = float(step @ step)
    if len(scores) < basis.shape[1] + 3 or size < 1e-6 * len(scores):
        return None
    weights = step / size
    basis = np.column_stack([basis, step / np.sqrt(size)])
    left = scores - basis @ (basis.T @ scores)
    free = 1 - (basis**2).sum(1)
    own = free < 1e-9  # a trial alone in its class says nothing about the step
    if np.abs(weights[own]).max(initial=0.0) > 1e-9:
        return None
    free[own] = 1.0
    spread = float(np.sqrt(np.sum(weights**2 * left**2 / free)))
    # The second moment of a sum of dependent squares; H = Q Q' enters by Q alone.
    share = weights**2 / free
    inner = basis.T @ (share[:, None] * basis)
    squares = float(np.sum(share**2 * (2 * free - 1)) + np.sum(inner**2))
    degrees = float(np.sum(weights**2) ** 2 / squares)
    reach = float(stdtrit(degrees, (1 + _CONFIDENCE) / 2)) * spread
    estimate = float(weights @ scores)
    return Difference(estimate, estimate - reach, estimate + reach)


def _span(log_macs: Floats, classes: NDArray[np.intp] | None = None) -> Floats:
    """Orthonormal columns of what is held equal, as many as the trials can tell apart."""
    spread = float(np.ptp(log_macs)) if len(log_macs) else 0.0
    x = (log_macs - np.mean(log_macs)) / spread if spread > 0 else np.zeros_like(log_macs)
    columns = [x**power for power in range(_DEGREE + 1)]
    if classes is not None:
        columns += [(classes == kind).astype(np.float64) for kind in np.unique(classes)]
    basis, upper = np.linalg.qr(np.column_stack(columns))
    turned, sizes, _ = np.linalg.svd(upper)
    return np.asarray(basis @ turned[:, sizes > 1e-9 * sizes[0]], dtype=np.float64)


def effects_words(data: EffectsData) -> str:
    """The changes that chance does not explain, the largest first."""
    seen = [
        (effect.change.estimate, effect, choice)
        for choice in data.choices
        for effect in choice.shown
        if effect.change is not None and effect.change.sign
    ]
    if not seen:
        return (
            f"None of {data.intervals} comparisons tells a choice from chance: no value did better "
            "or worse than the usual one beyond its interval."
        )
    seen.sort(key=lambda item: -abs(item[0]))
    said = [
        f"{choice.name} {effect.level} instead of {choice.reference} "
        f"({data.words(change, digits=2)}{data.unit})"
        for change, effect, choice in seen[:_NAMED]
    ]
    more = f"; {len(seen) - _NAMED} more below" if len(seen) > _NAMED else ""
    return f"What changed {data.score.name} beyond chance: {', '.join(said)}{more}."


def effects_note(data: EffectsData) -> str:
    """What the picture assumes, and what it leaves out."""
    few = [
        f"{choice.name} {effect.level}"
        for choice in data.choices
        for effect in choice.effects
        if effect.change is None
    ]
    named = ", ".join(few[:_LEFT_OUT])
    more = f" and {len(few) - _LEFT_OUT} more" if len(few) > _LEFT_OUT else ""
    shown = sum(bool(choice.shown) for choice in data.choices)
    words = [
        f"Over {data.trials:,} architectures of the search, each value instead of the one that "
        "most of them have, on the range of MACs that both cover; bars are 95 % intervals.",
        f"Of {data.intervals} intervals, {data.intervals / 20:.0f} would miss 0 by chance alone."
        if data.intervals >= 10
        else "",
        "Assumed: a score that is a parabola in log MACs, shifted by the choice. All other choices "
        "are as the search happened to combine them: a sampler that learns combines what does "
        "well, so this is what went together, not proof of a cause.",
        f"Not shown for fewer than {FEWEST} trials of either at common MACs: {named}{more}."
        if few
        else "",
        f"The {_MOST} choices of which most was seen are shown, of {shown}."
        if shown > _MOST
        else "",
        f"{data.left_out} without a known choice are left out." if data.left_out else "",
    ]
    return " ".join(filter(None, words))


def effects_figure(data: EffectsData) -> go.Figure:
    """A point with its interval for each value; where that excludes zero it is filled."""
    figure = go.Figure(layout=layout())
    rows = [
        (choice, effect, effect.change)
        for choice in _by_strength(data)[:_MOST]
        for effect in choice.shown
        if effect.change is not None
    ]
    figure.add_vline(x=0, line={"width": 1, "color": LIGHT.muted})
    better = 1 if data.score.direction == "max" else -1
    for name, colour, sign in (
        ("better", BLUE, better),
        ("worse", VERMILLION, -better),
        ("no difference seen", LIGHT.muted, 0),
    ):
        places = [place for place, row in enumerate(rows) if row[2].sign == sign]
        if places:
            changes = [[data.scale * end for end in rows[place][2]] for place in places]
            figure.add_trace(
                go.Scatter(
                    x=[estimate for estimate, _, _ in changes],
                    y=places,
                    mode="markers",
                    error_x={
                        "array": [high - estimate for estimate, _, high in changes],
                        "color": colour,
                        "thickness": 2,
                        "width": 0,
                    },
                    marker={
                        "size": 9,
                        "color": colour if sign else LIGHT.surface,
                        "line": {"width": 2, "color": colour},
                    },
                    name=name,
                    customdata=[_hover(*rows[place], data) for place in places],
                    hovertemplate="%{customdata}<extra></extra>",
                )
            )
    figure.update_layout(height=round(130 + _ROW * (len(rows) + 1)))
    unit = " (points)" if data.unit else ""
    figure.update_xaxes(title_text=f"change of {data.score.name}{unit}")
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[
            f"<b>{plain(shortened(choice.name))}</b> "
            f"{plain(shortened(effect.level))} ({effect.trials:,})"
            f" vs {plain(shortened(choice.reference))} ({choice.trials:,})"
            for choice, effect, _ in rows
        ],
        range=[len(rows) - 0.2, -0.8],
        showgrid=False,
        showline=False,
        ticks="",
    )
    return figure


def _by_strength(data: EffectsData) -> list[ChoiceEffects]:
    """Choices with an effect beyond chance first, the others by how much they seem to change."""

    def strength(choice: ChoiceEffects) -> tuple[bool, float]:
        changes = [effect.change for effect in choice.shown if effect.change is not None]
        return max((bool(change.sign), abs(change.estimate)) for change in changes)

    return sorted((item for item in data.choices if item.shown), key=strength, reverse=True)


def _hover(choice: ChoiceEffects, effect: Effect, change: Difference, data: EffectsData) -> str:
    estimate, low, high = map(data.words, change)
    return (
        f"{plain(choice.name)} = {plain(effect.level)} instead of {plain(choice.reference)}"
        f"<br><b>{estimate}</b>{data.unit} of {data.score.label}<br>95 % interval {low} to "
        f"{high}<br>{effect.compared:,} of {effect.trials:,} compared with {effect.against:,} of "
        f"{choice.trials:,} architectures"
    )
