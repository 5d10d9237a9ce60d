"""A folder of images for each class, and the rule for its splits.

The layout is `root/train/CLASS/...`, optionally with `root/val/CLASS/...` and
`root/test/CLASS/...`; or `root/CLASS/...`, which is all train. The rule is the same for a search
and for a training at full size:

- `train/` is for training;
- scores come from a held-out share of train if `validation` sets one, otherwise from `val/`,
  otherwise from a held-out fifth of train;
- final scores come from `test/`, otherwise from a `val/` that is not used for scores.
"""

import os
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from spach_nas.config.training_settings import DataSettings
from spach_nas.data.decoding import channels_of
from spach_nas.data.split_reader import DataSource, Pictures, Split
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
_EXPECTED = "expected train/CLASS/..., and val/ and test/, if there are any, next to train/"


def find_splits(root: Path, share: float | None = None) -> dict[Split, Path]:
    """The folder of each split by the rule above; `train` is always there.

    Args:
        root: Folder of the data.
        share: Share of train to hold out; None if none was set.

    Raises:
        DataError: The folder is missing, or it has another split but no train.
    """
    found = named_splits(root)
    if share is not None and (unused := found.pop("validation", None)) is not None:
        found.setdefault("test", unused)
    return found


def named_splits(root: Path) -> dict[Split, Path]:
    """The folder of each split by its own name, ignoring case; `train` is always there.

    Raises:
        DataError: The folder is missing, or it has another split but no train.
    """
    if not root.is_dir():
        raise DataError(f"{root}: is not a folder; expected images as train/<class>/<image>")
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
    """Check that all splits have the same classes with images, and have no folder in common.

    Raises:
        DataError: They do not.
    """
    train = class_folders(splits["train"])
    if len(train) < 2:
        raise DataError(
            f"{splits['train']}: has {len(train)} class folders; expected at least 2; {_EXPECTED}"
        )
    # By their real paths, because a link could bring test images into the training.
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
    """Refuse class names that look like splits, which a network would learn to tell apart."""
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
        DataError: A name cannot be written to a text file.
    """
    found = _folders(folder)
    for path in found:
        check_text(Path(path.name), what=f"{shown(folder)}: a class", error=DataError)
    return tuple(path.name for path in found)


def _images(folder: Path, left: Counter[str] | None = None) -> Iterator[Path]:
    """The images of a class; `left` counts everything else, by kind."""
    left = Counter() if left is None else left
    for place, folders, files in os.walk(folder):
        hidden = {name for name in folders if name.startswith(".")}
        links = {name for name in folders if Path(place, name).is_symlink()} - hidden
        left["hidden folder(s)"] += len(hidden)
        left["link(s) to folders"] += len(links)
        folders[:] = sorted(set(folders) - hidden - links)
        for name in sorted(files):
            suffix = Path(name).suffix.lower()
            if name.startswith("."):
                left["hidden file(s)"] += 1
            elif suffix in SUFFIXES:
                yield Path(place, name)
            else:
                left[f"{suffix} file(s)" if suffix else "file(s) without a suffix"] += 1


def left_aside(root: Path, splits: Mapping[Split, Path]) -> str | None:
    """A note on files and folders that are not used; None if there are none.

    Args:
        root: Folder of the data.
        splits: The folders that are used.
    """
    left: Counter[str] = Counter()
    for split in splits.values():
        for name in class_folders(split):
            deque(_images(split / name, left), maxlen=0)
    places = {root, *splits.values()}
    for place in sorted(places):
        for path in place.iterdir():
            if path.name.startswith("."):
                left["hidden folder(s)" if path.is_dir() else "hidden file(s)"] += 1
            elif not path.is_dir():
                left["file(s) outside of the class folders"] += 1
    others = [] if root in splits.values() else _folders(root)
    found = [
        f"{number:,} {name.replace('(s)', '' if number == 1 else 's')}"
        for name, number in left.items()
        if number
    ]
    found += [f"{path.name}/" for path in others if path not in splits.values()]
    return f"found and not used: {', '.join(found)}" if found else None


def labelled_files(folder: Path) -> list[tuple[Path, int]]:
    """All images of a split with their labels, class by class."""
    return [
        (path, label)
        for label, name in enumerate(class_folders(folder))
        for path in _images(folder / name)
    ]


def folder_channels(folder: Path) -> int:
    """1 if no image of the train split has a colour mode, otherwise 3, for all splits."""
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


def folder_pictures(folder: Path, *, channels: int) -> Pictures:
    """The images in the folder of a split.

    Args:
        folder: A folder with a subfolder for each class.
        channels: 1 for grey, 3 for RGB.
    """
    files = labelled_files(folder)
    paths = [path for path, _ in files]
    return Pictures(
        name=str(folder),
        class_names=class_folders(folder),
        labels=np.array([label for _, label in files], dtype=np.int64),
        opener=partial(_open_file, paths),
        files=paths,
        channels=channels,
    )


def _open_file(paths: Sequence[Path], position: int) -> Image.Image:
    return Image.open(paths[position])


def _open(settings: DataSettings, split: Split, *, channels: int | None = None) -> Pictures | None:
    splits = find_splits(_root(settings), settings.validation)
    if split not in splits:
        return None
    return folder_pictures(splits[split], channels=channels or folder_channels(splits["train"]))


def _notes(settings: DataSettings) -> tuple[str, ...]:
    root = _root(settings)
    note = left_aside(root, find_splits(root, settings.validation))
    return () if note is None else (note,)


def _has_test(settings: DataSettings) -> bool:
    return "test" in find_splits(_root(settings), settings.validation)


FOLDER = DataSource(check=_check, shape=_shape, open=_open, has_test=_has_test, notes=_notes)
