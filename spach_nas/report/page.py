"""The page: everything about a study in one HTML file that opens without a network."""

import base64
import hashlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from plotly import graph_objects as go
from plotly.offline import get_plotlyjs

from spach_nas.architecture import Architecture
from spach_nas.hypervolume import hypervolume_data
from spach_nas.objectives import OBJECTIVES
from spach_nas.pareto import front, value
from spach_nas.records import Record
from spach_nas.references import REFERENCES
from spach_nas.report.curves_figure import curves_data, curves_figure
from spach_nas.report.drawing import draw, drawn_width
from spach_nas.report.hypervolume_figure import hypervolume_figure, reference_words
from spach_nas.report.pareto_data import AXES, pareto_data, score_of
from spach_nas.report.pareto_figure import pareto_figure
from spach_nas.report.shares_figure import shares_data, shares_figure
from spach_nas.report.summary import StudyFacts, Summary, conclusion, meaning, summarise
from spach_nas.report.theme import DARK, FONT, LIGHT, MONOSPACE, css_variables, mixer_colour
from spach_nas.report.trials import TrialRow, hover_text, trial_rows
from spach_nas.units import format_duration
from spach_nas.version import __version__

FILE_NAME = "report.html"
# The paper's best model, drawn beside the front for comparison.
_DRAWN_REFERENCE = "hybrid_ms_s_plus"
_COLUMNS = ("trial", "architecture", "accuracy", "macs", "params", "activations", "seconds")


def write_report(folder: Path, *, records: Sequence[Record], facts: StudyFacts) -> Path:
    """Write `report.html` of a study; an older one is replaced in one step.

    Args:
        folder: Of the study; the page's export commands name it as given here.
        records: Of the study, in the order in which they finished.
        facts: What the records do not say.

    Returns:
        Path of the page.
    """
    path = folder / FILE_NAME
    temporary = folder / f".{FILE_NAME}.{os.getpid()}"
    try:
        temporary.write_text(render(records, facts=facts, folder=folder), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def render(records: Sequence[Record], *, facts: StudyFacts, folder: Path) -> str:
    """The page as text."""
    summary = summarise(records, facts)
    rows = trial_rows(records, facts.objectives, limits=facts.limits)
    hypervolume = hypervolume_data(records, facts.objectives, limits=facts.limits)
    score = score_of(facts.objectives)
    plotly, script = get_plotlyjs(), _asset("page.js")
    style = css_variables() + _asset("page.css")
    return Template(_asset("page.html")).substitute(
        # Only these two scripts may run, and nothing may be fetched, whatever a name contains.
        policy=f"default-src 'none'; script-src {_hash(plotly)} {_hash(script)}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'",
        blank="" if records else "hidden",
        better=f"{'Up' if score.direction == 'max' else 'Down'} and left is better.",
        style=style.replace("$FONT", FONT).replace("$MONOSPACE", MONOSPACE),
        name=escape(facts.name),
        conclusion=escape(conclusion(summary)),
        tiles=_tiles(summary),
        meaning="".join(f"<p>{escape(sentence)}</p>" for sentence in meaning(records)),
        empty="" if summary.front else "hidden",
        reference=escape(reference_words(hypervolume)) if hypervolume else "",
        drawings=_drawings(records, facts=facts, rows=rows),
        legend=_legend(records),
        origin=_origin(records, facts=facts),
        settings=escape(facts.settings) or "not recorded",
        data=_json(_data(records, facts=facts, folder=folder, rows=rows)),
        plotly=plotly,
        script=script,
    )


def _data(
    records: Sequence[Record], *, facts: StudyFacts, folder: Path, rows: Sequence[TrialRow]
) -> dict[str, Any]:
    best = next((row.trial for row in rows if "best" in row.mark), None)
    # The epochs say something only where rungs differ.
    epochs = ["epochs"] if len({row.epochs for row in rows}) > 1 else []
    columns = [*_COLUMNS, *epochs, "note"]
    return {
        "study": shlex.quote(str(folder)),
        "selected": best,
        "columns": columns,
        "rows": [_table_row(row) for row in rows],
        "labels": {record.trial: hover_text(record) for record in records},
        "inks": {"light": asdict(LIGHT), "dark": asdict(DARK)},
        "figures": _figures(records, facts=facts),
    }


def _figures(records: Sequence[Record], *, facts: StudyFacts) -> dict[str, Any]:
    objectives, limits = facts.objectives, facts.limits
    figures: dict[str, Any] = {}
    for axis in AXES:
        data = pareto_data(records, objectives, axis=axis, limits=limits)
        if data.front or data.others or data.references:
            figures[f"front-{axis}"] = _plain(pareto_figure(data))
    growth = hypervolume_data(records, objectives, limits=limits)
    if growth is not None:
        figures["hypervolume"] = _plain(hypervolume_figure(growth))
    curves = curves_data(records, objectives, limits=limits)
    if curves.curves:
        figures["curves"] = _plain(curves_figure(curves))
    shares = shares_data(records, objectives, limits=limits)
    if shares.groups:
        figures["shares"] = _plain(shares_figure(shares))
    return figures


def _plain(figure: go.Figure) -> dict[str, Any]:
    plain: dict[str, Any] = figure.to_plotly_json()
    for trace in plain["data"]:
        # The page holds each trial's label once, not once for each axis.
        if trace.get("hovertemplate", "").startswith("%{text}"):
            del trace["text"]
    return plain


def _table_row(row: TrialRow) -> dict[str, Any]:
    words = ["front"] if row.on_front else []
    words += [row.mark] if row.mark else []
    words += [f"paper: {row.reference}"] if row.reference else []
    words += [f"failed: {row.reason or 'no reason given'}"] if row.state == "failed" else []
    return {
        "trial": row.trial,
        "id": row.arch_id,
        "architecture": row.architecture,
        "accuracy": row.accuracy,
        "macs": row.macs,
        "params": row.params,
        "activations": row.activations,
        "seconds": row.seconds,
        "epochs": row.epochs,
        "note": " · ".join(words),
        "front": row.on_front,
        "paper": row.reference is not None,
        "failed": row.state == "failed",
    }


def _tiles(summary: Summary) -> str:
    best = summary.best
    accuracy = value(best, OBJECTIVES["accuracy"]) if best else None
    tiles = [
        (f"{summary.trials:,}", f"trials, {summary.failed} failed"),
        (f"{summary.front}", "on the front"),
    ]
    if best and accuracy is not None:
        tiles.append((f"{accuracy:.2%}", f"best, at {best.target_cost.macs / 1e9:.2f} G MACs"))
    if summary.references:
        beaten = f"{summary.beaten} of {summary.references}"
        tiles.append((beaten, "paper models dominated"))
    tiles.append(
        (format_duration(summary.wall_s), f"search, {format_duration(summary.training_s)} training")
    )
    return "".join(
        f"<div><strong>{escape(figure)}</strong><span>{escape(words)}</span></div>"
        for figure, words in tiles
    )


def _drawings(records: Sequence[Record], *, facts: StudyFacts, rows: Sequence[TrialRow]) -> str:
    marks = {row.trial: row.mark for row in rows}
    members = front(records, facts.objectives, limits=facts.limits)
    paper = REFERENCES[_DRAWN_REFERENCE]
    longest = max(
        drawn_width(item) for item in (paper.architecture, *(r.architecture for r in members))
    )
    cards = []
    for record in members:
        accuracy = value(record, OBJECTIVES["accuracy"])
        words = [record.reference or f"trial {record.trial}", marks.get(record.trial, "")]
        title = escape(" · ".join(filter(None, words)))
        figures = f"{record.target_cost.macs / 1e9:.2f} G MACs"
        figures += "" if accuracy is None else f", {accuracy:.2%}"
        cards.append(
            f'<li><button type="button" data-trial="{record.trial}"><b>{title}</b>'
            f"<span>{figures}</span></button>{_strip(record.architecture, longest)}</li>"
        )
    cards.append(
        f'<li class="paper"><span class="title"><b>{paper.name}</b>'
        f"<span>the paper's best, for comparison</span></span>"
        f"{_strip(paper.architecture, longest)}</li>"
    )
    return "".join(cards)


def _strip(architecture: Architecture, longest: float) -> str:
    share = drawn_width(architecture) / longest
    return (
        f'<div style="--share:{share:.4f}">{draw(architecture)}'
        f"<code>{escape(str(architecture))}</code></div>"
    )


def _legend(records: Sequence[Record]) -> str:
    used = {
        mixer: None
        for record in records
        for stage in record.architecture.stages
        for mixer in stage.mixers
    }
    names = dict.fromkeys(("conv", "attention", "mlp")) | used
    return "".join(
        f'<span><i style="background:{mixer_colour(name)}"></i>{escape(name)}</span>'
        for name in names
    )


def _origin(records: Sequence[Record], *, facts: StudyFacts) -> str:
    finished = max((record.finished_at for record in records), default="")
    entries: Mapping[str, str] = {
        "Objectives": ", ".join(f"{item.name} ({item.direction})" for item in facts.objectives),
        "Limits on the target": str(facts.limits),
        "Seed of the study": "" if facts.seed is None else str(facts.seed),
        "Trained by": ", ".join(sorted({f"spach-nas {record.version}" for record in records})),
        "Page written by": f"spach-nas {__version__}",
        "Machine": "; ".join(sorted({record.machine for record in records})),
        "Last evaluation": finished,
    }
    lines = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>"
        for name, words in entries.items()
        if words
    )
    command = (
        f"<dt>Run it again</dt><dd><code>{escape(facts.command)}</code></dd>"
        if facts.command
        else ""
    )
    return f"<dl>{lines}{command}</dl>"


def _asset(name: str) -> str:
    return files("spach_nas.report").joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _json(data: Any) -> str:
    # Without `<` no string can end the script element or open a comment in it.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")
