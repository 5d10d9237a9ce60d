"""How far trainings of one architecture lie apart: the noise that differences are judged by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from plotly import graph_objects as go

from spach_nas.config.objectives import Objective, score_of
from spach_nas.report.comparison_settings import protocol
from spach_nas.report.comparison_study import StudyGroup
from spach_nas.report.comparison_style import Style, styles
from spach_nas.report.seeds import pooled_spread
from spach_nas.report.theme import LIGHT, layout, plain
from spach_nas.study.pareto import comparable, value
from spach_nas.study.records import Record
from spach_nas.units import format_count

_MOST_DRAWN = 25
_ROW_HEIGHT, _FRAME = 18, 120
# Of a row, what the markers of its groups spread over.
_ROW_SHARE = 0.7


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """One training of an architecture.

    Attributes:
        group: Label of its group.
        study: Label of its study.
        trial: Its number there.
        seed: Of the training.
        score: Its final score.
    """

    group: str
    study: str
    trial: int
    seed: int
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeated:
    """An architecture trained from several seeds by one protocol.

    Attributes:
        arch_id: Of the target.
        name: Of the paper's model, or `arch_id`.
        architecture: As text.
        macs: Of the target.
        trainings: All of them, from at least two seeds.
    """

    arch_id: str
    name: str
    architecture: str
    macs: int
    trainings: tuple[Training, ...]

    @property
    def scores(self) -> tuple[float, ...]:
        """One for each seed: studies that share a seed do not repeat one another."""
        by_seed: dict[int, list[float]] = {}
        for one in self.trainings:
            by_seed.setdefault(one.seed, []).append(one.score)
        return tuple(sum(scores) / len(scores) for scores in by_seed.values())

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return sum(self.scores) / len(self.scores)


@dataclass(frozen=True, kw_only=True, slots=True)
class RepeatsData:
    """All architectures that were trained more than once.

    Attributes:
        score: What is compared.
        groups: For legend and colours.
        repeated: By mean score, best first.
        deviation: Of one training around the mean of its architecture, pooled over all of them.
        freedom: Degrees of freedom behind it: seeds less one, over all architectures.
    """

    score: Objective
    groups: tuple[StudyGroup, ...]
    repeated: tuple[Repeated, ...]
    deviation: float
    freedom: int


def repeats_data(groups: Sequence[StudyGroup]) -> RepeatsData | None:
    """Architectures with several seeds; None where there are none."""
    score = score_of(groups[0].studies[0].objectives)
    found: dict[tuple[str, frozenset[tuple[str, str]]], list[tuple[Record, Training]]] = {}
    for group in groups:
        for study in group.studies:
            same = frozenset(protocol(study).items())
            for record in comparable(study.records):
                figure = value(record, score)
                if figure is None:
                    continue
                training = Training(
                    group=group.label,
                    study=study.label,
                    trial=record.trial,
                    seed=record.seed,
                    score=figure,
                )
                found.setdefault((record.arch_id, same), []).append((record, training))
    repeated = [
        _repeated(runs)
        for runs in found.values()
        if len({training.seed for _, training in runs}) > 1
    ]
    if not repeated:
        return None
    spread = pooled_spread([one.scores for one in repeated])
    assert spread is not None, "several seeds"
    best_first = -1 if score.direction == "max" else 1
    return RepeatsData(
        score=score,
        groups=tuple(groups),
        repeated=tuple(sorted(repeated, key=lambda one: (best_first * one.mean, one.arch_id))),
        deviation=spread.deviation,
        freedom=spread.freedom,
    )


def _repeated(runs: Sequence[tuple[Record, Training]]) -> Repeated:
    record = runs[0][0]
    return Repeated(
        arch_id=record.arch_id,
        name=record.reference or record.arch_id,
        architecture=str(record.architecture),
        macs=record.target_cost.macs,
        trainings=tuple(training for _, training in runs),
    )


def noise_words(data: RepeatsData) -> str:
    """What the noise means for a reader who compares two trainings."""
    trainings = data.freedom + len(data.repeated)
    of = "architecture" if len(data.repeated) == 1 else "architectures"
    # Two single trainings of one network differ by less than this in 95 of 100 cases.
    apart = 1.96 * math.sqrt(2) * data.deviation
    deviation, apart_words = (
        (f"{data.deviation * 100:.2f} points", f"{apart * 100:.2f} points")
        if data.score.is_share
        else (f"{data.deviation:.4f}", f"{apart:.4f}")
    )
    left = len(data.repeated) - _MOST_DRAWN
    hidden = f" The {_MOST_DRAWN} best are drawn; {left} more count." if left > 0 else ""
    return (
        f"{len(data.repeated)} {of} trained from several seeds by one protocol ({trainings} seeds "
        f"in all). Pooled standard deviation of one training: {deviation}. Two single trainings "
        f"that differ by less than {apart_words} may be of the same network (95 %, normal noise)."
        f"{hidden}"
    )


def repeats_figure(data: RepeatsData) -> go.Figure:
    """A row for each architecture, a marker for each training, a line from worst to best."""
    figure, looks = go.Figure(layout=layout()), styles(data.groups)
    drawn = data.repeated[:_MOST_DRAWN]
    figure.add_trace(_ranges(drawn))
    used = [
        group
        for group in data.groups
        if any(run.group == group.label for one in drawn for run in one.trainings)
    ]
    for place, group in enumerate(used):
        # Studies that share a seed share a score: beside each other, not one behind the other.
        shift = _ROW_SHARE * ((place + 0.5) / len(used) - 0.5)
        figure.add_trace(_group_trace(drawn, group, looks[group.label], shift=shift))
    figure.update_xaxes(title_text=data.score.label, tickformat=data.score.ticks)
    figure.update_yaxes(
        range=[len(drawn) - 0.5, -0.5],
        tickvals=list(range(len(drawn))),
        ticktext=[plain(one.name) for one in drawn],
        tickfont={"size": 11},
    )
    figure.update_layout(height=_FRAME + (_ROW_HEIGHT + 5 * len(used)) * len(drawn))
    return figure


def _group_trace(
    drawn: Sequence[Repeated], group: StudyGroup, look: Style, *, shift: float
) -> go.Scatter:
    runs = [
        (row + shift, one, run)
        for row, one in enumerate(drawn)
        for run in one.trainings
        if run.group == group.label
    ]
    return go.Scatter(
        x=[run.score for _, _, run in runs],
        y=[round(y, 3) for y, _, _ in runs],
        text=[_hover(one, run) for _, one, run in runs],
        hovertemplate="%{text}<extra></extra>",
        mode="markers",
        marker={
            "symbol": look.symbol,
            "color": look.colour,
            "size": 8,
            "line": {"width": 1, "color": LIGHT.surface},
        },
        name=look.name,
    )


def _ranges(drawn: Sequence[Repeated]) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    for row, one in enumerate(drawn):
        scores = [run.score for run in one.trainings]
        x += [min(scores), max(scores), None]
        y += [row, row, None]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"width": 2, "color": LIGHT.faded},
        hoverinfo="skip",
        showlegend=False,
    )


def _hover(one: Repeated, run: Training) -> str:
    return (
        f"<b>{plain(run.study)}</b>, trial {run.trial}, seed {run.seed}<br>{run.score:.4f}, mean "
        f"of {len(one.scores)} seeds {one.mean:.4f}<br>{plain(one.name)}, "
        f"{format_count(one.macs)} MACs"
    )
