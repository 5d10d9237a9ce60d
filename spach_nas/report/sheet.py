"""Drawings of a front on one sheet of white paper, one under the other at the same scale."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from spach_nas.config.objectives import Objective, score_of
from spach_nas.report.drawing import DRAWN_HEIGHT, Drawing, common_width, draw, drawn_width
from spach_nas.report.front_rows import spread
from spach_nas.report.summary import StudyFacts
from spach_nas.report.theme import FONT, LIGHT, MIXER_COLOURS, mixer_colour, mixer_letter
from spach_nas.report.trials import best_paper, marked
from spach_nas.space.architecture import Architecture
from spach_nas.study.intervals import record_words
from spach_nas.study.pareto import front
from spach_nas.study.records import Record
from spach_nas.units import format_count

_MOST = 12
_SCALE = 1.25
_MARGIN, _HEAD, _CAPTION, _GAP = 28, 76, 24, 16
_ROW = _CAPTION + DRAWN_HEIGHT * _SCALE + _GAP
_NARROWEST = 640
_LETTER = 7.0  # a character of a caption at 13 px, generously


def sheet(records: Sequence[Record], facts: StudyFacts) -> Drawing:
    """The members of a front, cheapest first, and the best trained paper model beneath them.

    Of a long front the ends, best and knee are shown, and others evenly between them.
    """
    members = front(records, facts.objectives, limits=facts.limits)
    marks = marked(records, facts.objectives, limits=facts.limits)
    chosen = spread(members, rows=_MOST, kept=marks) if len(members) > _MOST else members
    paper = best_paper(records, facts.objectives, but=members)
    shown = [*chosen, *([paper] if paper is not None else [])]
    score = score_of(facts.objectives)
    rows = [(*_words(record, marks, score), record.architecture) for record in shown]
    drawn = [architecture for _, _, architecture in rows]
    captions = max((_LETTER * len(f"{name}   {words}") for name, words, _ in rows), default=0.0)
    strips = _SCALE * max(map(drawn_width, drawn), default=0.0)
    wide = 2 * _MARGIN + max(_NARROWEST, captions, strips)
    high = _HEAD + len(rows) * _ROW
    title = f"{facts.name}: {_count(len(chosen), len(members))}"
    parts = [_head(title, drawn)]
    full = common_width(drawn)
    for number, (name, words, architecture) in enumerate(rows):
        top = _HEAD + number * _ROW
        parts.append(_caption(name, words, y=top + 14))
        strip = draw(architecture, full_width=full)
        place = f"translate({_MARGIN} {top + _CAPTION:g}) scale({_SCALE})"
        parts.append(f'<g transform="{place}">{strip}</g>')
    return Drawing(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" '
        f'width="{wide:g}" height="{high:g}" font-family="{escape(FONT)}" font-size="13" '
        f'fill="{LIGHT.text}" color="{LIGHT.text}"><title>{escape(title)}</title>'
        f'<rect width="{wide:g}" height="{high:g}" fill="{LIGHT.surface}"/>{"".join(parts)}</svg>'
    )


def _words(record: Record, marks: Mapping[int, Sequence[str]], score: Objective) -> tuple[str, str]:
    cost = record.target_cost
    name = record.reference or f"trial {record.trial}"
    figures = [f"{format_count(cost.macs)} MACs", f"{format_count(cost.params)} params"]
    figures.append(f"{score.name} {record_words(record, score)}")
    return ", ".join([name, *marks.get(record.trial, ())]), ", ".join(figures)


def _count(shown: int, members: int) -> str:
    if shown < members:
        return f"{shown} of the {members} architectures on the front"
    return "the architectures on the front"


def _head(title: str, drawn: Sequence[Architecture]) -> str:
    shown = f'<text x="{_MARGIN}" y="34" font-size="18">{escape(title)}</text>'
    return shown + "".join(_legend(drawn))


def _legend(drawn: Sequence[Architecture]) -> Iterator[str]:
    x = float(_MARGIN)
    used = {name for item in drawn for stage in item.stages for name in stage.mixers}
    for name in (*MIXER_COLOURS, *sorted(used - set(MIXER_COLOURS))):
        words = f"{mixer_letter(name)}  {name}"
        yield (
            f'<rect x="{x:g}" y="46" width="12" height="12" rx="2" fill="{mixer_colour(name)}"/>'
            f'<text x="{x + 18:g}" y="56.5" fill="{LIGHT.muted}">{escape(words)}</text>'
        )
        x += 18 + _LETTER * len(words) + 22


def _caption(name: str, words: str, *, y: float) -> str:
    return (
        f'<text x="{_MARGIN}" y="{y:g}"><tspan font-weight="bold">{escape(name)}</tspan>'
        f'<tspan dx="12" fill="{LIGHT.muted}">{escape(words)}</tspan></text>'
    )
