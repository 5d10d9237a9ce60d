"""The sections of a page: one entry each, in the order of reading.

To add a figure to a page, add one `Section` to its list (for the page of a study: `_sections` in
`page.py`):

    Section(
        id="effects",                        # of the element; `#effects` leads there
        title="What each choice did",
        note="Plain text under the figure.",
        figure=effects_figure(data) if data else None,
        missing="No choice varies.",         # said instead of a figure; "" hides the section
    )

A figure that a reader may see in several ways is a mapping from words to figures; a switch with
these words stands beside the title, the first one is shown at first:

    figure={"trials": by_trials, "training time": by_time}

Figures are made in the light inks and with the layout of `theme.py`; the script of the page paints
them for dark screens, phones and paper. Strings in a figure pass `theme.plain`. Where `customdata`
holds numbers of trials, `trials=True` makes a click select the trial and hovering show its card.

What is no figure is HTML in `body`, made of escaped strings.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from plotly import graph_objects as go


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One section of a page.

    Attributes:
        id: Of its element, letters and hyphens; unique on the page.
        title: Plain text.
        lead: Plain text above the figure: what it says, in a sentence.
        note: Plain text under the figure.
        figure: One, or several by the words of their switch; None where there is nothing to draw.
        missing: Plain text in place of the figure; without it and a body the section is hidden.
        size: Height of the figure: usual, tall, or free, which is that of its layout.
        trials: Whether its `customdata` are numbers of trials.
        controls: HTML beside the title.
        body: HTML under the note.
    """

    id: str
    title: str
    lead: str = ""
    note: str = ""
    figure: go.Figure | Mapping[str, go.Figure] | None = None
    missing: str = ""
    size: Literal["", "tall", "free"] = ""
    trials: bool = False
    controls: str = ""
    body: str = ""

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


def section_html(section: Section) -> str:
    """The section as an element; its figure is drawn by the script."""
    figures = section.figures
    size = f" {section.size}" if section.size else ""
    trials = " data-trials" if section.trials else ""
    missing = "" if figures else section.missing
    name = section.id
    return (
        f'<section id="{name}"{_hidden(section.hidden)}><div class="bar">'
        f"<h2>{escape(section.title)}</h2>"
        f'<div class="controls"><span id="switch-{name}">{switch_html(section)}</span>'
        f'<span id="controls-{name}">{section.controls}</span></div></div>'
        f'<p class="lead" id="lead-{name}"{_hidden(not section.lead)}>{escape(section.lead)}</p>'
        f'<div class="plot{size}" id="plot-{name}"{trials}{_hidden(not figures)}></div>'
        f'<p class="missing" id="missing-{name}"{_hidden(not missing)}>{escape(missing)}</p>'
        f'<p class="note" id="note-{name}"{_hidden(not section.note)}>{escape(section.note)}</p>'
        f'<div id="body-{name}">{section.body}</div></section>'
    )


def switch_html(section: Section) -> str:
    """Radio buttons for the figures of a section; nothing for a single one."""
    names = list(section.figures)
    if len(names) < 2:
        return ""
    labels = "".join(
        f'<label><input type="radio" name="switch-{section.id}" value="{escape(name)}"'
        f"{' checked' if place == 0 else ''}><span>{escape(name)}</span></label>"
        for place, name in enumerate(names)
    )
    return (
        f'<fieldset class="switch"><legend>{escape(section.title)}: show</legend>{labels}'
        "</fieldset>"
    )


def contents_html(sections: Sequence[Section]) -> str:
    """Links to the sections that are shown."""
    links = "".join(
        f'<a href="#{section.id}">{escape(section.title)}</a>'
        for section in sections
        if not section.hidden
    )
    return links


def figures_data(sections: Sequence[Section]) -> dict[str, dict[str, Any]]:
    """What the script draws: by section and words of the switch."""
    return {
        section.id: {
            words: _plain(figure, trials=section.trials)
            for words, figure in section.figures.items()
        }
        for section in sections
        if section.figures
    }


def _hidden(whether: bool) -> str:
    return " hidden" if whether else ""


def _plain(figure: go.Figure, *, trials: bool) -> dict[str, Any]:
    # Through plotly's own JSON: arrays and dates become plain, what is not finite becomes null.
    plain: dict[str, Any] = json.loads(figure.to_json())
    for trace in plain["data"] if trials else ():
        if trace.get("hovertemplate", "").startswith("%{text}"):
            # The page shows a card of its own, made from the row of the trial.
            del trace["text"], trace["hovertemplate"]
            trace["hoverinfo"] = "none"
    return plain
