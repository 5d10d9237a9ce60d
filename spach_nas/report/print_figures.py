"""Pictures for print: front, hypervolume and drawings, through kaleido and a local Chrome.

The drawings are SVG of our own making; for png and pdf they go through Chrome, too.
"""

import base64
import importlib.util
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from plotly import graph_objects as go
from plotly import io as plotly_io

from spach_nas.errors import SpachNasError, one_line
from spach_nas.report.drawing import DRAWN_HEIGHT, Drawing, common_width, draw, drawn_width
from spach_nas.report.front_figure import pareto_data, pareto_figure, study_axes
from spach_nas.report.growth import box_words, hypervolume_figure
from spach_nas.report.terminal import spread_rows
from spach_nas.report.theme import FONT, LIGHT, MIXER_COLOURS, mixer_colour, mixer_letter, plain
from spach_nas.report.view import StudyFacts, StudyView, record_name, study_view
from spach_nas.study.intervals import record_words
from spach_nas.study.records import Record
from spach_nas.units import format_count

KINDS = ("png", "svg", "pdf")
NAMES = ("front", "hypervolume", "drawings")
_WIDTH, _HEIGHT = 960, 600
# Pixels of a png for each of the layout's: sharp on paper and on dense screens.
_SCALE = 2
_LONGEST_LINE = 130
_NO_KALEIDO = "pip install 'spach-nas[static]' brings kaleido"
_NO_CHROME = "install Chrome or Chromium (Debian: apt install chromium) or run plotly_get_chrome"
# Words of a page that mean nothing on paper.
_ON_SCREEN = "; double-click for all"
# The sheet of drawings, in px.
_MOST = 12
_ENLARGED = 1.25
_MARGIN, _HEAD, _CAPTION, _GAP = 28, 76, 24, 16
_ROW = _CAPTION + DRAWN_HEIGHT * _ENLARGED + _GAP
_NARROWEST = 640
_LETTER = 7.0  # a character of a caption at 13 px, generously


def write_pictures(
    folder: Path, *, kind: str, records: Sequence[Record], facts: StudyFacts
) -> tuple[Path, ...]:
    """Write `front`, `hypervolume` and `drawings`, each whole or not at all.

    Args:
        folder: Where to.
        kind: One of `KINDS`.
        records: Of one study.
        facts: What the records do not say.

    Returns:
        The pictures; without `hypervolume` where no trial spans a box.

    Raises:
        SpachNasError: Another kind, no complete trial, or kaleido or Chrome is missing; then
            `drawings.svg` is all that is written.
    """
    if kind not in KINDS:
        raise SpachNasError(f"pictures: {kind!r}; expected png, svg or pdf")
    view = study_view(records, facts)
    pictures = _figures(view)
    drawings = sheet(view)
    if kind != "svg":
        pictures["drawings"] = _on_canvas(drawings)
    with TemporaryDirectory(dir=folder, prefix=".pictures-") as temporary:
        drawn = Path(temporary) / "drawings.svg"
        drawn.write_text(drawings, encoding="utf-8")
        try:
            paths = _render(pictures, kind=kind, folder=Path(temporary))
        except SpachNasError as problem:
            kept = drawn.replace(folder / drawn.name)
            raise SpachNasError(f"{problem}; {kept} needs none and is written") from None
        paths += [drawn] if kind == "svg" else []
        return tuple(path.replace(folder / path.name) for path in paths)


def _figures(view: StudyView) -> dict[str, go.Figure]:
    first, *_ = study_axes(view.trained, view.objectives).values()
    data = pareto_data(view, first)
    if not (data.front or data.others or data.references):
        raise SpachNasError(f"{view.facts.name}: no complete trial to draw; expected at least one")
    figures = {"front": _titled(pareto_figure(data), view.facts.name)}
    if view.growth is not None:
        below = box_words(view.growth, fixed=view.growth.fixed)
        growth = hypervolume_figure(view.growth)
        figures["hypervolume"] = _titled(growth, view.facts.name, below=below)
    return figures


def _titled(figure: go.Figure, title: str, *, below: str = "") -> go.Figure:
    # A picture has no page around it that would name the study.
    lines = [plain(line) for line in textwrap.wrap(below, _LONGEST_LINE)]
    subtitle = {"text": "<br>".join(lines), "font": {"size": 12, "color": LIGHT.muted}}
    text = {"text": plain(title), "font": {"size": 18}, "subtitle": subtitle}
    for note in figure.layout.annotations:
        note.text = (note.text or "").removesuffix(_ON_SCREEN)
    return figure.update_layout(
        width=_WIDTH,
        height=_HEIGHT,
        title={**text, "x": 0.02, "y": 0.97, "yanchor": "top"},
        margin={"l": 70, "r": 30, "t": 90 + 16 * len(lines), "b": 60},
    )


def _on_canvas(drawing: str) -> go.Figure:
    """A drawing as a figure, since kaleido takes no other picture; it stays sharp at any size."""
    root = ElementTree.fromstring(drawing)
    source = base64.b64encode(drawing.encode()).decode()
    places = {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "sizex": 1, "sizey": 1}
    image = {"source": f"data:image/svg+xml;base64,{source}", "sizing": "stretch", **places}
    return go.Figure(
        layout=go.Layout(
            template="none",
            width=float(root.get("width", 0)),
            height=float(root.get("height", 0)),
            margin={"l": 0, "r": 0, "t": 0, "b": 0},
            xaxis={"visible": False},
            yaxis={"visible": False},
            images=[image],
        )
    )


def _render(figures: Mapping[str, go.Figure], *, kind: str, folder: Path) -> list[Path]:
    """All pictures by one Chrome: each start of it takes longer than the pictures."""
    if importlib.util.find_spec("kaleido") is None:
        raise SpachNasError(f"pictures need the package kaleido: {_NO_KALEIDO}")
    from kaleido.errors import BrowserFailedError

    paths = [folder / f"{name}.{kind}" for name in figures]
    try:
        plotly_io.write_images(
            list(figures.values()),
            paths,
            width=[figure.layout.width for figure in figures.values()],
            height=[figure.layout.height for figure in figures.values()],
            scale=_SCALE if kind == "png" else 1,
        )
    except (RuntimeError, BrowserFailedError) as problem:
        why = one_line(problem, first=True)
        raise SpachNasError(f"pictures need a browser: {_NO_CHROME} ({why})") from None
    # kaleido keeps the mistakes of a single picture to itself.
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise SpachNasError(f"Chrome made no {', '.join(missing)}; run the command again")
    return paths


def sheet(view: StudyView) -> Drawing:
    """The members of a front, cheapest first, and the best trained paper model beneath them.

    All at the same scale on white paper. Of a long front the ends, best and knee are shown, and
    others evenly between them.
    """
    members = view.front
    long = len(members) > _MOST
    chosen = spread_rows(members, rows=_MOST, kept=view.marks) if long else list(members)
    shown = [*chosen, *([view.best_paper] if view.best_paper is not None else [])]
    drawn = [record.architecture for record in shown]
    captions = [_caption(view, record) for record in shown]
    letters = max((len(" ".join(words)) + 3 for words in captions), default=0)
    strips = _ENLARGED * max(map(drawn_width, drawn), default=0.0)
    wide = 2 * _MARGIN + max(_NARROWEST, _LETTER * letters, strips)
    high = _HEAD + len(shown) * _ROW
    of = f"{len(chosen)} of the {len(members)}" if long else "the"
    title = escape(f"{view.facts.name}: {of} architectures on the front")
    used = {name for item in drawn for stage in item.stages for name in stage.mixers}
    legend = (
        f'<tspan dx="14" fill="{mixer_colour(name)}">\N{BLACK SQUARE}</tspan> '
        f"{escape(f'{mixer_letter(name)} {name}')}"
        for name in (*MIXER_COLOURS, *sorted(used - set(MIXER_COLOURS)))
    )
    full = common_width(drawn)
    rows = (
        f'<text x="{_MARGIN}" y="{top + 14:g}"><tspan font-weight="bold">{escape(name)}</tspan>'
        f'<tspan dx="12" fill="{LIGHT.muted}">{escape(words)}</tspan></text>'
        f'<g transform="translate({_MARGIN} {top + _CAPTION:g}) scale({_ENLARGED})">'
        f"{draw(record.architecture, full_width=full)}</g>"
        for top, (name, words), record in zip(
            (_HEAD + number * _ROW for number in range(len(shown))), captions, shown, strict=True
        )
    )
    return Drawing(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" '
        f'width="{wide:g}" height="{high:g}" font-family="{escape(FONT)}" font-size="13" '
        f'fill="{LIGHT.text}" color="{LIGHT.text}"><title>{title}</title>'
        f'<rect width="{wide:g}" height="{high:g}" fill="{LIGHT.surface}"/>'
        f'<text x="{_MARGIN}" y="34" font-size="18">{title}</text>'
        f'<text x="{_MARGIN - 14}" y="57" fill="{LIGHT.muted}">{"".join(legend)}</text>'
        f"{''.join(rows)}</svg>"
    )


def _caption(view: StudyView, record: Record) -> tuple[str, str]:
    cost = record.target_cost
    figures = [f"{format_count(cost.macs)} MACs", f"{format_count(cost.params)} params"]
    figures.append(f"{view.score.name} {record_words(record, view.score)}")
    return ", ".join([record_name(record), *view.marks.get(record.trial, ())]), ", ".join(figures)
