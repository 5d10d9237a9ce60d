"""One look for every figure: colours, inks for light and dark pages, and plotly's template.

The hues are those of Okabe & Ito 2008, "Color Universal Design", which people with any common
colour blindness can tell apart.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING

from spach_nas.space.mixers import get_mixer, mixer_names

if TYPE_CHECKING:
    from plotly import graph_objects as go

BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
SKY, VERMILLION, PURPLE, YELLOW = "#56B4E9", "#D55E00", "#CC79A7", "#F0E442"

MIXER_COLOURS = {"conv": BLUE, "attention": ORANGE, "mlp": GREEN}
_OTHERS = (PURPLE, SKY, YELLOW, VERMILLION)
_ANY_LETTER = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
# What is written on a hue: white reads on these, near-black on the others.
_DARK_HUES = frozenset({BLUE, VERMILLION})

TIMES = "\N{MULTIPLICATION SIGN}"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
MONOSPACE = "ui-monospace, 'Cascadia Mono', Menlo, 'DejaVu Sans Mono', monospace"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inks:
    """Colours that depend on the page being light or dark; all of one set differ.

    Attributes:
        text: Words and the front.
        muted: Less important words, and axes.
        faded: Dominated points.
        grid: Grid lines and borders.
        surface: Background of a figure.
        page: Background of the page.
        accent: Links, the selection and buttons.
    """

    text: str
    muted: str
    faded: str
    grid: str
    surface: str
    page: str
    accent: str


LIGHT = Inks(
    text="#1a1f26",
    muted="#57606a",
    faded="#a3adb8",
    grid="#e3e7ec",
    surface="#ffffff",
    page="#f5f7f9",
    accent="#005f94",
)
DARK = Inks(
    text="#e7eaee",
    muted="#9ba6b2",
    faded="#5d6875",
    grid="#2b323a",
    surface="#171b20",
    page="#0e1114",
    accent="#6cc0f0",
)


def mixer_colour(name: str) -> str:
    """The hue of a mixer; mixers of the user's take the remaining hues in the order of names."""
    if name in MIXER_COLOURS:
        return MIXER_COLOURS[name]
    others = _others()
    return _OTHERS[others.index(name) % len(_OTHERS)] if name in others else PURPLE


def mixer_letter(name: str) -> str:
    """A character of its own for each mixer, from its short name as long as one is free there."""
    names = (*MIXER_COLOURS, *_others())
    return _letters(tuple((known, get_mixer(known).short) for known in names)).get(name, "?")


@lru_cache(maxsize=8)
def _letters(names: tuple[tuple[str, str], ...]) -> dict[str, str]:
    letters: dict[str, str] = {}
    for known, short in names:
        fitting = filter(str.isalnum, short + short.upper() + _ANY_LETTER)
        letters[known] = next((one for one in fitting if one not in letters.values()), "?")
    return letters


def _others() -> list[str]:
    # Sorted, so that it does not matter which plugin was loaded first.
    return sorted(known for known in mixer_names() if known not in MIXER_COLOURS)


def mixer_order(name: str) -> tuple[int, str]:
    """Key by which mixers are sorted: the paper's first, then the others by name."""
    known = list(MIXER_COLOURS)
    return (known.index(name) if name in known else len(known), name)


def ink_on(colour: str) -> str:
    """Near-black or near-white, whichever reads better on a hue of this palette.

    Neither is one of the inks, so that a dark page leaves it as it is.
    """
    return "#fdfdfd" if colour in _DARK_HUES else "#15181c"


def plain(text: object) -> str:
    """Text for a plotly label, where `<` would start a tag."""
    return escape(str(text))


def css_variables() -> str:
    """The inks as CSS custom properties; dark where the reader's system asks for it."""
    light, dark = (
        "".join(f"--{name}:{colour};" for name, colour in asdict(inks).items())
        for inks in (LIGHT, DARK)
    )
    hues = "".join(f"--{name}:{colour};" for name, colour in MIXER_COLOURS.items())
    return (
        f":root{{color-scheme:light;{light}{hues}--star:{VERMILLION};"
        f"--font:{FONT};--monospace:{MONOSPACE};}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}"
    )


def layout() -> "go.Layout":
    """What all figures share, in the light inks; the page swaps them on a dark screen."""
    from plotly import graph_objects as go

    axis = {
        "gridcolor": LIGHT.grid,
        "linecolor": LIGHT.muted,
        "tickcolor": LIGHT.muted,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "showline": True,
        "automargin": True,
        "title": {"standoff": 10, "font": {"size": 13, "color": LIGHT.muted}},
        "tickfont": {"size": 12, "color": LIGHT.muted},
    }
    return go.Layout(
        template="none",
        font={"family": FONT, "size": 13, "color": LIGHT.text},
        paper_bgcolor=LIGHT.surface,
        plot_bgcolor=LIGHT.surface,
        margin={"l": 56, "r": 20, "t": 44, "b": 52},
        hoverlabel={
            "bgcolor": LIGHT.surface,
            "bordercolor": LIGHT.muted,
            "align": "left",
            "font": {"family": FONT, "size": 13, "color": LIGHT.text},
        },
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left"},
        hovermode="closest",
        xaxis=axis,
        yaxis=axis,
    )
