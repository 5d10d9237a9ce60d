"""The procedural tasks: what an image says is its label, read from the pixels by naive code."""

from pathlib import Path

import numpy as np
import pytest

from spach_nas.config.training_settings import DataSettings
from spach_nas.data import data_shape, load_test, load_train_and_validation, validate_settings
from spach_nas.data.controls import (
    BLOCK,
    GLYPHS,
    KEYS,
    LAGS,
    LETTERS,
    SCORED,
    TASKS,
    Options,
    draw_block,
)
from spach_nas.data.images import ImageSet
from spach_nas.data.reader import DataChoice, named_data, open_data, open_split
from spach_nas.errors import DataError

NAMES = (*LETTERS, *KEYS, "?")
# Between the ground, 112, and an ink of 208, or of 160 to 208 in colour, where noise is averaged.
BRIGHT = {1: 156, 3: 144}


def drawn(task: str, options: Options, count: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Brightness above what counts as bright, (N, S, S), and labels (N,) of some images."""
    images, labels = draw_block(task, options, "train", 0)
    return images[:count].mean(-1) - BRIGHT[options.channels], labels[:count]


def cells_of(images: np.ndarray) -> np.ndarray:
    """(N, S, S) in an 8 x 8 grid, (N, 8, 8, P, P)."""
    N, S, _ = images.shape
    P, rest = S // 8, S % 8 // 2
    inner = images[:, rest : rest + 8 * P, rest : rest + 8 * P]
    return inner.reshape(N, 8, P, 8, P).swapaxes(2, 3)


def read(images: np.ndarray) -> list[list[list[str]]]:
    """The glyphs of images (N, S, S), row by row of the grid; empty for none.

    Each cell holds the glyph that differs from it in the fewest pixels, at any place.
    """
    bright = (cells_of(images) > 0).astype(np.float32)
    P = bright.shape[-1]
    places = [(top, left) for top in range(P - 4) for left in range(P - 4)]
    pictures = np.zeros((len(GLYPHS), len(places), P, P), dtype=np.float32)
    for number, (top, left) in enumerate(places):
        pictures[:, number, top : top + 5, left : left + 5] = GLYPHS
    # Pixels that differ, but for the bright ones of the cell, which are the same for all.
    flat = pictures.reshape(-1, P * P)
    wrong = flat.sum(1) - 2 * bright.reshape(-1, P * P) @ flat.T
    best = wrong.argmin(1).reshape(bright.shape[:3]) // len(places)
    held = bright.sum((3, 4)) > 4
    named: list[list[list[str]]] = np.where(held, np.array(NAMES)[best], "").tolist()
    return named


def counts_of(grid: list[list[str]]) -> list[int]:
    found = [name for row in grid for name in row]
    return [found.count(name) for name in LETTERS]


@pytest.mark.parametrize(
    "options", [Options(), Options(size=70, classes=16, seed=3), Options(channels=3, classes=3)]
)
def test_the_class_of_set_is_the_letter_that_occurs_twice(options: Options) -> None:
    images, labels = drawn("set", options, 32)
    for grid, label in zip(read(images), labels, strict=True):
        counts = counts_of(grid)
        assert sorted(filter(None, counts)) == [1, 2, 3]
        assert counts.index(2) == label


@pytest.mark.parametrize("task", ["lookup", "mixed"])
@pytest.mark.parametrize("options", [Options(), Options(channels=3, classes=3, seed=1)])
def test_the_class_of_lookup_stands_beside_the_key_that_is_asked_for(
    options: Options, task: str
) -> None:
    images, labels = drawn(task, options, 32)
    for grid, label in zip(read(images), labels, strict=True):
        # A key and what is beside it, in either order.
        pairs = [
            (pair[0], pair[1]) if pair[0] in KEYS else (pair[1], pair[0])
            for row in grid
            for pair in (row[:2], row[-2:])
            if {*pair} & {*KEYS}
        ]
        assert sorted(pairs.count(pair) for pair in set(pairs)) == [2, 2, 2, 8]
        beside = set(pairs)
        asked = next(key for key, value in beside if value == "?")
        assert [value for key, value in beside if key == asked and value != "?"] == [LETTERS[label]]
        assert len({value for _, value in beside}) == 4
        edges = [column for column in (0, 7) if asked in {row[column] for row in grid}]
        assert [{row[column] for row in grid} for column in edges] == [{asked}]
        assert LETTERS[label] in {row[7 - edges[0]] for row in grid}, "8 cells apart"


def test_the_class_of_local_is_the_distance_at_which_pixels_agree() -> None:
    images, labels = drawn("local", Options())
    # Second differences take the shading away.
    places = np.arange(64)
    flat = (
        images
        - np.stack([np.poly1d(np.polyfit(places, row, 1))(places) for row in images.mean(1)])[
            :, None
        ]
    )
    flat = (
        flat
        - np.stack([np.poly1d(np.polyfit(places, row, 1))(places) for row in images.mean(2)])[
            :, :, None
        ]
    )
    flat -= flat.mean((1, 2), keepdims=True)
    agreement = [(flat * np.roll(flat, lag, axis=(1, 2))).mean((1, 2)) for lag in LAGS]
    assert (np.argmax(agreement, axis=0) == labels).mean() > 0.95


def test_a_sum_of_local_evidence_does_not_tell_the_class_of_set() -> None:
    images, labels = drawn("set", Options(classes=3), 240)
    counts = np.array([counts_of(grid)[:3] for grid in read(images)])
    # Between "two" and not "two" the mean of every count is the same, so each linear score is.
    for label in range(3):
        assert np.abs(counts[labels == label].mean(0) - 2).max() < 0.35  # a deviation is 0.11
    wanted = np.eye(3)[labels]

    def accuracy(features: np.ndarray) -> float:
        inputs = np.column_stack([features, np.ones(len(features))])
        weights = np.linalg.lstsq(inputs, wanted, rcond=None)[0]
        return float(((inputs @ weights).argmax(1) == labels).mean())

    # Four of the six orders of one, two and three at most: see the docs.
    assert accuracy(counts) <= 2 / 3
    assert accuracy(np.column_stack([counts, counts**2])) == 1


@pytest.mark.parametrize("task", TASKS)
def test_a_block_depends_on_its_place_alone_and_holds_all_classes_equally(task: str) -> None:
    options = Options(size=48, classes=3, seed=5)
    images, labels = draw_block(task, options, "train", 7)
    again = draw_block(task, options, "train", 7)
    np.testing.assert_array_equal(images, again[0])
    np.testing.assert_array_equal(labels, again[1])
    assert images.shape == (BLOCK, 48, 48, 1) and images.dtype == np.uint8
    assert sorted(np.bincount(labels)) == [BLOCK // 3, BLOCK // 3, BLOCK // 3 + 1]
    assert len(np.unique(images.reshape(BLOCK, -1), axis=0)) == BLOCK


def test_splits_share_no_image_and_more_images_change_none() -> None:
    few = DataSettings(name="controls/set/size=48/images=1500")
    more = DataSettings(name="controls/set/size=48/images=2100/seed=0")
    splits = load_train_and_validation(few, image_size=(48, 48))
    test = load_test(few, image_size=(48, 48))
    parts = (splits.train, splits.validation, test)
    assert [len(part) for part in parts] == [1500, SCORED, SCORED]
    assert len({image.tobytes() for part in parts for image in part.images}) == 1500 + 2 * SCORED
    assert splits.held_out is None
    longer = load_train_and_validation(more, image_size=(48, 48)).train
    np.testing.assert_array_equal(longer.images[:1500], splits.train.images)
    np.testing.assert_array_equal(longer.labels[:1500], splits.train.labels)


def test_commands_that_take_images_one_by_one_see_the_same() -> None:
    settings = DataSettings(name="controls/lookup/size=48/images=40/classes=5")
    choice = DataChoice(settings=settings)
    opened = open_data(choice)
    whole: ImageSet = load_train_and_validation(settings, image_size=(48, 48)).train
    np.testing.assert_array_equal(np.asarray(opened.train.image(39)), whole.images[39, ..., 0])
    assert opened.validation is not None and len(opened.validation) == SCORED
    assert open_split(choice, "test").class_names == LETTERS[:5]
    assert (data_shape(settings).in_channels, data_shape(settings).num_classes) == (1, 5)


def test_a_share_of_train_can_be_held_out_instead() -> None:
    settings = DataSettings(name="controls/set/size=48/images=1024", validation=0.25)
    splits = load_train_and_validation(settings, image_size=(48, 48))
    assert (len(splits.train), len(splits.validation)) == (768, 256)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("controls/sett", "no task 'sett'; expected .*; did you mean 'set'"),
        ("controls/", "no task ''; expected local, set, lookup or mixed"),
        ("control/set", "unknown data set 'control/set'.*did you mean 'controls/set'"),
        ("controls/set/size=40", "size: '40'; expected 48 to 512"),
        ("controls/set/classes=17", "classes: '17'; expected 3 to 16"),
        ("controls/local/classes=9", "classes: '9'; expected 2 to 8"),
        ("controls/local/channels=2", "channels: '2'; expected 1 or 3"),
        ("controls/set/images=-1", "images: '-1'; expected 16 to"),
        ("controls/set/clases=4", "no option 'clases=4'; .*did you mean 'classes'"),
        ("controls/set/size=64/size=96", "size: is given twice"),
        ("controls/set/size=1/classes=1", r"size: '1'; .*\n.*classes: '1'; "),
    ],
)
def test_a_wrong_name_is_refused_with_what_is_legal(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        validate_settings(DataSettings(name=name))


def test_commands_take_a_task_by_its_name() -> None:
    name = "controls/mixed/size=96"
    assert named_data(name, root=None) == (name, None)
    with pytest.raises(DataError, match="did you mean 'controls/mixed'"):
        named_data("control/mixed", root=None)


def test_a_folder_is_refused() -> None:
    with pytest.raises(DataError, match="controls/set is drawn and takes no root"):
        validate_settings(DataSettings(name="controls/set", root=Path()))
