"""From what `--data` names to images for training, validation and test, which share no image.

The splits of a folder, channels and pixels are those of a search: `spach_nas.data` reads both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from spach_nas.config.training_settings import HELD_OUT_SHARE, DataSettings
from spach_nas.data.decoding import BrokenImagesError, check_range, conversions
from spach_nas.data.fashion import FASHION_MINI, FASHION_MNIST
from spach_nas.data.folder import (
    broken_note,
    check_classes,
    check_splits,
    class_folders,
    find_splits,
    folder_channels,
    left_aside,
    named_splits,
)
from spach_nas.data.images import HeldOut
from spach_nas.data.source import DataSource
from spach_nas.data.splits import split_validation
from spach_nas.data.timm_sets import PREFIXES
from spach_nas.errors import DataError, did_you_mean, one_line, one_of
from spach_nas.full_size.pictures import Pictures, from_folder, from_memory, from_timm
from spach_nas.full_size.recipe import DataOptions
from spach_nas.full_size.scan import Scan, scan

EvaluationSplit = Literal["validation", "test"]
_NAMED: Mapping[str, DataSource] = {"fashion-mini": FASHION_MINI, "fashion-mnist": FASHION_MNIST}
_NATIVE = (28, 28)
_BY_POSITION = ("torch/", "hfds/")
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
        held_out: What the search of the network held out of the train split, to be the validation
            images again where the set has none of its own and the options say nothing.
        own_validation: Whether validation images are a split of their own; None: not looked yet.
    """

    name: str
    options: DataOptions
    broken: frozenset[str] = frozenset()
    channels: int | None = None
    held_out: HeldOut | None = None
    own_validation: bool | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is neither a set's name nor timm's."""
        return self.name not in _NAMED and not self.name.lower().startswith(PREFIXES)

    @property
    def part(self) -> HeldOut:
        """What is held out of a train split; a share of 0: nothing."""
        options = self.options
        if options.validation is not None:
            return HeldOut(share=options.validation, seed=options.split_seed)
        return self.held_out or HeldOut(share=HELD_OUT_SHARE, seed=options.split_seed)

    @property
    def part_note(self) -> str:
        """Which part of the train split validates, and why that one."""
        text = f"validation images: held out of the train split, {self.part}"
        if self.options.validation is None and self.held_out is not None:
            return f"{text}, as the network's search or training did"
        return text


@dataclass(frozen=True, kw_only=True, slots=True)
class FullData:
    """What a training sees.

    Attributes:
        choice: What was opened, without broken files.
        train: What is trained on.
        validation: What is scored; None where nothing is.
        notes: What a person should know of them.
        held_out: What of the train split validates; None: a split of its own, or nothing.
    """

    choice: DataChoice
    train: Pictures
    validation: Pictures | None
    notes: tuple[str, ...] = ()
    held_out: HeldOut | None = None


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
        DataError: They are missing, or have lost their validation split since it was chosen.
    """
    data = _open(choice)
    own = data.validation is not None and data.held_out is None
    if choice.own_validation and not own:
        raise DataError(
            f"{choice.name}: has no val/ or validation/ beside train/; expected the one that was "
            "there when the training was planned, on every machine"
        )
    return replace(data, choice=replace(choice, own_validation=own))


def _open(choice: DataChoice) -> FullData:
    if choice.name in _NAMED:
        return _held_out(_with_channels(_named(choice, "train"), choice), choice)
    if choice.is_folder:
        return _open_folder(choice)
    train = _with_channels(_timm(choice, "train"), choice)
    if choice.options.validation is not None:
        return _held_out(train, choice)
    validation = replace(_timm(choice, "validation"), channels=train.channels)
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
    channels = data.train.channels
    found = scan(
        data.train.files, () if validation is None else validation.files, channels=channels
    )
    _check_broken(found, choice)
    check_range(found.stored, name=choice.name)
    notes = _notes(found, validation, channels=channels)
    clean = open_data(replace(choice, broken=frozenset(found.broken), channels=channels))
    if found.broken:
        for pictures in filter(None, (clean.train, clean.validation)):
            check_classes(pictures.labels, Path(pictures.name))
    return replace(clean, notes=(*clean.notes, *notes))


def open_split(choice: DataChoice, split: EvaluationSplit) -> Pictures:
    """A split to evaluate on: one that the set itself has, whole, or what its search held out.

    Raises:
        DataError: It has none.
    """
    if _is_held_out(choice, split):
        validation = open_data(choice).validation
        assert validation is not None, "no share of 0 is known"
        return validation
    if choice.name in _NAMED:
        return _with_channels(_named(choice, split), choice)
    if not choice.is_folder:
        return _with_channels(_timm(choice, split), choice)
    splits = named_splits(_root(choice))
    if split not in splits:
        raise DataError(
            f"{choice.name}: has no {split} split, and the network does not say what its search "
            f"held out; expected {one_of(sorted({'test', 'validation', *splits} - {split}))}"
        )
    return _with_channels(from_folder(splits[split], without=choice.broken), choice)


def class_names(choice: DataChoice) -> tuple[str, ...]:
    """The classes of a set, without looking into its files.

    Raises:
        DataError: It is missing.
    """
    if choice.is_folder:
        return class_folders(named_splits(_root(choice))["train"])
    pictures = _named(choice, "train") if choice.name in _NAMED else _timm(choice, "train")
    return pictures.class_names


def _is_held_out(choice: DataChoice, split: EvaluationSplit) -> bool:
    """Whether a split is the part of train that the search of the network held out."""
    if split != "validation" or choice.held_out is None:
        return False
    if choice.is_folder:
        return "validation" not in named_splits(_root(choice))
    return choice.name in _NAMED


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
    pictures, notes = open_split(choice, split), []
    held = _is_held_out(choice, split)
    if held:
        notes.append(f"{choice.part_note}, and chose it: unseen images would be a little harder")
    if not (pictures.files and choice.options.check_images):
        return pictures, tuple(notes)
    # What is held out of train hangs on which files of train are whole.
    files = from_folder(named_splits(_root(choice))["train"]).files if held else pictures.files
    found = scan(files, channels=pictures.channels)
    _check_broken(found, choice)
    check_range(found.stored, name=choice.name)
    clean = open_split(replace(choice, broken=frozenset(found.broken)), split)
    return clean, (*notes, *_notes(found, None, channels=pictures.channels))


def _open_folder(choice: DataChoice) -> FullData:
    root = _root(choice)
    splits = find_splits(root, choice.options.validation)
    check_splits(splits)
    channels = choice.channels or folder_channels(splits["train"])
    train = replace(from_folder(splits["train"], without=choice.broken), channels=channels)
    aside = left_aside(root, splits)
    notes = () if aside is None else (aside,)
    if "validation" not in splits:
        data = _held_out(train, choice)
        return replace(data, notes=(*data.notes, *notes))
    validation = from_folder(splits["validation"], without=choice.broken)
    validation = replace(validation, channels=channels)
    return FullData(choice=choice, train=train, validation=validation, notes=notes)


def _held_out(train: Pictures, choice: DataChoice) -> FullData:
    part = choice.part
    if part.share == 0:
        return FullData(choice=choice, train=train, validation=None)
    kept, out = split_validation(train.labels, part.share, seed=part.seed, names=train.class_names)
    return FullData(
        choice=choice,
        train=train.take(kept),
        validation=train.take(out),
        notes=(choice.part_note,) if choice.options.validation is None else (),
        held_out=part,
    )


def _root(choice: DataChoice) -> Path:
    root = Path(choice.name)
    if not choice.name.strip() or not root.is_dir():
        names = (*_NAMED, *(f"{prefix}..." for prefix in _BY_POSITION))
        raise DataError(
            f"{choice.name or repr('')}: is no folder and no data set; expected a folder with "
            f"train/, {one_of(names)}{did_you_mean(choice.name, _NAMED)}"
        )
    return root


def _with_channels(pictures: Pictures, choice: DataChoice) -> Pictures:
    return pictures if choice.channels is None else replace(pictures, channels=choice.channels)


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
    if not choice.name.lower().startswith(_BY_POSITION):
        raise DataError(
            f"{choice.name}: has no images by position, which a training at full size asks for; "
            f"expected {one_of(f'{prefix}...' for prefix in _BY_POSITION)}, or a folder"
        )
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
    if found.broken and not choice.options.skip_broken:
        raise BrokenImagesError(found.broken, name=choice.name, remedy="data.skip_broken=true")


def _notes(found: Scan, validation: Pictures | None, *, channels: int) -> tuple[str, ...]:
    notes = [broken_note(found.broken)] if found.broken else []
    converted = conversions(found.stored, channels=channels)
    if converted is not None:
        notes.append(converted)
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
