"""Folders of images: layouts, colours, damage."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spach_nas.config.training_settings import DataSettings
from spach_nas.data import data_shape, load_test, load_train_and_validation, validate_settings
from spach_nas.data.image_folder import find_splits
from spach_nas.errors import DataError

SIZE = (8, 8)


def write_split(folder: Path, *, count: int = 4, mode: str = "RGB", seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for name in ("cat", "dog", "eel"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{number}.png")


def settings(root: Path, *, validation: float | None = 0.25) -> DataSettings:
    return DataSettings(name="folder", root=root, validation=validation)


def pixels_of(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_images_and_labels_come_from_the_class_folders(tmp_path: Path) -> None:
    write_split(tmp_path / "train")
    write_split(tmp_path / "test", count=2, seed=1)
    splits = load_train_and_validation(settings(tmp_path), image_size=SIZE)
    assert splits.train.class_names == ("cat", "dog", "eel")
    np.testing.assert_array_equal(splits.train.labels, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(splits.validation.labels, [0, 1, 2])
    test = load_test(settings(tmp_path), image_size=SIZE)
    for number, name in enumerate(["cat", "dog", "eel"]):
        expected = np.asarray(Image.open(tmp_path / "test" / name / "1.png"))
        np.testing.assert_array_equal(test.images[2 * number + 1], expected)
    found = [pixels_of(part.images) for part in (splits.train, splits.validation, test)]
    assert [len(part) for part in found] == [9, 3, 6]
    assert len(set.union(*found)) == 18


def test_class_folders_without_splits_are_all_train_and_have_no_test(tmp_path: Path) -> None:
    write_split(tmp_path)
    assert find_splits(tmp_path) == {"train": tmp_path}
    assert len(load_train_and_validation(settings(tmp_path), image_size=SIZE).train) == 9
    with pytest.raises(DataError, match="has no test split"):
        load_test(settings(tmp_path), image_size=SIZE)


@pytest.mark.parametrize("others", [("val", "test"), ("VALID",)])
def test_val_scores_candidates_where_no_share_is_given(
    tmp_path: Path, others: tuple[str, ...]
) -> None:
    for seed, name in enumerate(("train", *others)):
        write_split(tmp_path / name, seed=seed)
    splits = load_train_and_validation(settings(tmp_path, validation=None), image_size=SIZE)
    assert len(splits.train) == len(splits.validation) == 12
    assert splits.held_out is None
    expected = np.asarray(Image.open(tmp_path / others[0] / "cat" / "0.png"))
    np.testing.assert_array_equal(splits.validation.images[0], expected)
    # A share that is given is held out of train, and val is left for the final figure.
    shared = load_train_and_validation(settings(tmp_path), image_size=SIZE)
    assert (len(shared.train), len(shared.validation)) == (9, 3)
    test = load_test(settings(tmp_path), image_size=SIZE)
    last = np.asarray(Image.open(tmp_path / others[-1] / "cat" / "0.png"))
    np.testing.assert_array_equal(test.images[0], last)


def test_a_fifth_is_held_out_where_nothing_else_scores(tmp_path: Path) -> None:
    write_split(tmp_path, count=10)
    splits = load_train_and_validation(settings(tmp_path, validation=None), image_size=SIZE)
    assert (len(splits.train), len(splits.validation)) == (24, 6)
    assert str(splits.held_out) == "0.2 of each class by seed 0"


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_val_is_held_out_as_the_test_split_where_a_share_is_given(
    tmp_path: Path, name: str
) -> None:
    write_split(tmp_path / "train")
    write_split(tmp_path / name, seed=1)
    splits = load_train_and_validation(settings(tmp_path), image_size=SIZE)
    test = load_test(settings(tmp_path), image_size=SIZE)
    assert (len(splits.train), len(splits.validation), len(test)) == (9, 3, 12)
    assert not pixels_of(test.images) & pixels_of(splits.train.images)
    assert not pixels_of(test.images) & pixels_of(splits.validation.images)


def test_colours_of_the_training_images_decide_the_channels(tmp_path: Path) -> None:
    write_split(tmp_path / "grey" / "train", mode="L")
    write_split(tmp_path / "grey" / "test", mode="RGB")
    assert data_shape(settings(tmp_path / "grey")).in_channels == 1
    test = load_test(settings(tmp_path / "grey"), image_size=SIZE)
    expected = np.asarray(Image.open(tmp_path / "grey" / "test" / "cat" / "0.png").convert("L"))
    np.testing.assert_array_equal(test.images[0, ..., 0], expected)

    write_split(tmp_path / "colour" / "train", mode="RGBA")
    assert data_shape(settings(tmp_path / "colour")).in_channels == 3
    assert data_shape(settings(tmp_path / "colour")).num_classes == 3


def test_grey_transparent_palette_and_16_bit_images_keep_their_pixels(tmp_path: Path) -> None:
    write_split(tmp_path)
    rng = np.random.default_rng(3)
    grey = rng.integers(0, 256, SIZE, dtype=np.uint8)
    colour = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    alpha = np.concatenate([colour, grey[..., None]], axis=2)
    Image.fromarray(grey).save(tmp_path / "cat" / "0.png")
    Image.fromarray(alpha).save(tmp_path / "cat" / "1.png")
    Image.fromarray(colour[:, :, 0].astype(np.uint16) * 256 + 17).save(tmp_path / "cat" / "2.png")
    palette = Image.fromarray(colour).quantize(8)
    palette.save(tmp_path / "cat" / "3.png", transparency=b"\x00\x80")
    # The grey image comes first and must not decide for the others: say so by the class order.
    shutil.move(tmp_path / "dog", tmp_path / "ant")
    splits = load_train_and_validation(settings(tmp_path), image_size=SIZE)
    found = pixels_of(splits.train.images) | pixels_of(splits.validation.images)
    for expected in (
        np.repeat(grey[..., None], 3, axis=2),
        colour,
        np.repeat(colour[:, :, :1], 3, axis=2),
        np.asarray(palette.convert("RGB")),
    ):
        assert expected.tobytes() in found


def test_photos_stand_upright_as_their_camera_says(tmp_path: Path) -> None:
    write_split(tmp_path)
    pixels = np.random.default_rng(4).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "cat" / "0.png", exif=exif)
    splits = load_train_and_validation(settings(tmp_path), image_size=SIZE)
    found = pixels_of(splits.train.images) | pixels_of(splits.validation.images)
    assert np.pad(np.rot90(pixels, -1), [(0, 0), (1, 1), (0, 0)]).tobytes() in found


def test_hidden_files_and_other_files_are_no_images(tmp_path: Path) -> None:
    write_split(tmp_path)
    for name in (".hidden.png", "notes.txt", "Thumbs.db"):
        (tmp_path / "cat" / name).write_text("no image")
    for folder in (tmp_path / ".cache", tmp_path / "cat" / ".thumbnails"):
        folder.mkdir()
        (folder / "0.png").write_text("no image")
    assert data_shape(settings(tmp_path)).num_classes == 3
    splits = load_train_and_validation(settings(tmp_path), image_size=SIZE)
    assert len(splits.train) + len(splits.validation) == 12


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_a_damaged_image_is_named(tmp_path: Path, content: bytes | None) -> None:
    write_split(tmp_path)
    path = tmp_path / "eel" / "2.png"
    path.write_bytes(path.read_bytes()[:-60] if content is None else content)
    validate_settings(settings(tmp_path))
    with pytest.raises(DataError, match=r"1 broken image file; expected .*skip_broken") as caught:
        load_train_and_validation(settings(tmp_path), image_size=SIZE)
    assert str(caught.value).startswith(f"{path}: ")


def _only_test(root: Path) -> None:
    write_split(root / "test")


def _two_names(root: Path) -> None:
    write_split(root / "train")
    write_split(root / "val")
    write_split(root / "validation")


def _one_class(root: Path) -> None:
    write_split(root / "train")
    for name in ("cat", "dog"):
        shutil.rmtree(root / "train" / name)


def _other_classes(root: Path) -> None:
    write_split(root / "train")
    write_split(root / "test")
    (root / "test" / "eel").rename(root / "test" / "fox")


def _empty_class(root: Path) -> None:
    write_split(root / "train")
    for path in (root / "train" / "dog").iterdir():
        path.unlink()


def _linked_split(root: Path) -> None:
    write_split(root / "train")
    (root / "test").symlink_to(root / "train", target_is_directory=True)


def _linked_class(root: Path) -> None:
    write_split(root / "train")
    write_split(root / "test")
    shutil.rmtree(root / "test" / "dog")
    (root / "test" / "dog").symlink_to(root / "train" / "dog", target_is_directory=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: root.rmdir(), "is not a folder"),
        (lambda root: None, "has 0 class folders; expected at least 2"),
        (_one_class, "has 1 class folders; expected at least 2"),
        (_only_test, "has test/ but no train/"),
        (_two_names, "has val and validation; expected one"),
        (_other_classes, "class 'eel' is not in all splits"),
        (_empty_class, "dog: has no image"),
        (_linked_split, "is the same folder as .*; expected disjoint splits"),
        (_linked_class, "is the same folder as .*; expected disjoint splits"),
    ],
)
def test_a_mixed_up_folder_is_refused_before_anything_is_read(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    damage(root)
    with pytest.raises(DataError, match=message):
        validate_settings(settings(root))


def test_a_folder_without_root_is_refused() -> None:
    with pytest.raises(DataError, match="root: is missing"):
        validate_settings(DataSettings(name="folder"))
