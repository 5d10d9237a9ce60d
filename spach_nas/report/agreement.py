"""Scores without training next to those of the trainings that followed, with their correlation."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from plotly import graph_objects as go

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.report.document import Section, sentences
from spach_nas.report.theme import BLUE, layout, plain
from spach_nas.report.view import StudyView
from spach_nas.study.intervals import Interval
from spach_nas.study.rank_correlation import Figures, kendall, resamples
from spach_nas.study.records import Record
from spach_nas.units import format_count

# Fewer pairs say nothing about a correlation.
_FEWEST = 5
_RESAMPLES = 300


class RungAgreement(NamedTuple):
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


def agreement_section(view: StudyView) -> Section:
    """A figure for each rung with another evaluator; hidden where all rungs have one evaluator."""
    found = [one for one in agreements(view) if one.pairs]
    return Section(
        id="agreement",
        title="Scores before training",
        figure={one.evaluator: _figure(one, view.score) for one in found} or None,
        trials=True,
        note=Markup(" ").join(sentences("study.html", "agreement", one) for one in found),
    )


def agreements(view: StudyView) -> tuple[RungAgreement, ...]:
    """One for each rung with another evaluator than the highest one, lowest first."""
    complete = [record for record in view.records if record.state == "complete"]
    highest = max((record.fidelity.rung for record in complete), default=0)
    rungs: dict[int, list[Record]] = {}
    for record in complete:
        rungs.setdefault(record.fidelity.rung, []).append(record)
    scored = [one for one in rungs.get(highest, ()) if view.score.of(one) is not None]
    top = {record.trial: record for record in scored}
    trained_by = {record.evaluator for record in scored}
    found = []
    for rung, records in sorted(rungs.items()):
        evaluator, known = records[0].evaluator, (view.score, *OBJECTIVES.values())
        if rung < highest and evaluator not in trained_by:
            scores = (item for item in known if item.source == "score")
            own = next(item for item in scores if item.of(records[0]) is not None)
            pairs = tuple(
                (record, top[record.trial])
                for record in records
                if record.trial in top and own.of(record) is not None
            )
            gains = (
                _gains([low for low, _ in pairs], own),
                _gains([one for _, one in pairs], view.score),
            )
            tau = correlation(*gains) if len(pairs) >= _FEWEST else (None, None)
            found.append(RungAgreement(evaluator, own, pairs, len(records), *tau))
    return tuple(found)


def _gains(records: Sequence[Record], objective: Objective) -> Figures:
    """The figures of an objective, (N,), higher is better."""
    figures = np.array([objective.of(record) or 0.0 for record in records])
    return figures if objective.direction == "max" else -figures


def correlation(first: Figures, second: Figures) -> tuple[float | None, Interval | None]:
    """Kendall's tau-b of two scores, (N,) each, and its 95 % bootstrap interval over trials."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None, None
    whole = np.zeros(len(first), dtype=np.int64)
    taus = kendall(first, second, bands=whole, weights=resamples(len(first), _RESAMPLES))
    low, high = np.quantile(taus[1:], [0.025, 0.975])
    return float(taus[0]), Interval(float(low), float(high))


def _figure(one: RungAgreement, score: Objective) -> go.Figure:
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
    x, y = one.objective, score
    figure.update_xaxes(title_text=f"{x.label}, {one.evaluator}", tickformat=x.ticks)
    figure.update_yaxes(title_text=f"{y.label}, trained", tickformat=y.ticks)
    return figure.update_layout(margin_t=16)
