"""Pictures for print: front, hypervolume and drawings, through kaleido and a Chrome here.

The drawings are SVG of our own making; for png and pdf they go through Chrome, too.
"""

import base64
import importlib.util
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from xml.etree import ElementTree

from plotly import graph_objects as go
from plotly import io as plotly_io

from spach_nas.errors import SpachNasError, one_line
from spach_nas.report.hypervolume_figure import hypervolume_figure, reference_words
from spach_nas.report.pareto_data import pareto_data
from spach_nas.report.pareto_figure import pareto_figure
from spach_nas.report.sheet import sheet
from spach_nas.report.summary import StudyFacts
from spach_nas.report.theme import LIGHT, plain
from spach_nas.study.hypervolume import hypervolume_data
from spach_nas.study.records import Record

KINDS = ("png", "svg", "pdf")
NAMES = ("front", "hypervolume", "drawings")
_WIDTH, _HEIGHT = 960, 600
# Pixels of a png for each of the layout's: sharp on paper and on dense screens.
_SCALE = 2
_LONGEST_LINE = 130
_NO_KALEIDO = "pip install 'spach-nas[static]' brings kaleido"
_NO_CHROME = "install Chrome or Chromium (Debian: apt install chromium) or run plotly_get_chrome"
# What a mouse can do on a page and nobody can on paper.
_ON_SCREEN = "; double-click for all"


class _Picture(NamedTuple):
    figure: go.Figure
    width: float
    height: float


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
    pictures = _figures(records, facts)
    drawings = sheet(records, facts)
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


def _figures(records: Sequence[Record], facts: StudyFacts) -> dict[str, _Picture]:
    data = pareto_data(records, facts.objectives, limits=facts.limits)
    if not (data.front or data.others or data.references):
        raise SpachNasError(f"{facts.name}: no complete trial to draw; expected at least one")
    figures = {"front": _titled(pareto_figure(data), facts.name)}
    growth = hypervolume_data(records, facts.objectives, limits=facts.limits, corners=facts.corners)
    if growth is not None:
        figure = hypervolume_figure(growth)
        figures["hypervolume"] = _titled(figure, facts.name, below=reference_words(growth))
    return figures


def _titled(figure: go.Figure, title: str, *, below: str = "") -> _Picture:
    # A picture has no page around it that would name the study.
    lines = [plain(line) for line in textwrap.wrap(below, _LONGEST_LINE)]
    subtitle = {"text": "<br>".join(lines), "font": {"size": 12, "color": LIGHT.muted}}
    text = {"text": plain(title), "font": {"size": 18}, "subtitle": subtitle}
    figure.update_layout(
        title={**text, "x": 0.02, "y": 0.97, "yanchor": "top"},
        margin={"l": 70, "r": 30, "t": 90 + 16 * len(lines), "b": 60},
    )
    for note in figure.layout.annotations:
        note.text = (note.text or "").removesuffix(_ON_SCREEN)
    return _Picture(figure, _WIDTH, _HEIGHT)


def _on_canvas(drawing: str) -> _Picture:
    """A drawing as a figure, since kaleido takes no other picture; it stays sharp at any size."""
    root = ElementTree.fromstring(drawing)
    source = base64.b64encode(drawing.encode()).decode()
    image = {
        "source": f"data:image/svg+xml;base64,{source}",
        **{"xref": "paper", "yref": "paper", "x": 0, "y": 1, "sizex": 1, "sizey": 1},
        "sizing": "stretch",
    }
    layout = go.Layout(
        template="none",
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        xaxis={"visible": False},
        yaxis={"visible": False},
        images=[image],
    )
    return _Picture(go.Figure(layout=layout), *(float(root.get(n, 0)) for n in ("width", "height")))


def _render(pictures: Mapping[str, _Picture], *, kind: str, folder: Path) -> list[Path]:
    """All pictures by one Chrome: each start of it takes longer than the pictures."""
    if importlib.util.find_spec("kaleido") is None:
        raise SpachNasError(f"pictures need the package kaleido: {_NO_KALEIDO}")
    from kaleido.errors import BrowserFailedError

    paths = [folder / f"{name}.{kind}" for name in pictures]
    try:
        plotly_io.write_images(
            [picture.figure for picture in pictures.values()],
            paths,
            width=[picture.width for picture in pictures.values()],
            height=[picture.height for picture in pictures.values()],
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
