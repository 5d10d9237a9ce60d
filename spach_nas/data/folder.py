"""A folder of images for each class, and the rule for its splits.

Layouts: `root/train/CLASS/...`, perhaps with `root/val/CLASS/...` and `root/test/CLASS/...`; or
`root/CLASS/...`, which is all train split. The rule, of a search as of a training at full size:

- `train/` is trained on;
- scores come from the share of train that is held out where `validation` gives one, else from
  `val/`, else from a fifth of train that is held out;
- final figures come from `test/`, else from a `val/` that scores nothing.
"""

import os
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spach_nas.config.training_settings import DataSettings
from spach_nas.data.decoding import (
    BrokenImagesError,
    Stored,
    channels_of,
    check_range,
    conversions,
    decode,
)
from spach_nas.data.images import THREADS, ImageSet, Labels, Pixels, require_memory, to_size
from spach_nas.data.source import DataSource, Split
from spach_nas.errors import DataError
from spach_nas.paths import check_text, shown
from spach_nas.space.scaling import DataShape

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
_NAMES: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
# Also `train2017`, `test_set`, `images-val`.
_LIKE_A_SPLIT = re.compile(
    r"(images?[-_ .]?)?(train(ing)?|trn|val(id|idation)?|dev|eval|test(ing)?|holdout)"
    r"([-_ .]?(set|data|split|images?|\d+))?",
    re.IGNORECASE,
)
_EXPECTED = "expected train/CLASS/..., with val/ and test/ beside train/ where there are any"


def find_splits(root: Path, share: float | None = None) -> dict[Split, Path]:
    """The folder of each part, by the rule above; `train` always.

    Args:
        root: Of the data.
        share: Of train, to hold out; None: none was given.

    Raises:
        DataError: The folder is missing, or holds a split other than train but no train.
    """
    found = named_splits(root)
    if share is not None and (unused := found.pop("validation", None)) is not None:
        found.setdefault("test", unused)
    return found


def named_splits(root: Path) -> dict[Split, Path]:
    """The folder of each split by its own name, in any case; `train` always.

    Raises:
        DataError: The folder is missing, or holds a split other than train but no train.
    """
    if not root.is_dir():
        raise DataError(f"{root}: is no folder; expected images as train/<class>/<image>")
    found: dict[Split, Path] = {}
    folders = _folders(root)
    for split, names in _NAMES.items():
        own = [folder for folder in folders if folder.name.lower() in names]
        if len(own) > 1:
            raise DataError(f"{root}: has {own[0].name} and {own[1].name}; expected one of them")
        if own:
            found[split] = own[0]
    if not found:
        return {"train": root}
    if "train" not in found:
        raise DataError(f"{root}: has {min(found.values()).name}/ but no train/; expected both")
    return found


def check_splits(splits: Mapping[Split, Path]) -> None:
    """Check that all splits have the same classes, images of each, and no folder in common.

    Raises:
        DataError: They have not.
    """
    train = class_folders(splits["train"])
    if len(train) < 2:
        raise DataError(
            f"{splits['train']}: has {len(train)} class folders; expected at least 2; {_EXPECTED}"
        )
    # By their real paths: a link must not bring test images into the training.
    owners: dict[Path, Path] = {}
    for folder in splits.values():
        names = class_folders(folder)
        _check_names(folder, names)
        unequal = sorted(set(names) ^ set(train))
        if unequal:
            raise DataError(
                f"{folder}: class {unequal[0]!r} is not in all splits; expected the same"
            )
        for name in names:
            _check_class(folder / name, owners)


def _check_names(folder: Path, names: Sequence[str]) -> None:
    """A split that is taken for a class would be told from the other splits."""
    splits = [name for name in names if _LIKE_A_SPLIT.fullmatch(name)]
    if splits:
        raise DataError(
            f"{folder}: {', '.join(f'{name}/' for name in splits[:3])} would be classes and look "
            f"like splits; {_EXPECTED}"
        )


def _check_class(folder: Path, owners: dict[Path, Path]) -> None:
    real = folder.resolve()
    if real in owners:
        raise DataError(f"{folder}: is the same folder as {owners[real]}; expected disjoint splits")
    owners[real] = folder
    _check_names(folder, [inner.name for inner in _folders(folder)])
    if next(_images(folder), None) is None:
        raise DataError(f"{folder}: has no image; expected {', '.join(sorted(SUFFIXES))} files")


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def class_folders(folder: Path) -> tuple[str, ...]:
    """The classes of a split, in the order of their labels.

    Raises:
        DataError: A name that no text can hold, as a card or a page of results has to.
    """
    found = _folders(folder)
    for path in found:
        check_text(Path(path.name), what=f"{shown(folder)}: a class", error=DataError)
    return tuple(path.name for path in found)


def _images(folder: Path, left: Counter[str] | None = None) -> Iterator[Path]:
    """The images of a class; `left` counts what is there besides, in words."""
    left = Counter() if left is None else left
    for place, folders, files in os.walk(folder):
        hidden = {name for name in folders if name.startswith(".")}
        links = {name for name in folders if Path(place, name).is_symlink()} - hidden
        left["hidden folders"] += len(hidden)
        left["links to folders"] += len(links)
        folders[:] = sorted(set(folders) - hidden - links)
        for name in sorted(files):
            suffix = Path(name).suffix.lower()
            if name.startswith("."):
                left["hidden files"] += 1
            elif suffix in SUFFIXES:
                yield Path(place, name)
            else:
                left[f"{suffix} files" if suffix else "files without a suffix"] += 1


def left_aside(root: Path, splits: Mapping[Split, Path]) -> str | None:
    """What lies in a folder of data and is not used, in words; None: nothing does.

    Args:
        root: Of the data.
        splits: Those of its folders that are used.
    """
    left: Counter[str] = Counter()
    for split in splits.values():
        for name in class_folders(split):
            deque(_images(split / name, left), maxlen=0)
    places = {root, *splits.values()}
    for place in sorted(places):
        for path in place.iterdir():
            if path.name.startswith("."):
                left["hidden folders" if path.is_dir() else "hidden files"] += 1
            elif not path.is_dir():
                left["files outside of the class folders"] += 1
    others = [] if root in splits.values() else _folders(root)
    found = [
        f"{number:,} {_one(name) if number == 1 else name}"
        for name, number in left.items()
        if number
    ]
    found += [f"{path.name}/" for path in others if path not in splits.values()]
    return f"found and not used: {', '.join(found)}" if found else None


def _one(things: str) -> str:
    for many, one in (("links to folders", "link to a folder"), ("folders", "folder")):
        if many in things and "class" not in things:
            return things.replace(many, one)
    return things.replace("files", "file")


def labelled_files(folder: Path) -> list[tuple[Path, int]]:
    """All images of one split, each with its label, class by class."""
    return [
        (path, label)
        for label, name in enumerate(class_folders(folder))
        for path in _images(folder / name)
    ]


def folder_channels(folder: Path) -> int:
    """1 where no image of the train split has colours, else 3; it decides for all splits."""
    return channels_of([path for path, _ in labelled_files(folder)])


def _check(settings: DataSettings) -> None:
    check_splits(find_splits(_root(settings), settings.validation))


def _root(settings: DataSettings) -> Path:
    if settings.root is None:
        raise DataError("root: is missing; expected the folder with train/<class>/<image>")
    return settings.root


def _shape(settings: DataSettings) -> DataShape:
    folder = find_splits(_root(settings), settings.validation)["train"]
    return DataShape(in_channels=folder_channels(folder), num_classes=len(class_folders(folder)))


def _load(settings: DataSettings, split: Split, image_size: tuple[int, int]) -> ImageSet | None:
    root = _root(settings)
    splits = find_splits(root, settings.validation)
    if split not in splits:
        return None
    read = read_files(
        labelled_files(splits[split]),
        channels=folder_channels(splits["train"]),
        size=image_size,
        name=str(splits[split]),
    )
    if read.broken and not settings.skip_broken:
        raise BrokenImagesError(read.broken, name=str(root), remedy="data.skip_broken: true")
    return read.images(class_folders(splits[split]), folder=splits[split])


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadFiles:
    """Files of a split, read.

    Attributes:
        pixels: (N, H, W, C) of those that are whole, in their order.
        labels: (N,).
        stored: How each of them is stored.
        channels: C.
        broken: What is wrong with each of the others, by its path.
    """

    pixels: Pixels
    labels: Labels
    stored: Sequence[Stored]
    channels: int
    broken: Mapping[str, str]

    def images(self, class_names: tuple[str, ...], *, folder: Path) -> ImageSet:
        """Those that are whole, with what a person should know of them.

        Raises:
            DataError: A class has none, or images of 16 bits do not use them.
        """
        check_range(self.stored, name=str(folder))
        check_classes(self.labels, folder)
        notes = [conversions(self.stored, channels=self.channels)]
        if self.broken:
            notes.append(broken_note(self.broken))
        return ImageSet(
            images=self.pixels,
            labels=self.labels,
            class_names=class_names,
            notes=tuple(filter(None, notes)),
        )


def read_files(
    files: Sequence[tuple[Path, int]], *, channels: int, size: tuple[int, int], name: str
) -> ReadFiles:
    """All files with their labels, at `size` (H, W); those that are broken are named at once.

    Raises:
        DataError: There is not memory enough.
    """
    shape = (len(files), *size, channels)
    require_memory(shape, name=name)
    images = np.empty(shape, dtype=np.uint8)

    def read(row: int) -> Stored | str:
        try:
            image, stored = decode(files[row][0], channels=channels)
            values = np.asarray(image)
            images[row] = to_size(values.reshape(*values.shape[:2], channels), size)
        except DataError as problem:
            return str(problem)
        return stored

    with ThreadPoolExecutor(THREADS) as pool:
        # Decoding and resizing release the interpreter's lock.
        found = list(pool.map(read, range(len(files))))
    whole = [row for row, item in enumerate(found) if isinstance(item, Stored)]
    return ReadFiles(
        pixels=images if len(whole) == len(files) else images[whole],
        labels=np.array([files[row][1] for row in whole], dtype=np.int64),
        stored=[item for item in found if isinstance(item, Stored)],
        channels=channels,
        broken={
            str(path): item
            for (path, _), item in zip(files, found, strict=True)
            if isinstance(item, str)
        },
    )


def read_image(path: Path, *, channels: int, size: tuple[int, int]) -> Pixels:
    """One image at `size` (H, W), as (H, W, C).

    Raises:
        DataError: The file is no whole image.
    """
    read = read_files([(path, 0)], channels=channels, size=size, name=str(path))
    for problem in read.broken.values():
        raise DataError(f"{path}: {problem}; expected a whole image")
    image: Pixels = read.pixels[0]
    return image


def check_classes(labels: Labels, folder: Path) -> None:
    """Check that every class of a split is left with a whole image.

    Raises:
        DataError: One is not.
    """
    names = class_folders(folder)
    empty = sorted(set(range(len(names))) - set(labels.tolist()))
    if empty:
        raise DataError(
            f"{folder / names[empty[0]]}: has no image that is whole; expected at least one"
        )


def broken_note(broken: Mapping[str, str]) -> str:
    """How many files are left out, and the first of them."""
    files = "1 broken file is" if len(broken) == 1 else f"{len(broken):,} broken files are"
    return f"{files} left out, such as {next(iter(broken))}"


def _notes(settings: DataSettings) -> tuple[str, ...]:
    root = _root(settings)
    note = left_aside(root, find_splits(root, settings.validation))
    return () if note is None else (note,)


FOLDER = DataSource(check=_check, shape=_shape, load=_load, notes=_notes)
