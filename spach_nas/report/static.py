"""Pictures for print, through kaleido and a Chrome on this machine."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from plotly import graph_objects as go

from spach_nas.errors import SpachNasError
from spach_nas.limits import Limits
from spach_nas.objectives import Objective
from spach_nas.records import Record
from spach_nas.report.pareto_data import pareto_data
from spach_nas.report.pareto_figure import pareto_figure
from spach_nas.report.theme import plain

FORMATS = ("png", "svg", "pdf")
_WIDTH, _HEIGHT = 960, 600
# Pixels of a png for each of the layout's: sharp on paper and on dense screens.
_SCALE = 2


def static_front(
    records: Sequence[Record],
    path: Path,
    *,
    objectives: Sequence[Objective],
    limits: Limits | None = None,
    title: str = "",
) -> Path:
    """The front as a picture; the ending of `path` says which kind.

    Raises:
        SpachNasError: Another ending than png, svg or pdf, no complete trial, or kaleido or Chrome
            is missing.
    """
    if path.suffix[1:] not in FORMATS:
        raise SpachNasError(f"{path}: ending {path.suffix!r}; expected .png, .svg or .pdf")
    data = pareto_data(records, objectives, limits=limits)
    if not (data.front or data.others or data.references):
        raise SpachNasError(f"{path}: no complete trial to draw; expected at least one")
    figure = pareto_figure(data)
    # A picture has no page around it that would name the study.
    figure.update_layout(margin={"l": 70, "r": 30, "t": 90 if title else 60, "b": 60})
    figure.update_layout(title={"text": plain(title), "x": 0.02, "font": {"size": 18}})
    return _write(path, _render(figure, kind=path.suffix[1:]))


def _render(figure: go.Figure, *, kind: str) -> bytes:
    if importlib.util.find_spec("kaleido") is None:
        raise SpachNasError("pictures need the package kaleido; install it: pip install kaleido")
    from kaleido.errors import BrowserFailedError

    scale = _SCALE if kind == "png" else 1
    try:
        picture: bytes = figure.to_image(format=kind, width=_WIDTH, height=_HEIGHT, scale=scale)
    except (RuntimeError, BrowserFailedError) as problem:
        first = next(iter(str(problem).strip().splitlines()), type(problem).__name__)
        raise SpachNasError(
            "pictures need Chrome or Chromium; install one (Debian: apt install chromium) or run "
            f"plotly_get_chrome; report.html needs none ({first})"
        ) from None
    return picture


def _write(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
