"""An architecture as a picture: a strip of blocks, first block left.

One box a block: its colour and letter are the mixer, its height grows with the square root of the
width, so that a stage of four times the channels is twice as high. Under each stage are the
resolution of its feature map, its channels and the expansion ratio of its channel MLP, and its
heads where a mixer has any.
"""

import math
from collections.abc import Iterable
from html import escape

from spach_nas.report.theme import FONT, TIMES, ink_on, mixer_colour, mixer_letter
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.mixers import get_mixer
from spach_nas.space.read_architecture import Source, as_architecture

_BLOCK, _GAP, _STAGE_GAP = 13, 1.5, 20
_STEM = 46
_LINE, _LINES = 11.5, 3
_MARGIN = 1.0
# Width of a stage's labels: `112x112` and `1024 ch x4` at 9.5 px.
_NARROWEST = 52
_TALLEST = 58
_LOWEST = 13
DRAWN_HEIGHT = _TALLEST + 7 + _LINE * _LINES


class Drawing(str):
    """SVG as text, which notebooks show as a picture; `Path.write_text` makes it a file."""

    __slots__ = ()

    def __html__(self) -> str:
        # Templates take it as it is.
        return str(self)

    def _repr_html_(self) -> str:
        # Inside the page, and so in the text colour of a light or a dark notebook.
        return f'<div style="overflow-x:auto">{self}</div>'

    def _repr_svg_(self) -> str:
        return str(self)


def draw(source: Source, *, full_width: int | None = None) -> Drawing:
    """A drawing as SVG, as a file of its own or inside a page.

    Text takes the colour of its surroundings (`currentColor`), for light and dark pages.

    Args:
        source: What to draw: an architecture, a record (its target), the name of a paper's model,
            an architecture file or a bundle.
        full_width: Channels of a stage drawn at full height; wider ones are not drawn higher. Give
            drawings that are shown side by side the same one; None: `common_width` of this one.

    Raises:
        ArchitectureError: It is nothing of that.
    """
    architecture = as_architecture(source)
    full = full_width or common_width([architecture])
    parts = [_stem(architecture, x=_MARGIN, full_width=full)]
    x = _MARGIN + _STEM + _STAGE_GAP
    stages = list(zip(architecture.stages, architecture.resolutions, strict=True))
    for number, (stage, resolution) in enumerate(stages, 1):
        if number > 1:
            parts.append(_halving(x - _STAGE_GAP / 2))
        span = _span(stage)
        parts.append(_stage(stage, number=number, x=x, span=span, full_width=full))
        parts.append(_labels(stage, resolution=resolution, middle=x + span / 2))
        x += span + _STAGE_GAP
    wide = drawn_width(architecture)
    return Drawing(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {DRAWN_HEIGHT:g}" '
        f'width="{wide:g}" height="{DRAWN_HEIGHT:g}" role="img" font-family="{escape(FONT)}" '
        f'font-size="9.5" text-anchor="middle" fill="currentColor">'
        f"<title>{escape(describe(architecture))}</title>"
        f"<desc>{escape(_details(architecture))}</desc>{''.join(parts)}</svg>"
    )


def common_width(architectures: Iterable[Architecture]) -> int:
    """Channels at full height that suit all of these: the next power of four, at least 64.

    In such steps, nearly all networks of one search space share it.
    """
    widest = max((stage.width for item in architectures for stage in item.stages), default=1)
    full = 64
    while full < widest:
        full *= 4
    return full


def drawn_width(architecture: Architecture) -> float:
    """Width of the drawing in px."""
    spans = [_STEM, *(_span(stage) for stage in architecture.stages)]
    return 2 * _MARGIN + sum(spans) + _STAGE_GAP * (len(spans) - 1)


def describe(architecture: Architecture) -> str:
    """The drawing in a line, for those who do not see it."""
    height, width = architecture.image_size
    return f"{architecture}, stem {architecture.stem}, {height}{TIMES}{width} px"


def _details(architecture: Architecture) -> str:
    lines = [f"Stem {architecture.stem}, patch size {architecture.patch_size}."]
    stages = zip(architecture.stages, architecture.resolutions, strict=True)
    for number, (stage, (height, width)) in enumerate(stages, 1):
        runs = ", ".join(f"{count} {name}" for name, count in stage.runs)
        heads = f", {stage.heads} heads" if _has_heads(stage) else ""
        options = "".join(f", {name} {value}" for name, value in stage.options)
        lines.append(
            f"Stage {number}: {height}{TIMES}{width} positions, {stage.width} channels, expansion "
            f"ratio {stage.expansion_ratio:g}{heads}{options}; blocks: {runs}."
        )
    return " ".join([*lines, f"{architecture.num_classes} classes."])


def _has_heads(stage: Stage) -> bool:
    return any("heads" in get_mixer(name).parameters for name in stage.mixers)


def _span(stage: Stage) -> float:
    return max(_NARROWEST, stage.depth * (_BLOCK + _GAP) - _GAP)


def _height(width: int, full_width: int) -> float:
    share = math.sqrt(min(1.0, width / full_width))
    return max(float(_LOWEST), round(_TALLEST * share, 1))


def _stem(architecture: Architecture, *, x: float, full_width: int) -> str:
    high = _height(architecture.stages[0].width, full_width)
    height, width = architecture.image_size
    middle, top = x + _STEM / 2, (_TALLEST - high) / 2
    # `conv4`, the deep stem, is drawn as the stack of convolutions that it is.
    boxes = 4 if architecture.stem == "conv4" else 1
    wide = 5.0 if boxes > 1 else 9.0
    left = middle - (boxes * (wide + _GAP) - _GAP) / 2
    rects = "".join(
        f'<rect x="{left + i * (wide + _GAP):g}" y="{top:g}" width="{wide:g}" height="{high:g}" '
        'rx="1.5" fill="none" stroke="currentColor" stroke-opacity=".6"/>'
        for i in range(boxes)
    )
    words = (f"{height}{TIMES}{width}", architecture.stem, f"patch {architecture.patch_size}")
    return (
        f"<g><title>stem {architecture.stem}, patch {architecture.patch_size}</title>{rects}"
        f"{_lines(middle, words)}</g>"
    )


def _stage(stage: Stage, *, number: int, x: float, span: float, full_width: int) -> str:
    high = _height(stage.width, full_width)
    top = (_TALLEST - high) / 2
    left = x + (span - (stage.depth * (_BLOCK + _GAP) - _GAP)) / 2
    blocks = []
    for i, name in enumerate(stage.mixers):
        colour, at = mixer_colour(name), left + i * (_BLOCK + _GAP)
        blocks.append(
            f"<g><title>stage {number}, block {i + 1}: {escape(name)}</title>"
            f'<rect x="{at:g}" y="{top:g}" width="{_BLOCK}" height="{high:g}" rx="2" '
            f'fill="{colour}"/><text x="{at + _BLOCK / 2:g}" y="{_TALLEST / 2 + 3:g}" '
            f'fill="{ink_on(colour)}">{escape(mixer_letter(name))}</text></g>'
        )
    return "".join(blocks)


def _halving(x: float) -> str:
    middle = _TALLEST / 2
    return (
        f'<path d="M{x - 3:g} {middle - 5:g}l5 5l-5 5" fill="none" stroke="currentColor" '
        'stroke-opacity=".6" stroke-width="1.3"><title>resolution halved</title></path>'
    )


def _labels(stage: Stage, *, resolution: tuple[int, int], middle: float) -> str:
    shared = " shared" if stage.shared else ""
    heads = f"{stage.heads} {'head' if stage.heads == 1 else 'heads'}"
    words = (
        f"{resolution[0]}{TIMES}{resolution[1]}{shared}",
        f"{stage.width} ch {TIMES}{stage.expansion_ratio:g}",
        heads if _has_heads(stage) else "",
    )
    return _lines(middle, words)


def _lines(x: float, words: Iterable[str]) -> str:
    return "".join(
        f'<text x="{x:g}" y="{_TALLEST + 2 + _LINE * line:g}" opacity=".8">{escape(text)}</text>'
        for line, text in enumerate(words, 1)
        if text
    )
