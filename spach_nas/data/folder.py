"""A folder of images for each class.

Layouts: `root/train/<class>/...` with `root/test/<class>/...`, with `root/val/<class>/...`, or with
both; or `root/<class>/...`, which is all train split. A `val` beside a `test` scores candidates. A
`val` alone, as ImageNet has it, is the held-out split that others report on: it serves as the test
split, and a part of train scores candidates.
"""

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from spach_nas.data.images import ImageSet, Pixels, stack, to_size
from spach_nas.data.source import DataSource, Split
from spach_nas.errors import DataError, one_line
from spach_nas.paths import check_text, shown
from spach_nas.scaling import DataShape
from spach_nas.settings import DataSettings

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


def find_splits(root: Path) -> dict[Split, Path]:
    """The folder of each split that `root` has for a search; `train` always.

    Raises:
        DataError: The folder is missing, or holds a split other than train but no train.
    """
    found = named_splits(root)
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    return found


def named_splits(root: Path) -> dict[Split, Path]:
    """The folder of each split by its own name; `train` always.

    Raises:
        DataError: The folder is missing, or holds a split other than train but no train.
    """
    if not root.is_dir():
        raise DataError(f"{root}: is no folder; expected images as train/<class>/<image>")
    found: dict[Split, Path] = {}
    for split, names in _NAMES.items():
        folders = [root / name for name in names if (root / name).is_dir()]
        if len(folders) > 1:
            raise DataError(
                f"{root}: has {folders[0].name} and {folders[1].name}; expected one of them"
            )
        if folders:
            found[split] = folders[0]  # type: ignore[index]
    if not found:
        return {"train": root}
    if "train" not in found:
        raise DataError(f"{root}: has {min(found.values()).name}/ but no train/; expected both")
    return found


def _check(settings: DataSettings) -> None:
    if settings.root is None:
        raise DataError("root: is missing; expected the folder with train/<class>/<image>")
    check_splits(find_splits(settings.root))


def check_splits(splits: Mapping[Split, Path]) -> None:
    """Check that all splits have the same classes, images of each, and no folder in common.

    Raises:
        DataError: They have not.
    """
    train = class_folders(splits["train"])
    if len(train) < 2:
        raise DataError(f"{splits['train']}: has {len(train)} class folders; expected at least 2")
    # By their real paths: a link must not bring test images into the training.
    owners: dict[Path, Path] = {}
    for folder in splits.values():
        names = class_folders(folder)
        unequal = sorted(set(names) ^ set(train))
        if unequal:
            raise DataError(
                f"{folder}: class {unequal[0]!r} is not in all splits; expected the same"
            )
        for name in names:
            _check_class(folder / name, owners)


def _check_class(folder: Path, owners: dict[Path, Path]) -> None:
    real = folder.resolve()
    if real in owners:
        raise DataError(f"{folder}: is the same folder as {owners[real]}; expected disjoint splits")
    owners[real] = folder
    if next(_images(folder), None) is None:
        raise DataError(f"{folder}: has no image; expected {', '.join(sorted(SUFFIXES))} files")


def class_folders(folder: Path) -> tuple[str, ...]:
    """The classes of a split, in the order of their labels.

    Raises:
        DataError: A name that no text can hold, as a card or a page of results has to.
    """
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for path in found:
        check_text(Path(path.name), what=f"{shown(folder)}: a class", error=DataError)
    return tuple(sorted(path.name for path in found))


def _images(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(place, name)


def _shape(settings: DataSettings) -> DataShape:
    assert settings.root is not None
    folder = find_splits(settings.root)["train"]
    classes = class_folders(folder)
    first = next(_images(folder / classes[0]))
    with _opened(first) as image:
        channels = 1 if is_grey(image) else 3
    return DataShape(in_channels=channels, num_classes=len(classes))


def _load(settings: DataSettings, split: Split, image_size: tuple[int, int]) -> ImageSet | None:
    assert settings.root is not None
    folder = find_splits(settings.root).get(split)
    if folder is None:
        return None
    # The first training image decides for all splits, so that they have equal channels.
    channels = _shape(settings).in_channels
    classes = class_folders(folder)
    files = labelled_files(folder)
    return ImageSet(
        images=stack(
            [path for path, _ in files],
            partial(read_image, channels=channels, size=image_size),
            shape=(len(files), *image_size, channels),
            name=str(folder),
        ),
        labels=np.array([label for _, label in files], dtype=np.int64),
        class_names=classes,
    )


def labelled_files(folder: Path) -> list[tuple[Path, int]]:
    """All images of one split, each with its label, class by class."""
    return [
        (path, label)
        for label, name in enumerate(class_folders(folder))
        for path in _images(folder / name)
    ]


def read_image(path: Path, *, channels: int, size: tuple[int, int]) -> Pixels:
    """One image at `size` (H, W), as (H, W, C).

    Raises:
        DataError: The file is no image.
    """
    with _opened(path) as image:
        try:
            return to_size(pixels(image, channels=channels), size)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
            raise _unreadable(path, problem) from None


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise _unreadable(path, problem) from None


def _unreadable(path: Path, problem: Exception) -> DataError:
    why = one_line(problem)
    return DataError(f"{path}: cannot be read as an image ({why}); expected it whole or away")


def is_grey(image: Image.Image) -> bool:
    """Whether the image has no colours by its mode."""
    return image.mode in _GREY_MODES


def pixels(image: Image.Image, *, channels: int) -> Pixels:
    """An image of any mode as (H, W, C) with C = `channels`, 1 or 3, upright as its camera says."""
    converted = np.asarray(upright(image, channels=channels))
    return converted.reshape(*converted.shape[:2], channels)


def upright(image: Image.Image, *, channels: int) -> Image.Image:
    """An image of any mode as grey or RGB by `channels`, 1 or 3, upright as its camera says.

    It may be the same one, turned in place: a copy of each would be felt in a training.
    """
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        # 16 bits: Pillow clips them on conversion, so the upper 8 are taken here.
        values = np.asarray(image)
        image = Image.fromarray((values >> 8 if values.max() > 255 else values).astype(np.uint8))
    if image.mode == "P":
        # A palette with transparency converts cleanly by way of RGBA only.
        image = image.convert("RGBA")
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


FOLDER = DataSource(check=_check, shape=_shape, load=_load)
