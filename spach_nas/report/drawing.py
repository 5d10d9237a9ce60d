"""An architecture as a picture: a strip of blocks, first block left.

One box a block: its colour and letter are the mixer, its height grows with the square root of the
width, so that a stage of four times the channels stands twice as high. Under each stage stand the
resolution of its feature map, its channels and the expansion ratio of its channel MLP.
"""

import math
from html import escape

from spach_nas.architecture import Architecture, Stage
from spach_nas.mixers import get_mixer
from spach_nas.report.theme import FONT, TIMES, ink_on, mixer_colour

_BLOCK, _GAP, _STAGE_GAP = 13, 1.5, 20
_STEM = 46
_LABELS = 30
_MARGIN = 1.0
# Width of a stage's labels: `112x112` and `1024 ch x4` at 9.5 px.
_NARROWEST = 52
_TALLEST = 58
_LOWEST = 13
# As high as the widest stage of the paper's models, so that drawings compare at a glance.
_FULL_WIDTH = 1024


def draw(architecture: Architecture, *, full_width: int = _FULL_WIDTH) -> str:
    """A drawing as SVG, which stands alone or inside a page.

    Text takes the colour of its surroundings (`currentColor`), for light and dark pages.

    Args:
        architecture: What to draw.
        full_width: Channels of a stage drawn at full height; wider ones are not drawn higher.
    """
    parts = [_stem(architecture, x=_MARGIN, full_width=full_width)]
    x = _MARGIN + _STEM + _STAGE_GAP
    stages = list(zip(architecture.stages, architecture.resolutions, strict=True))
    for number, (stage, resolution) in enumerate(stages, 1):
        if number > 1:
            parts.append(_halving(x - _STAGE_GAP / 2))
        span = _span(stage)
        parts.append(_stage(stage, number=number, x=x, span=span, full_width=full_width))
        parts.append(_labels(stage, resolution=resolution, middle=x + span / 2))
        x += span + _STAGE_GAP
    wide, high = drawn_width(architecture), _TALLEST + _LABELS
    words = escape(describe(architecture))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high}" width="{wide:g}" '
        f'height="{high}" role="img" aria-label="{words}" font-family="{escape(FONT)}" '
        f'font-size="9.5" text-anchor="middle" fill="currentColor">'
        f"<title>{words}</title>{''.join(parts)}</svg>"
    )


def drawn_width(architecture: Architecture) -> float:
    """Width of the drawing in px."""
    spans = [_STEM, *(_span(stage) for stage in architecture.stages)]
    return 2 * _MARGIN + sum(spans) + _STAGE_GAP * (len(spans) - 1)


def describe(architecture: Architecture) -> str:
    """The drawing in words, for those who do not see it."""
    height, width = architecture.image_size
    return f"{architecture}, stem {architecture.stem}, {height}{TIMES}{width} px"


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
    return (
        f"<g><title>stem {architecture.stem}, patch {architecture.patch_size}</title>{rects}"
        f"{_text(middle, 1, f'{height}{TIMES}{width}')}{_text(middle, 2, architecture.stem)}</g>"
    )


def _stage(stage: Stage, *, number: int, x: float, span: float, full_width: int) -> str:
    high = _height(stage.width, full_width)
    top = (_TALLEST - high) / 2
    left = x + (span - (stage.depth * (_BLOCK + _GAP) - _GAP)) / 2
    return "".join(
        _block(
            name,
            title=f"stage {number}, block {i + 1}: {name}",
            x=left + i * (_BLOCK + _GAP),
            y=top,
            high=high,
        )
        for i, name in enumerate(stage.mixers)
    )


def _block(name: str, *, title: str, x: float, y: float, high: float) -> str:
    colour = mixer_colour(name)
    letter = get_mixer(name).short[:1]
    return (
        f'<g><title>{escape(title)}</title><rect x="{x:g}" y="{y:g}" width="{_BLOCK}" '
        f'height="{high:g}" rx="2" fill="{colour}"/><text x="{x + _BLOCK / 2:g}" '
        f'y="{_TALLEST / 2 + 3:g}" fill="{ink_on(colour)}">{escape(letter)}</text></g>'
    )


def _halving(x: float) -> str:
    middle = _TALLEST / 2
    return (
        f'<path d="M{x - 3:g} {middle - 5:g}l5 5l-5 5" fill="none" stroke="currentColor" '
        'stroke-opacity=".6" stroke-width="1.3"><title>resolution halved</title></path>'
    )


def _labels(stage: Stage, *, resolution: tuple[int, int], middle: float) -> str:
    ratio = f"{stage.width} ch {TIMES}{stage.expansion_ratio:g}"
    shared = " shared" if stage.shared else ""
    return _text(middle, 1, f"{resolution[0]}{TIMES}{resolution[1]}{shared}") + _text(
        middle, 2, ratio
    )


def _text(x: float, line: int, words: str) -> str:
    return f'<text x="{x:g}" y="{_TALLEST + 2 + 11.5 * line:g}" opacity=".8">{escape(words)}</text>'
