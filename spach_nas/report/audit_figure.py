"""How well scores rank trained architectures: the study's audit as dots and intervals."""

from collections.abc import Sequence

from plotly import graph_objects as go

from spach_nas.report.document import Section
from spach_nas.report.theme import BLUE, LIGHT, VERMILLION, layout, plain
from spach_nas.report.view import StudyView
from spach_nas.study.audit_rows import AuditRow, verdict

# Height of a row, and of what is above and below all of them, in pixels.
_ROW, _AROUND = 30, 110
# Between both dots of a row, as a share of its height.
_APART = 0.32


def audit_section(view: StudyView) -> Section:
    """A figure and what to use; hidden where the study has no audit."""
    rows = view.facts.audit
    note = (
        "Kendall's tau with the accuracy after a full training, and its 95 % interval over "
        "architectures: 1 is the same order, 0 is chance. A score that only sees sizes ranks well "
        "over all architectures and not between those of one cost. Where another seed of the same "
        "training is shown, it is the most that any score can reach."
    )
    return Section(
        id="audit",
        title="How far scores can be trusted",
        figure=audit_figure(rows) if rows else None,
        size="free",
        note=f"{note} {verdict(rows)}" if rows else "",
    )


def audit_figure(rows: Sequence[AuditRow]) -> go.Figure:
    """A row for each score, the best over all architectures at the top."""
    ranked = sorted(rows, key=lambda row: row.tau.figure)
    figure = go.Figure(layout=layout())
    series = (
        ("over all architectures", BLUE, 1, [row.tau for row in ranked]),
        ("between those of one cost", VERMILLION, -1, [row.within for row in ranked]),
    )
    for words, colour, side, found in series:
        figure.add_trace(
            go.Scatter(
                x=[one.figure for one in found],
                y=[place + side * _APART / 2 for place in range(len(ranked))],
                error_x={
                    "array": [one.high - one.figure for one in found],
                    "arrayminus": [one.figure - one.low for one in found],
                    "thickness": 1.5,
                    "width": 0,
                    "color": colour,
                },
                mode="markers",
                marker={"size": 8, "color": colour},
                name=words,
                text=[
                    f"<b>{plain(row.words)}</b>, {row.architectures} networks<br>{words}: {one}"
                    for row, one in zip(ranked, found, strict=True)
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="Kendall's tau", zeroline=True, zerolinecolor=LIGHT.muted)
    figure.update_yaxes(
        tickvals=list(range(len(ranked))),
        ticktext=[plain(row.words) for row in ranked],
        range=[-0.7, len(ranked) - 0.3],
        showgrid=False,
        ticks="",
    )
    return figure.update_layout(height=_AROUND + _ROW * len(ranked))
