"""Parts of the page that are no figures, as HTML; everything from the study is escaped."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

from spach_nas.config.objectives import Objective, score_of
from spach_nas.paths import shell_word
from spach_nas.report.answer import answer_html
from spach_nas.report.drawing import common_width, draw, drawn_width
from spach_nas.report.spent import description_list
from spach_nas.report.summary import StudyFacts, conclusion, meaning, summarise
from spach_nas.report.theme import mixer_colour
from spach_nas.report.trials import best_paper, marked, page_names
from spach_nas.space.architecture import Architecture
from spach_nas.study.intervals import record_words
from spach_nas.study.pareto import front
from spach_nas.study.records import Record
from spach_nas.units import format_count
from spach_nas.version import __version__

SELECTION = """\
<div class="selection" id="selection" aria-live="polite" hidden>
<div class="words"><b id="selected-title"></b><span id="selected-figures"></span></div>
<div class="drawing" id="selected-drawing"></div>
<code class="architecture" id="selected-architecture"></code>
<div class="command" id="selected-export"><code id="selected-command"></code>\
<button type="button" class="copy">Copy</button></div>
<p class="note" id="selected-note"></p>
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


def header(records: Sequence[Record], facts: StudyFacts, *, folder: Path) -> str:
    """Name, conclusion, which network to take, and what the numbers mean."""
    summary = summarise(records, facts)
    sentences = meaning(records, facts.objectives)
    ended = "".join(f'<p class="ending">{escape(sentence)}</p>' for sentence in facts.ending)
    return (
        f'<h1>{escape(facts.name)}</h1><p class="conclusion">{escape(conclusion(summary))}</p>'
        f"{ended}{answer_html(records, facts, folder=shell_word(folder))}"
        f'<div class="meaning">{"".join(f"<p>{escape(words)}</p>" for words in sentences)}</div>'
    )


def why_empty(records: Sequence[Record], score: Objective) -> str:
    """Why there is no picture of the front."""
    if not records:
        return "No trial is finished yet."
    if not any(record.state == "complete" for record in records):
        return "Every trial failed; the reasons stand under Failures."
    return f"No trial has a finite {score.name}."


def drawings(records: Sequence[Record], facts: StudyFacts) -> str:
    """The front as drawings, and the best of the paper's models that were trained beside it."""
    members = front(records, facts.objectives, limits=facts.limits)
    if not members:
        return ""
    marks = marked(records, facts.objectives, limits=facts.limits)
    score = score_of(facts.objectives)
    paper = best_paper(records, facts.objectives, but=members)
    rows = [*members, *([paper] if paper is not None else [])]
    shown = [record.architecture for record in rows]
    longest, full_width = max(map(drawn_width, shown)), common_width(shown)
    names = page_names(records)
    cards = []
    for record in rows:
        title = [record.reference or f"trial {record.trial}", *marks.get(record.trial, ())]
        title += ["best paper model"] if record is paper else []
        figures = f"{record_words(record, score)}, {format_count(record.target_cost.macs)} MACs"
        cards.append(
            f"<li{' class=paper' if record is paper else ''}>"
            f'<button type="button" data-trial="{record.trial}">'
            f"<b>{escape(' · '.join(title))}</b><span>{escape(figures)}</span></button>"
            f"{_strip(record.architecture, names[record.arch_id], longest, full_width)}</li>"
        )
    return (
        '<p class="note">Cheapest first. A box is a block, its colour and letter the mixer, its '
        "height the width of the stage (square root). Beneath: resolution, channels, expansion "
        "ratio; shared: the blocks of one mixer in the stage use one mixer function between them."
        f'</p><div class="legend">{_legend(records)}</div>'
        f'<ul class="drawings">{"".join(cards)}</ul>'
    )


def _strip(architecture: Architecture, name: str, longest: float, full_width: int) -> str:
    share = drawn_width(architecture) / longest
    return (
        f'<div style="--share:{share:.4f}">{draw(architecture, full_width=full_width)}'
        f"<code>{escape(name)}</code></div>"
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
