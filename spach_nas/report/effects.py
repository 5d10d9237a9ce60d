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
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from plotly import graph_objects as go
from scipy.special import stdtrit

from spach_nas.config.objectives import Objective
from spach_nas.report.document import Section, sentences
from spach_nas.report.theme import (
    BLUE,
    LIGHT,
    VERMILLION,
    layout,
    mixer_order,
    plain,
    row_axis,
    shortened,
)
from spach_nas.report.view import StudyView
from spach_nas.space.layouts import Value
from spach_nas.space.stage_space import has_effect
from spach_nas.study.pareto import value
from spach_nas.study.records import Record

# Of either value, on the common range of MACs: fewer trials tell an effect from nothing only when
# it is huge.
FEWEST = 5
_CONFIDENCE = 0.95
_DEGREE = 2
_ROW = 22  # pixels
# So many parameters are shown, those first of which most was seen.
_MOST = 8
# Numbers with more values than that are shown as so many ranges.
_MOST_VALUES, _RANGES = 6, 4
_OF_STAGE, _BLOCK = re.compile(r"stage([1-9]\d*)\.(.+)"), re.compile(r"block(\d+)")
_PARTNERS = {"leading": "trailing", "trailing": "leading"}
# Whatever an architecture is, it would differ with another value of these.
_ALWAYS = frozenset({"image_size", "patch_size", "stem", "depth", "width", "trailing_depth"})
_ALWAYS |= frozenset(_PARTNERS)

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


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
    """A value of a parameter compared with the reference value, which most trials have.

    Attributes:
        choice: The parameter, such as `stage3.depth`.
        trials: Architectures with this value, and with the reference value.
        compared: Those of both on the range of MACs that they share.
        change: Of the score; None where too few trials are behind it.
    """

    choice: str
    level: str
    reference: str
    trials: tuple[int, int]
    compared: tuple[int, int]
    change: Difference | None

    @property
    def sign(self) -> int:
        """1 or -1 where chance does not explain the change, else 0."""
        return self.change.sign if self.change else 0

    @property
    def size(self) -> float:
        """Of the change, whatever its direction."""
        return abs(self.change.estimate) if self.change else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectsData:
    """Every parameter, in the order of the encoding.

    Attributes:
        trials: Architectures that were compared.
        left_out: Trials without a known choice.
    """

    score: Objective
    trials: int
    effects: tuple[Effect, ...]
    left_out: int

    @property
    def shown(self) -> tuple[Effect, ...]:
        """Those with enough trials behind them."""
        return tuple(effect for effect in self.effects if effect.change is not None)

    def words(self, change: float, *, digits: int = 3) -> str:
        """A change with its sign; that of an accuracy in percentage points."""
        scaled = f"{self.scale * change:+.{digits}g}".replace("-", "\N{MINUS SIGN}")
        return f"{scaled} points" if self.score.is_share else scaled

    @property
    def scale(self) -> int:
        """By which changes are multiplied for the eye."""
        return 100 if self.score.is_share else 1


def effects_section(view: StudyView) -> Section:
    """The changes beyond chance in words, and all of them as intervals."""
    title = "What each choice did at equal MACs"
    data = effects_data(view)
    if not data.shown:
        return Section(id="effects", title=title)
    beyond = sorted((one for one in data.shown if one.sign), key=lambda one: -one.size)
    choices = {one.choice for one in data.shown}
    rungs = any(one.record.fidelity.rung for one in view.within)
    few = [f"{one.choice} {one.level}" for one in data.effects if one.change is None]
    more = len(choices) if len(choices) > _MOST else 0
    return Section(
        id="effects",
        title=title,
        figure=effects_figure(data),
        size="free",
        lead=sentences("study.html", "effects_lead", data, beyond),
        note=sentences("study.html", "effects_note", data, few, FEWEST, _MOST, more, rungs),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One parameter of the encoding.

    Attributes:
        name: As in the YAML, such as `stage3.depth`.
        levels: Its values in words, numbers in ascending order.
        level: (R,), the index in `levels` that each row has; -1 where the parameter has no effect,
            such as the mixer of a fifth block in a stage of four.
    """

    name: str
    levels: tuple[str, ...]
    level: Indices


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What the search's own trials chose, and what came of it; R rows, one an architecture.

    Attributes:
        choices: The parameters that took more than one value.
        scores: (R,), the mean over the seeds of an architecture.
        log_macs: (R,), natural logarithm of the target's MACs.
        proxies: (R,), equal numbers for architectures that share a trained proxy, and its score.
        left_out: Trials without a known choice, such as paper models outside of the space.
    """

    choices: tuple[Choice, ...]
    scores: Floats
    log_macs: Floats
    proxies: Indices
    left_out: int


def choices_table(view: StudyView) -> Choices:
    """The search's complete trials of the highest rung inside the limits."""
    found = [
        one.record
        for one in view.within
        if one.record.reference is None and value(one.record, view.score) is not None
    ]
    rows = [record for record in found if record.encoding is not None]
    chosen = [_chosen(record) for record in rows]
    names = dict.fromkeys(name for row in chosen for name in row)
    choices = (_column(name, [row.get(name) for row in chosen]) for name in names)
    return Choices(
        choices=tuple(choice for choice in choices if len(choice.levels) > 1),
        scores=np.array([value(record, view.score) for record in rows], dtype=np.float64),
        log_macs=np.log([max(1.0, record.target_cost.macs) for record in rows]),
        proxies=np.unique([record.proxy_id for record in rows], return_inverse=True)[1],
        left_out=len(found) - len(rows),
    )


def _chosen(record: Record) -> dict[str, Value]:
    """The parameters of a record's encoding that have an effect on its architecture."""
    encoding = record.encoding or {}
    return {name: given for name, given in encoding.items() if _matters(name, record, encoding)}


def _matters(name: str, record: Record, encoding: Mapping[str, Value]) -> bool:
    stages = record.architecture.stages
    of_stage = _OF_STAGE.fullmatch(name)
    if name == "stem_width":
        return record.architecture.stem == "conv4"
    if of_stage is not None and int(of_stage[1]) <= len(stages):
        stage, key = stages[int(of_stage[1]) - 1], of_stage[2]
        block = _BLOCK.fullmatch(key)
        if block is not None:
            return int(block[1]) <= stage.depth
        return key in _ALWAYS or has_effect(key, stage)
    # What stages choose themselves is no longer chosen for them.
    fed = [item for i, item in enumerate(stages, 1) if f"stage{i}.{name}" not in encoding]
    return name in _ALWAYS or any(has_effect(name, stage) for stage in fed)


def _column(name: str, values: Sequence[Value | None]) -> Choice:
    distinct = sorted({item for item in values if item is not None}, key=_order)
    place = {item: index for index, item in enumerate(distinct)}
    level = np.array([-1 if item is None else place[item] for item in values], dtype=np.intp)
    members = [[item] for item in distinct]
    if len(distinct) > _MOST_VALUES and all(isinstance(item, int | float) for item in distinct):
        # Consecutive values together, with about equally many rows each: the largest value of each
        # range but the last. A value that most rows have fills several ranges.
        steps = np.arange(1, _RANGES) / _RANGES
        tops = np.unique(np.quantile(level[level >= 0], steps, method="inverted_cdf"))
        parts = np.split(np.arange(len(distinct)), tops.astype(int) + 1)
        members = [[distinct[index] for index in part] for part in parts if len(part)]
        level = np.where(level < 0, -1, np.searchsorted(tops, level)).astype(np.intp)
    ends = [dict.fromkeys(_words(some[end]) for end in (0, -1)) for some in members]
    return Choice(name=name, levels=tuple(map("\N{EN DASH}".join, ends)), level=level)


def _words(item: Value) -> str:
    """A value as the YAML has it: `conv`, `2.5`, `true`."""
    if isinstance(item, bool):
        return str(item).lower()
    return f"{item:g}" if isinstance(item, float) else str(item)


def _order(item: Value) -> tuple[int, float, tuple[int, str]]:
    """Key by which values are sorted: numbers, then words, mixers in their usual order."""
    if isinstance(item, str):
        return (1, 0.0, mixer_order(item))
    return (0, float(item), (0, ""))


def effects_data(view: StudyView) -> EffectsData:
    """The effect of each choice over a search's own complete trials of the highest rung."""
    table = choices_table(view)
    effects = []
    for choice in table.choices:
        numbers = np.bincount(choice.level[choice.level >= 0], minlength=len(choice.levels))
        reference = int(np.argmax(numbers))
        effects += [
            _effect(choice, table, level=level, reference=reference)
            for level in range(len(choice.levels))
            if level != reference
        ]
    return EffectsData(
        score=view.score,
        trials=len(table.scores),
        effects=tuple(effects),
        left_out=table.left_out,
    )


def _effect(choice: Choice, table: Choices, *, level: int, reference: int) -> Effect:
    prefix, _, key = choice.name.rpartition(".")
    partners = [one for one in table.choices if one.name == f"{prefix}.{_PARTNERS.get(key, '')}"]
    partner = partners[0].level if partners else np.zeros(len(table.scores), dtype=np.intp)
    own, usual = choice.level == level, choice.level == reference
    first, second = (_observations(table, rows, partner) for rows in (usual, own))
    low, high = max(first[1].min(), second[1].min()), min(first[1].max(), second[1].max())
    scores, log_macs, kinds = np.concatenate([first, second], axis=1)
    is_second = np.arange(len(scores)) >= first.shape[1]
    common = (log_macs >= low) & (log_macs <= high)
    compared = int((common & is_second).sum()), int((common & ~is_second).sum())
    enough = min(compared) >= FEWEST
    return Effect(
        choice=choice.name,
        level=choice.levels[level],
        reference=choice.levels[reference],
        trials=(int(own.sum()), int(usual.sum())),
        compared=compared,
        change=difference(
            scores[common], log_macs[common], second=is_second[common], classes=kinds[common]
        )
        if enough
        else None,
    )


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
    classes: NDArray[np.generic] | None = None,
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


def _span(log_macs: Floats, classes: NDArray[np.generic] | None) -> Floats:
    """Orthonormal columns of what is held equal, as many as the trials can tell apart."""
    spread = float(np.ptp(log_macs)) if len(log_macs) else 0.0
    x = (log_macs - np.mean(log_macs)) / spread if spread > 0 else np.zeros_like(log_macs)
    columns = [x**power for power in range(_DEGREE + 1)]
    if classes is not None:
        columns += [(classes == kind).astype(np.float64) for kind in np.unique(classes)]
    basis, upper = np.linalg.qr(np.column_stack(columns))
    turned, sizes, _ = np.linalg.svd(upper)
    return np.asarray(basis @ turned[:, sizes > 1e-9 * sizes[0]], dtype=np.float64)


def effects_figure(data: EffectsData) -> go.Figure:
    """A point with its interval for each value; where that excludes zero it is filled."""
    figure = go.Figure(layout=layout())
    # Choices with an effect beyond chance first, the others by how much they seem to change.
    strength: dict[str, tuple[int, float]] = {}
    for one in data.shown:
        strength[one.choice] = max(strength.get(one.choice, (0, 0.0)), (abs(one.sign), one.size))
    chosen = sorted(strength, key=lambda name: strength[name], reverse=True)[:_MOST]
    rows = [one for name in chosen for one in data.shown if one.choice == name]
    figure.add_vline(x=0, line={"width": 1, "color": LIGHT.muted})
    better = 1 if data.score.direction == "max" else -1
    kinds = {"better": (BLUE, better), "worse": (VERMILLION, -better)}
    for name, (colour, sign) in {**kinds, "no difference seen": (LIGHT.muted, 0)}.items():
        places = [place for place, one in enumerate(rows) if one.sign == sign]
        ends = [[data.scale * end for end in rows[place].change or ()] for place in places]
        bar = {"array": [high - estimate for estimate, _, high in ends], "color": colour}
        edge = {"width": 2, "color": colour}
        trace = go.Scatter(
            x=[estimate for estimate, _, _ in ends],
            y=places,
            mode="markers",
            error_x={**bar, "thickness": 2, "width": 0},
            marker={"size": 9, "color": colour if sign else LIGHT.surface, "line": edge},
            name=name,
            customdata=[_hover(rows[place], data) for place in places],
            hovertemplate="%{customdata}<extra></extra>",
        )
        figure.add_traces([trace] if places else [])
    figure.update_layout(height=round(130 + _ROW * (len(rows) + 1)))
    unit = " (points)" if data.score.is_share else ""
    figure.update_xaxes(title_text=f"change of {data.score.name}{unit}")
    names = [
        f"<b>{plain(shortened(one.choice))}</b> "
        f"{plain(shortened(one.level))} ({one.trials[0]:,})"
        f" vs {plain(shortened(one.reference))} ({one.trials[1]:,})"
        for one in rows
    ]
    return row_axis(figure, dict(enumerate(names)), ends=(-0.8, len(rows) - 0.2))


def _hover(one: Effect, data: EffectsData) -> str:
    estimate, low, high = map(data.words, one.change or ())
    return (
        f"{plain(one.choice)} = {plain(one.level)} instead of {plain(one.reference)}"
        f"<br><b>{estimate}</b> of {data.score.label}<br>95 % interval {low} to {high}"
        f"<br>{one.compared[0]:,} of {one.trials[0]:,} compared with {one.compared[1]:,} of "
        f"{one.trials[1]:,} architectures"
    )
