"""Parts of the page that are no figures, as HTML; everything from the study is escaped."""

from collections import Counter
from collections.abc import Sequence
from html import escape

from spach_nas.architecture import Architecture
from spach_nas.objectives import OBJECTIVES, Objective
from spach_nas.pareto import front, value
from spach_nas.records import Record
from spach_nas.references import REFERENCES
from spach_nas.report.drawing import common_width, draw, drawn_width
from spach_nas.report.spent import description_list
from spach_nas.report.summary import StudyFacts, Summary, conclusion, meaning, summarise
from spach_nas.report.theme import mixer_colour
from spach_nas.report.trials import marked
from spach_nas.units import format_count, format_duration
from spach_nas.version import __version__

# The paper's best model, drawn beside the front for comparison.
_DRAWN_REFERENCE = "hybrid_ms_s_plus"
FRONT_CONTROLS = """\
<label class="check" id="beyond-label" hidden>\
<input type="checkbox" id="beyond" checked> over a limit</label>\
<fieldset class="switch" id="scale"><legend>Scale of the horizontal axis</legend>\
<label><input type="radio" name="scale" value="log" checked><span>log</span></label>\
<label><input type="radio" name="scale" value="linear"><span>linear</span></label></fieldset>"""
SELECTION = """\
<div class="selection" id="selection" aria-live="polite" hidden>
<div class="words"><b id="selected-title"></b><span id="selected-figures"></span></div>
<div class="drawing" id="selected-drawing"></div>
<code class="architecture" id="selected-architecture"></code>
<div class="command" id="selected-export"><code id="selected-command"></code>\
<button type="button" id="copy">Copy</button></div>
</div>"""
FILTERS = """\
<div class="filters">
<input type="search" id="filter" placeholder="Filter: attn, best, 17" aria-label="Filter trials">
<select id="kind" aria-label="Which trials"><option value="all">all</option>\
<option value="front">front</option><option value="paper">paper models</option>\
<option value="failed">failed</option></select>
</div>"""
TABLE = """\
<div class="scroll"><table id="table"><thead></thead><tbody></tbody></table></div>
<p class="note"><span id="shown"></span> \
<button type="button" id="more" hidden>Show all</button></p>"""


def header(records: Sequence[Record], facts: StudyFacts) -> str:
    """Name, conclusion, tiles, and what the numbers mean."""
    summary = summarise(records, facts)
    tiles = f'<div class="tiles">{_tiles(summary)}</div>' if records else ""
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in meaning(records))
    ended = "".join(f'<p class="ending">{escape(sentence)}</p>' for sentence in facts.ending)
    return (
        f'<h1>{escape(facts.name)}</h1><p class="conclusion">{escape(conclusion(summary))}</p>'
        f'{ended}{tiles}<div class="meaning">{sentences}</div>'
    )


def _tiles(summary: Summary) -> str:
    best = summary.best
    accuracy = value(best, OBJECTIVES["accuracy"]) if best else None
    tiles = [
        (f"{summary.trials:,}", f"trials, {summary.failed} failed"),
        (f"{summary.front}", "on the front"),
    ]
    if best and accuracy is not None:
        tiles.append((f"{accuracy:.2%}", f"best, at {format_count(best.target_cost.macs)} MACs"))
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


def why_empty(records: Sequence[Record], score: Objective) -> str:
    """Why there is no picture of the front."""
    if not records:
        return "No trial is finished yet."
    if not any(record.state == "complete" for record in records):
        return "Every trial failed; the reasons stand under Failures."
    return f"No trial has a finite {score.name}."


def drawings(records: Sequence[Record], facts: StudyFacts) -> str:
    """The front as drawings beside the paper's best model; nothing without a front."""
    members = front(records, facts.objectives, limits=facts.limits)
    if not members:
        return ""
    marks = marked(records, facts.objectives, limits=facts.limits)
    paper = REFERENCES[_DRAWN_REFERENCE]
    shown = [paper.architecture, *(record.architecture for record in members)]
    longest, full_width = max(map(drawn_width, shown)), common_width(shown)
    cards = []
    for record in members:
        accuracy = value(record, OBJECTIVES["accuracy"])
        words = [record.reference or f"trial {record.trial}", *marks.get(record.trial, ())]
        figures = f"{format_count(record.target_cost.macs)} MACs"
        figures += "" if accuracy is None else f", {accuracy:.2%}"
        cards.append(
            f'<li><button type="button" data-trial="{record.trial}">'
            f"<b>{escape(' · '.join(words))}</b><span>{figures}</span></button>"
            f"{_strip(record.architecture, longest, full_width)}</li>"
        )
    cards.append(
        f'<li class="paper"><span class="title"><b>{paper.name}</b>'
        f"<span>the paper's best, for comparison</span></span>"
        f"{_strip(paper.architecture, longest, full_width)}</li>"
    )
    return (
        '<p class="note">Cheapest first. A box is a block, its colour and letter the mixer, its '
        "height the width of the stage (square root). Beneath: resolution, channels, expansion "
        f'ratio.</p><div class="legend">{_legend(records)}</div>'
        f'<ul class="drawings">{"".join(cards)}</ul>'
    )


def _strip(architecture: Architecture, longest: float, full_width: int) -> str:
    share = drawn_width(architecture) / longest
    return (
        f'<div style="--share:{share:.4f}">{draw(architecture, full_width=full_width)}'
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


def origin(records: Sequence[Record], facts: StudyFacts) -> str:
    """What was run, where and with what, and how to run it again."""
    finished = max((record.finished_at for record in records), default="")
    machines = Counter(record.machine for record in records).most_common()
    entries = {
        "Objectives": ", ".join(f"{item.name} ({item.direction})" for item in facts.objectives),
        "Limits on the target": str(facts.limits),
        "Seed of the study": "" if facts.seed is None else str(facts.seed),
        "Trained by": ", ".join(sorted({f"spach-nas {record.version}" for record in records})),
        "Page written by": f"spach-nas {__version__}",
        "Machine": machines[0][0]
        if len(machines) == 1
        else "; ".join(f"{name} ({count:,} evaluations)" for name, count in machines),
        "Last evaluation": finished,
    }
    command = (
        f"<dl><dt>Run it again</dt><dd><code>{escape(facts.command)}</code></dd></dl>"
        if facts.command
        else ""
    )
    texts = {"Search YAML as run": facts.settings or "not recorded", "Search space": facts.space}
    details = "".join(
        f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>"
        for name, text in texts.items()
        if text
    )
    return f"{description_list(entries)}{command}{details}"
