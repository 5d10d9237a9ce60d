"""Scores without training next to those of the trainings that followed, with their correlation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from plotly import graph_objects as go

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.report.document import Section
from spach_nas.report.theme import BLUE, layout, plain
from spach_nas.report.view import StudyView
from spach_nas.study.intervals import Interval
from spach_nas.study.records import Record
from spach_nas.units import format_count

# Fewer pairs say nothing about a correlation.
_FEWEST = 5
_RESAMPLES = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Trials that two evaluators have scored.

    Attributes:
        evaluator: Of the lower rung, as in its records.
        objective: Its score.
        pairs: Each trial's record at the lower and at the highest rung.
        scored: Trials that the lower rung has scored.
        tau: Kendall's, of both scores; 1 where they rank alike, 0 where they do so by chance. None:
            too few pairs, or all scores are equal.
        interval: 95 % of resampled trials.
    """

    evaluator: str
    objective: Objective
    pairs: tuple[tuple[Record, Record], ...]
    scored: int
    tau: float | None = None
    interval: Interval | None = None


def agreements(view: StudyView) -> tuple[Agreement, ...]:
    """One for each rung with another evaluator than the highest one, lowest first."""
    complete = [record for record in view.records if record.state == "complete"]
    highest = max((record.fidelity.rung for record in complete), default=0)
    top = {
        record.trial: record
        for record in complete
        if record.fidelity.rung == highest and view.score.of(record) is not None
    }
    rungs: dict[int, list[Record]] = {}
    for record in complete:
        rungs.setdefault(record.fidelity.rung, []).append(record)
    trained_by = {record.evaluator for record in top.values()}
    return tuple(
        _agreement(own, top, score=view.score)
        for rung, own in sorted(rungs.items())
        if rung < highest and own[0].evaluator not in trained_by
    )


def agreement_section(view: StudyView) -> Section:
    """A figure for each such rung; hidden where all rungs have one evaluator."""
    found = [one for one in agreements(view) if one.pairs]
    return Section(
        id="agreement",
        title="Scores before training",
        figure={one.evaluator: _figure(one, view.score) for one in found} or None,
        trials=True,
        note=Markup(" ").join(map(_words, found)),
    )


def _agreement(
    records: Sequence[Record], top: Mapping[int, Record], *, score: Objective
) -> Agreement:
    own = score if score.of(records[0]) is not None else _other_score(records[0])
    pairs = tuple(
        (record, top[record.trial])
        for record in records
        if record.trial in top and own.of(record) is not None
    )
    tau, interval = None, None
    if len(pairs) >= _FEWEST:
        tau, interval = kendall(
            np.array([_gain(low, own) for low, _ in pairs]),
            np.array([_gain(high, score) for _, high in pairs]),
        )
    return Agreement(
        evaluator=records[0].evaluator,
        objective=own,
        pairs=pairs,
        scored=len(records),
        tau=tau,
        interval=interval,
    )


def _gain(record: Record, objective: Objective) -> float:
    """The figure of an objective, higher is better."""
    figure = objective.of(record) or 0.0
    return figure if objective.direction == "max" else -figure


def _other_score(record: Record) -> Objective:
    scores = (item for item in OBJECTIVES.values() if item.source == "score")
    return next(item for item in scores if item.of(record) is not None)


def kendall(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[float | None, Interval | None]:
    """Kendall's tau-b of two scores, (N,) each, and its 95 % bootstrap interval over trials."""
    # Late: mistakes in a study are reported before scipy is imported.
    from scipy.stats import kendalltau

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None, None
    rng = np.random.default_rng(0)
    taus = []
    for _ in range(_RESAMPLES):
        drawn = rng.integers(len(first), size=len(first))
        if np.ptp(first[drawn]) and np.ptp(second[drawn]):
            taus.append(kendalltau(first[drawn], second[drawn]).statistic)
    low, high = np.quantile(taus, [0.025, 0.975])
    return float(kendalltau(first, second).statistic), Interval(float(low), float(high))


def _words(one: Agreement) -> str:
    lead = (
        f"{one.evaluator} has scored {one.scored:,} trials, and {len(one.pairs):,} of them were "
        "trained after that."
    )
    if one.tau is None or one.interval is None:
        return f"{lead} That is too few to say how well both scores agree."
    return (
        f"{lead} Kendall's tau of both scores is {one.tau:.2f} (95 %: {one.interval.low:.2f} to "
        f"{one.interval.high:.2f}); 1 is the same order, 0 is chance. Only what the cheap score "
        "preferred was trained, which makes the correlation smaller than over the whole space."
    )


def _figure(one: Agreement, score: Objective) -> go.Figure:
    figure = go.Figure(layout=layout())
    figure.add_trace(
        go.Scatter(
            x=[one.objective.of(low) for low, _ in one.pairs],
            y=[score.of(high) for _, high in one.pairs],
            customdata=[low.trial for low, _ in one.pairs],
            mode="markers",
            marker={"size": 8, "color": BLUE},
            text=[
                f"<b>{plain(high.architecture)}</b><br>trial {high.trial}, "
                f"{format_count(high.target_cost.macs)} MACs<br>{one.evaluator}: "
                f"{one.objective.words(one.objective.of(low) or 0.0)}<br>trained: "
                f"{score.words(score.of(high) or 0.0)}"
                for low, high in one.pairs
            ],
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
    )
    figure.update_xaxes(
        title_text=f"{one.objective.label}, {one.evaluator}", tickformat=one.objective.ticks
    )
    figure.update_yaxes(title_text=f"{score.label}, trained", tickformat=score.ticks)
    figure.update_layout(margin_t=16)
    return figure
