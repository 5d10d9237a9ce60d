"""A page as one HTML file: sections, data, styles and scripts, and a policy that fetches nothing.

A page is a list of `Section`s in the order of reading (for a study: `SECTIONS` in `page.py`). To
add a figure, write a function from the `StudyView` to a section and name it in that list:

    Section(id="depths", title="Depths", note="...", figure=depths_figure(data))

A figure with several variants is a mapping from the words of a switch to figures. Figures are made
in the light inks and with the layout of `theme.py`; `figures.js` repaints them for dark screens,
phones and paper. Strings in a figure pass `theme.plain`. Other content is a template, which escapes
every string. Scripts are inlined and allowed only by their hashes.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly import graph_objects as go
from plotly.offline import get_plotlyjs

from spach_nas.report.theme import DARK, LIGHT, css_variables, mixer_colour
from spach_nas.report.view import record_name
from spach_nas.units import format_count, format_duration

_FOLDER = "templates"
_EMPTY = Markup()


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One section of a page.

    Attributes:
        id: Of its element, letters and hyphens; unique on the page.
        title: Plain text, like `note` and `missing` unless they are rendered.
        note: Under the figure.
        figure: One, or several by the words of their switch; None where there is nothing to draw.
        missing: In place of the figure; without it and a body the section is hidden.
        size: Height of the figure: usual, tall, or free, which is that of its layout.
        trials: Whether the figure's `customdata` are numbers of trials: a click selects the trial.
        controls: Next to the title, rendered.
        body: Under the note, rendered.
    """

    id: str
    title: str
    note: str = ""
    figure: go.Figure | Mapping[str, go.Figure] | None = None
    missing: str = ""
    size: Literal["", "tall", "free"] = ""
    trials: bool = False
    controls: Markup = _EMPTY
    body: Markup = _EMPTY

    @property
    def figures(self) -> dict[str, go.Figure]:
        """By the words of the switch; a single one has none."""
        if self.figure is None:
            return {}
        return {"": self.figure} if isinstance(self.figure, go.Figure) else dict(self.figure)

    @property
    def hidden(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.figures or self.body or self.missing)


def render(template: str, macro: str, /, *arguments: Any) -> Markup:
    """A part of a page: a macro of a template, with every string escaped that is not markup."""
    part = getattr(_templates().get_template(template).module, macro)
    return Markup(str(part(*arguments)).strip())


def sentences(template: str, macro: str, /, *arguments: Any) -> Markup:
    """Prose of a page: a macro as `render` fills it, on one line."""
    return Markup(" ".join(render(template, macro, *arguments).split()))


def counted(number: int, noun: str) -> str:
    """`1 trial`, `1,200 trials`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def document(
    *,
    name: str,
    header: Markup,
    sections: Sequence[Section],
    data: Mapping[str, Any] | None = None,
    scripts: Sequence[str] = ("figures.js",),
) -> str:
    """The page as text.

    Args:
        name: Title of the window, plain text.
        header: Above the sections.
        sections: In the order of reading; their figures are added to the data.
        data: What the scripts read from the element `data`, ready for JSON.
        scripts: Files of this package, in their order.
    """
    texts = [get_plotlyjs(), *map(_asset, scripts)]
    figures = {
        section.id: {
            # Through plotly's own JSON: arrays become plain, what is not finite becomes null.
            words: json.loads(figure.to_json())
            for words, figure in section.figures.items()
        }
        for section in sections
        if section.figures
    }
    content = {"inks": {"light": asdict(LIGHT), "dark": asdict(DARK)}, "figures": figures}
    return (
        _templates()
        .get_template("page.html")
        .render(
            policy=_policy(texts),
            name=name,
            style=Markup(f"{css_variables()}\n{_asset('page.css')}"),
            header=header,
            sections=sections,
            data=Markup(_to_json({**content, **(data or {})})),
            scripts=[Markup(text) for text in texts],
        )
    )


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("spach_nas.report", _FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        colour=mixer_colour,
        counted=counted,
        duration=format_duration,
        metric=format_count,
        name=record_name,
    )
    return environment


def _to_json(data: Any) -> str:
    # A number that is not finite is a mistake of ours, and `<` could end the element.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _policy(scripts: Sequence[str]) -> str:
    # Only these scripts may run, and nothing may be fetched, whatever a name contains.
    digests = (hashlib.sha256(text.encode()).digest() for text in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return (files("spach_nas.report") / _FOLDER / name).read_text(encoding="utf-8")
