"""From what `--data` names to images for training, validation and test, which share no image."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from spach_nas.data.fashion import FASHION_MINI, FASHION_MNIST
from spach_nas.data.folder import check_splits, class_folders, named_splits
from spach_nas.data.source import DataSource
from spach_nas.data.splits import split_validation
from spach_nas.errors import DataError, did_you_mean, one_line, one_of
from spach_nas.full.pictures import Pictures, all_grey, from_folder, from_memory, from_timm
from spach_nas.full.recipe import DataOptions
from spach_nas.full.scan import Scan, scan
from spach_nas.settings import DataSettings

EvaluationSplit = Literal["validation", "test"]
_NAMED: Mapping[str, DataSource] = {"fashion-mini": FASHION_MINI, "fashion-mnist": FASHION_MNIST}
_NATIVE = (28, 28)
# The sets above come without a validation split.
_NAMED_SHARE = 0.1
_BY_POSITION = ("torch/", "hfds/")
_MOST_LISTED = 8
# More than that is no accident in a large set, but a copied folder.
_MOST_DOUBLES = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class DataChoice:
    """Which images; every worker opens them by itself.

    Attributes:
        name: `fashion-mini`, `fashion-mnist`, a folder, or a name of timm's.
        options: How they are read.
        broken: Files to leave out.
        channels: 1 or 3; None: what the images are.
    """

    name: str
    options: DataOptions
    broken: frozenset[str] = frozenset()
    channels: int | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is neither a set's name nor timm's."""
        return self.name not in _NAMED and not self.name.lower().startswith(_BY_POSITION)


@dataclass(frozen=True, kw_only=True, slots=True)
class FullData:
    """What a training sees.

    Attributes:
        choice: What was opened, without broken files.
        train: What is trained on.
        validation: What is scored; None where nothing is.
        notes: What a person should know of them.
    """

    choice: DataChoice
    train: Pictures
    validation: Pictures | None
    notes: tuple[str, ...] = ()


def check_there(choice: DataChoice, *, for_training: bool) -> None:
    """Whether there are images of this name, without opening one.

    Raises:
        DataError: There are none; for a training also where splits do not fit each other.
    """
    if choice.name in _NAMED:
        _NAMED[choice.name].check(DataSettings(name=choice.name, root=choice.options.root))
    elif choice.is_folder:
        splits = named_splits(_root(choice))
        if for_training:
            check_splits(splits)


def open_data(choice: DataChoice) -> FullData:
    """The images of a training, without looking into the files.

    Raises:
        DataError: They are missing, or have no validation split.
    """
    train, validation = _open(choice)
    return FullData(choice=choice, train=train, validation=validation)


def check_data(choice: DataChoice) -> FullData:
    """The same after a look into every file of a folder, where the options ask for it.

    Raises:
        DataError: Files are broken and not to be skipped; or the validation images are training
            images.
    """
    data = open_data(choice)
    if not (choice.is_folder and choice.options.check_images):
        return data
    validation = data.validation
    found = scan(data.train.files, () if validation is None else validation.files)
    _check_broken(found, choice)
    notes = _notes(found, validation)
    channels = choice.channels or (1 if found.grey else 3)
    clean = replace(choice, broken=frozenset(found.broken), channels=channels)
    if found.broken:
        _check_left(clean)
    return replace(open_data(clean), notes=notes)


def open_split(choice: DataChoice, split: EvaluationSplit) -> Pictures:
    """A split to evaluate on: one that the set itself has, whole.

    Raises:
        DataError: It has none.
    """
    if choice.name in _NAMED:
        return _converted(_named(choice, split), choice)
    if not choice.is_folder:
        return _converted(_timm(choice, split), choice)
    splits = named_splits(_root(choice))
    if split not in splits:
        raise DataError(f"{choice.name}: has no {split} split; expected {one_of(sorted(splits))}")
    return _converted(from_folder(splits[split], without=choice.broken), choice)


def default_split(choice: DataChoice) -> EvaluationSplit:
    """Test where a folder has it, else validation; the held-out part of a set with a name.

    Raises:
        DataError: There is no such folder.
    """
    if choice.name in _NAMED:
        return "test"
    if not choice.is_folder:
        return "validation"
    return "test" if "test" in named_splits(_root(choice)) else "validation"


def check_split(choice: DataChoice, split: EvaluationSplit) -> tuple[Pictures, tuple[str, ...]]:
    """`open_split` after a look into every file of a folder, and what a person should know.

    Raises:
        DataError: There is no such split, or files are broken and not to be skipped.
    """
    pictures = open_split(choice, split)
    if not (pictures.files and choice.options.check_images):
        return pictures, ()
    found = scan(pictures.files)
    _check_broken(found, choice)
    clean = open_split(replace(choice, broken=frozenset(found.broken)), split)
    return clean, _notes(found, None)


def _open(choice: DataChoice) -> tuple[Pictures, Pictures | None]:
    share = choice.options.validation
    if choice.name in _NAMED:
        train = _converted(_named(choice, "train"), choice)
        return _hold_out(train, _NAMED_SHARE if share is None else share, choice)
    if choice.is_folder:
        return _open_folder(choice, share)
    train = _converted(_timm(choice, "train"), choice)
    if share is not None:
        return _hold_out(train, share, choice)
    return train, replace(_converted(_timm(choice, "validation"), choice), channels=train.channels)


def _open_folder(choice: DataChoice, share: float | None) -> tuple[Pictures, Pictures | None]:
    splits = named_splits(_root(choice))
    check_splits(splits)
    train = _converted(from_folder(splits["train"], without=choice.broken), choice)
    if share is not None:
        return _hold_out(train, share, choice)
    if "validation" not in splits:
        raise DataError(
            f"{choice.name}: has no val/ or validation/ beside {splits['train'].name}/; expected "
            "one, or data.validation=0.1, which holds a tenth of the training images out"
        )
    validation = from_folder(splits["validation"], without=choice.broken)
    return train, replace(validation, channels=train.channels)


def _hold_out(
    train: Pictures, share: float, choice: DataChoice
) -> tuple[Pictures, Pictures | None]:
    if share == 0:
        return train, None
    kept, out = split_validation(train.labels, share, seed=choice.options.split_seed)
    return train.take(kept), train.take(out)


def _root(choice: DataChoice) -> Path:
    root = Path(choice.name)
    if not root.is_dir():
        names = (*_NAMED, *(f"{prefix}..." for prefix in _BY_POSITION))
        raise DataError(
            f"{choice.name}: is no folder and no data set; expected a folder with train/ and val/, "
            f"{one_of(names)}{did_you_mean(choice.name, _NAMED)}"
        )
    return root


def _converted(pictures: Pictures, choice: DataChoice) -> Pictures:
    if choice.channels is not None:
        return replace(pictures, channels=choice.channels)
    return replace(pictures, channels=1 if all_grey(pictures) else 3)


def _named(choice: DataChoice, split: str) -> Pictures:
    settings = DataSettings(name=choice.name, root=choice.options.root)
    source = _NAMED[choice.name]
    source.check(settings)
    images = source.load(settings, split, _NATIVE)  # type: ignore[arg-type]
    if images is None:
        raise DataError(f"{choice.name}: has no {split} split; expected test")
    return from_memory(images, name=choice.name)


def _timm(choice: DataChoice, split: str) -> Pictures:
    from timm.data import create_dataset

    options = choice.options
    if choice.name.lower() in ("torch/folder", "torch/image_folder"):
        raise DataError(f"{choice.name}: may mix the splits; expected the folder itself")
    try:
        dataset: Any = create_dataset(
            choice.name,
            root=None if options.root is None else str(options.root),
            split=split,
            download=options.download,
        )
        names = tuple(map(str, getattr(dataset, "classes", ())))
        return from_timm(dataset, name=choice.name, class_names=names)
    # Whatever a foreign library raises over a missing file, package, split or connection.
    except Exception as problem:
        raise DataError(
            f"{choice.name}: split {split} cannot be opened: {one_line(problem)}; expected "
            "data.root, or data.download=true"
        ) from None


def _check_broken(found: Scan, choice: DataChoice) -> None:
    if not found.broken or choice.options.skip_broken:
        return
    listed = [f"{path}: {problem}" for path, problem in list(found.broken.items())[:_MOST_LISTED]]
    more = len(found.broken) - len(listed)
    raise DataError(
        "\n".join([*listed, *([f"and {more} more"] if more else [])])
        + f"\n{choice.name}: {len(found.broken)} broken image files; expected whole ones, or "
        "data.skip_broken=true, which leaves them out"
    )


def _check_left(choice: DataChoice) -> None:
    for split, folder in named_splits(_root(choice)).items():
        if split == "test":
            continue
        left = from_folder(folder, without=choice.broken)
        empty = sorted(set(range(len(left.class_names))) - set(left.labels.tolist()))
        if empty:
            raise DataError(
                f"{folder / class_folders(folder)[empty[0]]}: has no image that is whole; "
                "expected at least one"
            )


def _notes(found: Scan, validation: Pictures | None) -> tuple[str, ...]:
    notes = []
    if found.broken:
        notes.append(f"{len(found.broken)} broken files are left out")
    target, usual = ("grey", "grey") if found.grey else ("RGB", "colour")
    others = [f"{number} {mode}" for mode, number in found.modes.items() if mode != usual]
    if others:
        notes.append(f"converted to {target}: {', '.join(others)}")
    if found.doubles:
        assert validation is not None
        share = len(found.doubles) / len(validation)
        text = (
            f"{len(found.doubles)} of {len(validation)} validation images are training images, "
            f"too, such as {found.doubles[0]}"
        )
        if share > _MOST_DOUBLES:
            raise DataError(f"{validation.name}: {text}; expected splits that share none")
        notes.append(text)
    return tuple(notes)
