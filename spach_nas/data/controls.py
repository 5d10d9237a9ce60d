"""Procedural tasks in which the mixers that a network needs are known by construction.

`controls/TASK` names a set, and `controls/TASK/OPTION=VALUE/...` one with other options:

    size=64       height and width of the images, in pixels
    channels=1    1, or 3 for colours that say nothing about the class
    classes=8     number of classes
    images=65536  of the train split
    seed=0        another seed, other images

No file is read. A block of images depends on task, options, split and its number alone, so an image
stays the same when `images` grows. The images are drawn at `size`; a network of another size reads
them as it reads any other set, shrunk or padded.

Letters: N images, S height and width, C channels, P pixels along a side of a cell.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from spach_nas.config.training_settings import DataSettings
from spach_nas.data.images import ImageSet, Labels, Pixels, require_memory
from spach_nas.data.split_reader import DataSource, Pictures, Split, from_memory
from spach_nas.errors import DataError, did_you_mean, one_of
from spach_nas.space.scaling import DataShape

PREFIX = "controls/"
GRID = 8  # cells along a side: more than the convolutions of a small network reach
BLOCK = 256  # images that are drawn together
# In the validation split, and in the test split: an accuracy of one half is known to 1.4 points.
SCORED = 20 * BLOCK
# A glyph of 5 x 5 pixels has to fit into a cell with room to move.
MIN_SIZE, MAX_SIZE, MAX_IMAGES = 6 * GRID, 512, 2**24
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_GREY, _INK, _NOISE = 112, 96, 16  # brightness, contrast of a glyph, deviation of the noise

Canvas = npt.NDArray[np.float32]

# Five by five pixels each: letters that stand for a class, keys and the question mark of `lookup`.
_PICTURES = """
A .###. #...# ##### #...# #...#
C .#### #.... #.... #.... .####
E ##### #.... ###.. #.... #####
H #...# #...# ##### #...# #...#
I ##### ..#.. ..#.. ..#.. #####
J ..### ...#. ...#. #..#. .##..
K #..#. #.#.. ##... #.#.. #..#.
L #.... #.... #.... #.... #####
O .###. #...# #...# #...# .###.
P ####. #...# ####. #.... #....
T ##### ..#.. ..#.. ..#.. ..#..
X #...# .#.#. ..#.. .#.#. #...#
Z ##### ...#. ..#.. .#... #####
S .#### #.... .###. ....# ####.
4 #..#. #..#. ##### ...#. ...#.
N #...# ##..# #.#.# #..## #...#
+ ..#.. ..#.. ##### ..#.. ..#..
= ##### ..... ##### ..... #####
: ##.## ##.## ..... ##.## ##.##
/ ....# ...## ..##. .##.. ##...
? ####. ....# ..##. ..... ..#..
"""
_LINES = [line.split() for line in _PICTURES.strip().splitlines()]
LETTERS = tuple(name for name, *_ in _LINES[:16])
KEYS = tuple(name for name, *_ in _LINES[16:20])
GLYPHS = np.array([[[c == "#" for c in row] for row in rows] for _, *rows in _LINES])
_FIRST_KEY, _MARK = len(LETTERS), len(GLYPHS) - 1
PAIRS, COPIES = 3, 2  # in an image of `lookup`: keys with a letter, and the rows of each

# Distances (down, right), in pixels, at which the pixels of a texture agree.
LAGS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (2, 2), (2, -2))
_TEXTURE = 0.15  # correlation at that distance


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a name says of a set, all whole numbers.

    Attributes:
        size: Height and width, in pixels.
        channels: 1 or 3.
        classes: Number of classes.
        images: Of the train split.
        seed: Of all images.
    """

    size: int = 64
    channels: int = 1
    classes: int = 8
    images: int = 256 * BLOCK
    seed: int = 0


# Brightness (N, S, S, C), with noise, of images with labels (N,).
Draw = Callable[[Labels, Options, np.random.Generator], Canvas]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One kind of images.

    Attributes:
        draw: Draws them.
        names: Of as many classes as there can be.
        least_classes: Fewest classes.
    """

    draw: Draw
    names: tuple[str, ...]
    least_classes: int = 2


def draw_local(labels: Labels, options: Options, rng: np.random.Generator) -> Canvas:
    """The class is the texture of a square anywhere in the image, under smooth shading.

    Inside the square, pixels agree with those at one distance (down, right), which is the class;
    outside they are independent. Brightness and its deviation are the same everywhere and for all
    classes, so a single pixel says nothing: products of near pixels have to be computed, summed
    over the image and compared. Convolution does this, and so does every other block, since each
    holds a depthwise convolution. Attention and token-MLP cost more and add nothing.
    """
    N, S, C = len(labels), options.size, options.channels
    canvas = _noise((N, S, S), rng)
    # A sum of two copies with the weights 1 and s has the correlation s / (1 + s * s).
    s = (1 - (1 - 4 * _TEXTURE**2) ** 0.5) / (2 * _TEXTURE)
    whole, side, margin = np.float32((1 + s * s) ** 0.5), 2 * (S // 3), 2
    corners = rng.integers(margin, S - side - margin + 1, (N, 2))
    for image, (top, left), label in zip(canvas, corners, labels, strict=True):
        down, right = LAGS[label]
        inner = image[top : top + side, left : left + side]
        other = image[top - down : top - down + side, left - right : left - right + side]
        inner[...] = (inner + np.float32(s) * other) / whole
    slope = rng.uniform(-1, 1, (2, N, 1, C)).astype(np.float32) * np.float32(_INK / 4)
    ramp = np.linspace(-1, 1, S, dtype=np.float32)[:, None]
    shade: Canvas = _GREY + (slope[0] * ramp)[:, :, None] + (slope[1] * ramp)[:, None]
    return canvas[..., None] + shade


def draw_set(labels: Labels, options: Options, rng: np.random.Generator) -> Canvas:
    """The class is the letter that occurs twice; another occurs once, another three times.

    The six letters stand in cells of an 8 x 8 grid, anywhere. What is local says which three
    letters there are, which earns a third, but a sum of local evidence grows with the number of a
    letter, and no weights make "two" the highest of one, two and three in more than four of their
    six orders (`docs/controls.md`). So a network whose blocks see
    only a part of the grid, and whose head reads the mean over positions, cannot know the class
    where equal letters are far apart. Attention and token-MLP can bring all letters together, best
    late: the letters have to be read first, which convolution does at the least cost.
    """
    letters = _once_twice_thrice(labels, options.classes, rng)
    cells = _distinct(len(labels), GRID * GRID, letters.shape[1], rng)
    return _place(_glyph_cells(letters, options, rng), cells, options, rng)


def draw_lookup(labels: Labels, options: Options, rng: np.random.Generator) -> Canvas:
    """The class is the letter beside the key that a question mark asks for.

    At one edge of the grid, left or right, three of four keys have a letter beside them, three
    different ones, each pair in two rows; at the other edge one of these keys stands before a
    question mark, in every row. One row of each would say as much, but is not learned in a short
    training. The letters and the key that is asked for are at the very edges, 8 cells apart. What
    is local says which three letters there are, which earns a third, and which key is asked for;
    the best sum of both that was found is right in 57 %, and convolution that reaches 7 cells sees
    no more, unless a norm over the whole image tells it (`docs/controls.md`). Attention finds the
    twins of a key by content, in any row. A token-MLP has weights for positions, so it cannot look
    for content, but it can tell all positions which key is asked for: with so few keys, one channel
    each, that is enough.
    """
    glyphs, cells = _questions(labels, options, rng)
    return _place(_glyph_cells(glyphs, options, rng), cells, options, rng)


def draw_mixed(labels: Labels, options: Options, rng: np.random.Generator) -> Canvas:
    """The class is the letter beside the key that a question mark asks for, in images out of line.

    As `lookup`, but each glyph is shifted to the right by a pixel or not. Patches of a network
    then hold two pictures of a glyph, which no single linear filter fits: layers of convolution
    have to read them, and attention or token-MLP after those has to compare.
    """
    glyphs, cells = _questions(labels, options, rng)
    return _place(_glyph_cells(glyphs, options, rng, places=2), cells, options, rng)


TASKS = {
    "local": Task(draw=draw_local, names=tuple(f"lag {down} {right}" for down, right in LAGS)),
    "set": Task(draw=draw_set, names=LETTERS, least_classes=3),
    "lookup": Task(draw=draw_lookup, names=LETTERS, least_classes=PAIRS),
    "mixed": Task(draw=draw_mixed, names=LETTERS, least_classes=PAIRS),
}


def _distinct(count: int, values: int, number: int, rng: np.random.Generator) -> Labels:
    """(count, number) of `values`, all different within a row."""
    return rng.permuted(np.tile(np.arange(values), (count, 1)), axis=1)[:, :number]


def _questions(labels: Labels, options: Options, rng: np.random.Generator) -> tuple[Labels, Labels]:
    """The glyphs of `lookup` (N, M) and the cells that they stand in (N, M)."""
    N, K = len(labels), options.classes
    keys = _distinct(N, len(KEYS), PAIRS, rng)
    # The first pair is the one that is asked for.
    asked = keys[:, :1].repeat(GRID, axis=1)
    others = (labels[:, None] + 1 + _distinct(N, K - 1, PAIRS - 1, rng)) % K
    letters = np.column_stack([labels, others]).repeat(COPIES, axis=1)
    # Columns of a pair and of a question, each key first: the letter and the key that is asked for
    # stand at the very edge.
    pair = np.where(rng.integers(0, 2, (N, 1, 1)), [[GRID - 2, GRID - 1]], [[1, 0]])
    question = GRID - 1 - pair[..., ::-1]
    rows = _distinct(N, GRID, PAIRS * COPIES, rng)[..., None], np.arange(GRID)[:, None]
    cells = np.concatenate([rows[0] * GRID + pair, rows[1] * GRID + question], axis=1)
    first = np.concatenate([keys.repeat(COPIES, axis=1), asked], axis=1) + _FIRST_KEY
    second = np.concatenate([letters, np.full_like(asked, _MARK)], axis=1)
    return np.stack([first, second], axis=2).reshape(N, -1), cells.reshape(N, -1)


def _once_twice_thrice(labels: Labels, classes: int, rng: np.random.Generator) -> Labels:
    """(N, 6): the label twice, another class once, another three times."""
    others = (labels[:, None] + 1 + _distinct(len(labels), classes - 1, 2, rng)) % classes
    columns = [labels, labels, others[:, 0], *[others[:, 1]] * 3]
    return np.stack(columns, axis=1)


def _tints(shape: tuple[int, ...], options: Options, rng: np.random.Generator) -> Canvas:
    """Contrast of items of `shape`, with a channel axis: equal in grey, random in colour."""
    low = 1.0 if options.channels == 1 else 0.5
    drawn = rng.uniform(low, 1, (*shape, options.channels))
    return drawn.astype(np.float32) * np.float32(_INK)


def _glyph_cells(
    glyphs: Labels, options: Options, rng: np.random.Generator, *, places: int = 1
) -> Canvas:
    """The cells (N, M, P, P, C) of glyphs (N, M), each at one of `places` across."""
    P = options.size // GRID
    large = GLYPHS.repeat(P // 6, axis=1).repeat(P // 6, axis=2)
    side = large.shape[1]
    top, least = (P - side) // 2, (P - side - places + 1) // 2
    bank = np.zeros((len(GLYPHS), places, P, P), dtype=np.float32)
    for place in range(places):
        left = least + place
        bank[:, place, top : top + side, left : left + side] = large
    across = rng.integers(0, places, glyphs.shape)
    tints = _tints((*glyphs.shape, 1, 1), options, rng)
    return bank[glyphs, across][..., None] * tints


def _place(ink: Canvas, cells: Labels, options: Options, rng: np.random.Generator) -> Canvas:
    """Images (N, S, S, C) with cells (N, M, P, P, C) at positions (N, M) of the grid, and noise."""
    N, _, P, _, C = ink.shape
    grid = np.zeros((N, GRID * GRID, P, P, C), dtype=np.float32)
    grid[np.arange(N)[:, None], cells] = ink
    image = _noise((N, options.size, options.size, C), rng) + np.float32(_GREY)
    first = (options.size - GRID * P) // 2
    inner = slice(first, first + GRID * P)
    rows = grid.reshape(N, GRID, GRID, P, P, C).swapaxes(2, 3)
    image[:, inner, inner] += rows.reshape(N, GRID * P, GRID * P, C)
    return image


# Normal deviates by the byte that was drawn: a few times faster than normal numbers, and an image
# is rounded to bytes anyway.
_NORMAL = np.array(
    [_NOISE * NormalDist().inv_cdf((byte + 0.5) / 256) for byte in range(256)], dtype=np.float32
)


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> Canvas:
    return _NORMAL[rng.integers(0, 256, shape, dtype=np.uint8)]


def draw_block(task: str, options: Options, split: Split, number: int) -> tuple[Pixels, Labels]:
    """One block of a split: images (BLOCK, S, S, C) and labels (BLOCK,), classes as even as can be.

    No two splits or blocks share a stream of random numbers.
    """
    place = (list(TASKS).index(task), _SPLITS.index(split), number)
    rng = np.random.default_rng((options.seed, *place))
    # What the division leaves over goes to other classes in every block.
    labels = rng.permutation((np.arange(BLOCK) + number * BLOCK) % options.classes)
    canvas = TASKS[task].draw(labels, options, rng)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), labels


def parse_name(name: str) -> tuple[str, Options]:
    """Task and options of `controls/TASK/OPTION=VALUE/...`.

    Raises:
        DataError: An unknown task or option, or a value outside its bounds; a line for each.
    """
    task, *given = name.removeprefix(PREFIX).split("/")
    if task not in TASKS:
        raise DataError(
            f"{name}: has no task {task!r}; expected {one_of(TASKS)}{did_you_mean(task, TASKS)}"
        )
    bounds = _bounds(TASKS[task])
    mistakes, found = [], {}
    for item in given:
        option, _, value = item.partition("=")
        if option not in bounds:
            mistakes.append(
                f"{name}: has no option {item!r}; expected {one_of(f'{key}=...' for key in bounds)}"
                f"{did_you_mean(option, bounds)}"
            )
            continue
        legal, expected = bounds[option]
        # Python refuses to convert thousands of digits.
        if not value.isdecimal() or len(value) > 10 or int(value) not in legal:
            mistakes.append(f"{name}: {option}: {value!r}; expected {expected}")
        elif option in found:
            mistakes.append(f"{name}: {option}: is given twice; expected one value")
        else:
            found[option] = int(value)
    if mistakes:
        raise DataError("\n".join(mistakes))
    return task, Options(**found)


def _bounds(task: Task) -> dict[str, tuple[range, str]]:
    """Legal values of each option, as numbers and in words."""
    most = len(task.names)
    ranges = {
        "size": range(MIN_SIZE, MAX_SIZE + 1),
        "channels": range(1, 4, 2),
        "classes": range(task.least_classes, most + 1),
        "images": range(most, MAX_IMAGES + 1),
        "seed": range(2**32),
    }
    return {
        name: (legal, "1 or 3" if legal.step == 2 else f"{legal[0]:,} to {legal[-1]:,}")
        for name, legal in ranges.items()
    }


def _check(settings: DataSettings) -> None:
    if settings.root is not None:
        raise DataError(f"root: {settings.root}; {settings.name} is drawn and takes no root")
    parse_name(settings.name)


def _shape(settings: DataSettings) -> DataShape:
    options = parse_name(settings.name)[1]
    return DataShape(in_channels=options.channels, num_classes=options.classes)


def _open(settings: DataSettings, split: Split, *, channels: int | None = None) -> Pictures | None:
    # As with a folder, a share of train that is asked for takes the place of the own split.
    if split == "validation" and settings.validation is not None:
        return None
    task, options = parse_name(settings.name)
    count = options.images if split == "train" else SCORED
    shape = (count, options.size, options.size, options.channels)
    require_memory(shape, name=settings.name)
    images, labels = np.empty(shape, dtype=np.uint8), np.empty(count, dtype=np.int64)
    for number, first in enumerate(range(0, count, BLOCK)):
        part = slice(first, min(first + BLOCK, count))
        drawn, classes = draw_block(task, options, split, number)
        images[part], labels[part] = drawn[: part.stop - first], classes[: part.stop - first]
    names = TASKS[task].names[: options.classes]
    held = ImageSet(images=images, labels=labels, class_names=names)
    pictures = from_memory(held, name=settings.name)
    return pictures if channels is None else replace(pictures, channels=channels)


CONTROLS = DataSource(check=_check, shape=_shape, open=_open)
