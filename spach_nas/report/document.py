"""A page as one HTML file: sections, data, styles and scripts, and a policy that fetches nothing.

    text = document(name="a study", header="<h1>...</h1>", sections=[...], data={...},
                    scripts=("figures.js", "page.js"))
    write_page(folder / "report.html", text)

`figures.js` draws every figure of the sections and follows dark screens, phones and paper. It
serves alone where a page has nothing of its own to do; a script of a page stands after it and calls
`Figures` (see the head of `figures.js`). Scripts are inlined and allowed by their hashes alone.
"""

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Literal

from plotly.offline import get_plotlyjs

from spach_nas.report.sections import Section, contents_html, figures_data, section_html
from spach_nas.report.theme import DARK, FONT, LIGHT, MONOSPACE, css_variables

PLOTLY_FILE = "plotly.min.js"
# `embed`: plotly's script, 4.8 MB, is part of the page; `beside`: a file next to it.
PlotlyPlace = Literal["embed", "beside"]


def document(
    *,
    name: str,
    header: str,
    sections: Sequence[Section],
    data: Mapping[str, Any] | None = None,
    scripts: Sequence[str] = ("figures.js",),
    styles: Sequence[str] = ("page.css",),
    plotly: PlotlyPlace = "embed",
) -> str:
    """The page as text.

    Args:
        name: Title of the window, plain text.
        header: HTML above the sections.
        sections: In the order of reading; their figures are added to the data.
        data: What the scripts read from the element `data`, ready for JSON.
        scripts: Files of this package, in their order.
        styles: Style sheets of this package, in their order.
        plotly: Where plotly's script is; `beside` needs `write_plotly` once for the folder.
    """
    texts = [_asset(script) for script in scripts]
    content = {"inks": {"light": asdict(LIGHT), "dark": asdict(DARK)}} | dict(data or {})
    content.setdefault("figures", figures_data(sections))
    style = css_variables() + "\n".join(map(_asset, styles))
    return Template(_asset("page.html")).substitute(
        policy=_policy(texts, plotly=plotly, webgl=_has_webgl(content["figures"])),
        name=escape(name),
        style=style.replace("$FONT", FONT).replace("$MONOSPACE", MONOSPACE),
        header=header,
        contents=contents_html(sections),
        sections="\n".join(section_html(section) for section in sections),
        data=to_json(content).replace("<", "\\u003c"),
        plotly=f"<script>{get_plotlyjs()}</script>"
        if plotly == "embed"
        else f'<script src="{PLOTLY_FILE}"></script>',
        scripts="\n".join(f"<script>{text}</script>" for text in texts),
    )


def write_page(path: Path, text: str) -> Path:
    """Write whole or not at all; an older page is replaced in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_plotly(folder: Path) -> Path:
    """Put plotly's script into a folder, unless the same one is there."""
    path, text = folder / PLOTLY_FILE, get_plotlyjs()
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return path
    return write_page(path, text)


def to_json(data: Any) -> str:
    """Compact JSON; a number that is not finite is a mistake of ours."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def _has_webgl(figures: Mapping[str, Mapping[str, Any]]) -> bool:
    kinds = (figure for views in figures.values() for figure in views.values())
    return any(trace.get("type") == "parcoords" for figure in kinds for trace in figure["data"])


def _policy(scripts: Sequence[str], *, plotly: PlotlyPlace, webgl: bool) -> str:
    # Only these scripts may run, and nothing may be fetched, whatever a name contains.
    embedded = [get_plotlyjs()] if plotly == "embed" else []
    allowed = [_hash(text) for text in (*embedded, *scripts)]
    # A file opened from a disk has no origin that 'self' would name in every browser.
    allowed += ["'self'", "file:"] if plotly == "beside" else []
    # Plotly builds what draws its lines at run time, from its own text; still no other script runs.
    allowed += ["'unsafe-eval'"] if webgl else []
    return (
        f"default-src 'none'; script-src {' '.join(allowed)}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return files("spach_nas.report").joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
