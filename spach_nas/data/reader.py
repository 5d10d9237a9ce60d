"""Finds and reads the images of a data set: one reader, and one rule for splits, for every command.

The rule is described in `docs/tutorial_data.md`:

- `train` is for training;
- the validation split is for scores. If the set has none, or a share is set, a seeded share of each
  class of train is held out instead;
- `test` is for final scores. Nothing that a search or a training calls opens it.

A search holds its images in memory (`load_train_and_validation`). A training and an evaluation open
them by position (`open_data`, `open_split`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from spach_nas.config.training_settings import HELD_OUT_SHARE, DataSettings
from spach_nas.data.controls import CONTROLS, TASKS
from spach_nas.data.controls import PREFIX as CONTROLS_PREFIX
from spach_nas.data.decoding import broken_images, check_range, conversions, evenly
from spach_nas.data.fashion import FASHION_MINI, FASHION_MNIST
from spach_nas.data.held_out import split_validation
from spach_nas.data.image_folder import FOLDER, class_folders, folder_pictures, named_splits
from spach_nas.data.images import (
    DataSplits,
    HeldOut,
    ImageSet,
    Labels,
    Pixels,
    measure_normalisation,
)
from spach_nas.data.split_reader import DataSource, Decoded, Pictures, Scan, Split, Stream, scan
from spach_nas.data.timm_sets import PREFIXES, TIMM
from spach_nas.errors import DataError, did_you_mean, one_of
from spach_nas.space.scaling import DataShape

EvaluationSplit = Literal["validation", "test"]
Part = TypeVar("Part", ImageSet, Pictures)
_SOURCES = {"fashion-mini": FASHION_MINI, "fashion-mnist": FASHION_MNIST, "folder": FOLDER}
_CONTROLS = tuple(f"{CONTROLS_PREFIX}{task}" for task in TASKS)
_BY_POSITION = ("torch/", "hfds/")
# If a larger share of validation images are training images, a folder was probably copied.
_MOST_DOUBLES = 0.1


def data_set_names() -> tuple[str, ...]:
    """Legal values of `DataSettings.name`; `torch/...` stands for all names with this prefix."""
    return (*_SOURCES, *_CONTROLS, *(f"{prefix}..." for prefix in PREFIXES))


def validate_settings(settings: DataSettings) -> None:
    """Check quickly, before anything is trained, whether the data are there.

    Raises:
        DataError: The name is unknown, or the folder is missing, empty or not in order.
    """
    _source(settings.name).check(settings)


@lru_cache(maxsize=64)
def data_shape(settings: DataSettings) -> DataShape:
    """Number of channels and classes, without decoding the whole set.

    Raises:
        DataError: The data are missing or cannot be read.
    """
    validate_settings(settings)
    return _source(settings.name).shape(settings)


def load_train_and_validation(settings: DataSettings, *, image_size: tuple[int, int]) -> DataSplits:
    """The images of a search at `image_size` (H, W).

    Raises:
        DataError: The data are missing, cannot be read, or do not fit into memory.
    """
    validate_settings(settings)
    train, validation = _load(settings, "train", "validation", image_size=image_size)
    assert train is not None, "every data set has a train split"
    held_out = None
    notes = [*_source(settings.name).notes(settings), *train.notes]
    if validation is None:
        held_out = HeldOut(share=settings.held_out_share, seed=settings.split_seed)
        train, validation = _hold_out(train, held_out)
    else:
        notes += [f"validation: {note}" for note in validation.notes]
    return DataSplits(
        train=train,
        validation=validation,
        normalisation=measure_normalisation(train.images),
        held_out=held_out,
        notes=tuple(notes),
    )


def _hold_out(train: Part, part: HeldOut) -> tuple[Part, Part]:
    kept, out = split_validation(train.labels, part.share, seed=part.seed, names=train.class_names)
    return train.take(kept), train.take(out)


def _load(
    settings: DataSettings, *splits: Split, image_size: tuple[int, int]
) -> list[ImageSet | None]:
    """Splits in memory, None if there is no such one. Broken files of all are reported at once."""
    opened = [_source(settings.name).open(settings, split) for split in splits]
    decoded = [None if split is None else split.read(image_size) for split in opened]
    broken: dict[str, str] = {}
    for item in filter(None, decoded):
        broken |= item.broken
    if broken and not settings.skip_broken:
        raise broken_images(broken, name=DataChoice(settings=settings).name)
    return [
        None if split is None or item is None else _image_set(split, item)
        for split, item in zip(opened, decoded, strict=True)
    ]


def _image_set(split: Pictures | Stream, found: Decoded) -> ImageSet:
    check_range(found.stored, name=split.name)
    notes = [conversions(found.stored, channels=split.channels)]
    if found.broken:
        _check_classes(found.labels, split)
        notes.append(_broken_note(found.broken))
    return ImageSet(
        images=found.pixels,
        labels=found.labels,
        class_names=split.class_names,
        notes=tuple(filter(None, notes)),
    )


def has_test(settings: DataSettings) -> bool:
    """Whether there is a test split, which may still be damaged.

    Raises:
        DataError: The folder of the data is missing or not in order.
    """
    return _source(settings.name).has_test(settings)


def load_test(settings: DataSettings, *, image_size: tuple[int, int]) -> ImageSet:
    """The test split at `image_size` (H, W), for final scores only.

    Raises:
        DataError: There is no test split, it cannot be read, or it does not fit into memory.
    """
    validate_settings(settings)
    (test,) = _load(settings, "test", image_size=image_size)
    if test is None:
        raise DataError(f"{settings.root or settings.name}: has no test split")
    return test


def sample_validation(settings: DataSettings, *, image_size: tuple[int, int], count: int) -> Pixels:
    """Up to `count` evenly spaced validation images of a search, (n, H, W, C).

    Only these are decoded, unless the set comes from a library or broken files are skipped: which
    images are held out then depends on which others are intact.

    Raises:
        DataError: The data are missing, cannot be read, or do not fit into memory.
    """
    if settings.skip_broken or settings.name.lower().startswith(PREFIXES):
        whole = load_train_and_validation(settings, image_size=image_size).validation
        return whole.images[evenly(len(whole), count)]
    validation = open_data(DataChoice(settings=settings)).validation
    assert validation is not None
    some = validation.take(np.array(evenly(len(validation), count), dtype=np.int64))
    return some.in_memory(image_size).images


@dataclass(frozen=True, kw_only=True, slots=True)
class DataChoice:
    """Which images a training or an evaluation uses. Every worker opens them itself.

    Attributes:
        settings: The data set and how to read it.
        validated: Whether to validate. If not, all of train is for training.
        check_images: Whether `check_data` reads every file of a folder once.
        broken: Paths of files to leave out.
        channels: 1 or 3; None means those of the images.
        held_out: The part of train that the search of the network held out. It is used for
            validation again if the set has no validation split and the settings set no share.
        own_validation: Whether the set has its own validation split; None if not yet known.
    """

    settings: DataSettings
    validated: bool = True
    check_images: bool = True
    broken: frozenset[str] = frozenset()
    channels: int | None = None
    held_out: HeldOut | None = None
    own_validation: bool | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of images, not a named data set."""
        return self.settings.name == "folder"

    @property
    def name(self) -> str:
        """The path of the folder, or the name of the set."""
        return str(self.settings.root) if self.is_folder else self.settings.name

    @property
    def part(self) -> HeldOut:
        """The part of train to hold out."""
        settings = self.settings
        if settings.validation is not None:
            return HeldOut(share=settings.validation, seed=settings.split_seed)
        return self.held_out or HeldOut(share=HELD_OUT_SHARE, seed=settings.split_seed)

    @property
    def part_note(self) -> str:
        """A note on the part of train that is used for validation, and the reason."""
        text = f"validation images: held out of the train split, {self.part}"
        if self.settings.validation is None and self.held_out is not None:
            return f"{text}, as the network's search or training did"
        return text


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenData:
    """The images of a training, opened by position.

    Attributes:
        choice: The choice that was opened, without broken files.
        train: Images for training.
        validation: Images for validation; None without validation.
        notes: Remarks for users.
        held_out: The part of train that is used for validation. None if there is a validation
            split, or no validation.
    """

    choice: DataChoice
    train: Pictures
    validation: Pictures | None
    notes: tuple[str, ...] = ()
    held_out: HeldOut | None = None


def named_data(name: str, *, root: Path | None) -> tuple[str, Path | None]:
    """The `name` and `root` of settings for the value of `--data`: the name of a set or a folder.

    Raises:
        DataError: It is neither.
    """
    named = [*(source for source in _SOURCES if source != "folder"), *_CONTROLS]
    if name in named or name.lower().startswith((CONTROLS_PREFIX, *PREFIXES)):
        return name, root
    if not name.strip() or not Path(name).is_dir():
        names = (*named, *(f"{prefix}..." for prefix in _BY_POSITION))
        raise DataError(
            f"{name or repr('')}: is neither a folder nor a data set; expected a folder with "
            f"train/, {one_of(names)}{did_you_mean(name, named)}"
        )
    # The whole path: workers may run in another folder.
    return "folder", Path(name).resolve()


def check_there(choice: DataChoice, *, for_training: bool) -> None:
    """Check that the images are there, without opening any.

    Raises:
        DataError: They are not, or, for a training, the splits do not fit each other.
    """
    settings = choice.settings
    lowered = settings.name.lower()
    if lowered.startswith(PREFIXES) and not lowered.startswith(_BY_POSITION):
        raise DataError(
            f"{settings.name}: gives no access to images by position, which a training or an "
            "evaluation at full size needs; expected "
            f"{one_of(f'{prefix}...' for prefix in _BY_POSITION)}, or a folder"
        )
    if choice.is_folder and not for_training:
        named_splits(_folder(choice))
    else:
        validate_settings(settings)


def open_data(choice: DataChoice) -> OpenData:
    """The images of a training, without reading the files.

    Raises:
        DataError: They are missing, or the validation split has disappeared since the planning.
    """
    check_there(choice, for_training=True)
    train = _open(choice, "train")
    assert train is not None
    validation = _open(choice, "validation") if choice.validated else None
    if choice.own_validation and validation is None:
        raise DataError(
            f"{choice.name}: has no val/ or validation/ next to train/; expected the one that was "
            "there when the training was planned, on every machine"
        )
    own = validation is not None
    notes = _source(choice.settings.name).notes(choice.settings)
    held_out = None
    if choice.validated and validation is None:
        held_out = choice.part
        train, validation = _hold_out(train, held_out)
        if choice.settings.validation is None:
            notes = (choice.part_note, *notes)
    return OpenData(
        choice=replace(choice, own_validation=own),
        train=train,
        validation=validation,
        notes=notes,
        held_out=held_out,
    )


def _open(choice: DataChoice, split: Split) -> Pictures | None:
    source = _source(choice.settings.name)
    opened = source.open(choice.settings, split, channels=choice.channels)
    assert opened is None or isinstance(opened, Pictures), "check_there refuses streams"
    return None if opened is None else opened.without(choice.broken)


def check_data(choice: DataChoice) -> OpenData:
    """The images of a training, after every file of a folder was read once, if requested.

    Raises:
        DataError: Files are broken and must not be skipped, or too many validation images are
            training images.
    """
    data = open_data(choice)
    if not (choice.is_folder and choice.check_images):
        return data
    validation, channels = data.validation, data.train.channels
    files = () if validation is None else validation.files
    found = scan(data.train.files, files, channels=channels)
    _check_scan(found, choice)
    notes = _notes(found, validation, channels=channels)
    clean = open_data(replace(choice, broken=frozenset(found.broken), channels=channels))
    if found.broken:
        for pictures in filter(None, (clean.train, clean.validation)):
            _check_classes(pictures.labels, pictures)
    return replace(clean, notes=(*clean.notes, *notes))


def open_split(choice: DataChoice, split: EvaluationSplit) -> Pictures:
    """A split to evaluate on: a complete split of the set, or what a search held out.

    Folders are taken by their own names: `val/` is the validation split, even if a search that
    held out a share of train used it as its test split.

    Raises:
        DataError: There is no such split.
    """
    if _is_held_out(choice, split):
        validation = open_data(choice).validation
        assert validation is not None
        return validation
    pictures = _own_split(choice, split)
    if pictures is None:
        raise DataError(
            f"{choice.name}: has no {split} split, and the network does not say what its search "
            f"held out; expected --split {'test' if split == 'validation' else 'val'}, or a folder "
            "with that split"
        )
    return pictures


def _own_split(choice: DataChoice, split: EvaluationSplit) -> Pictures | None:
    if not choice.is_folder:
        return _open(choice, split)
    splits = named_splits(_folder(choice))
    if split not in splits:
        return None
    channels = choice.channels or data_shape(choice.settings).in_channels
    return folder_pictures(splits[split], channels=channels).without(choice.broken)


def check_split(choice: DataChoice, split: EvaluationSplit) -> tuple[Pictures, tuple[str, ...]]:
    """A split to evaluate on, after every file of a folder was read once, and remarks for users.

    Raises:
        DataError: There is no such split, or files are broken and must not be skipped.
    """
    pictures, notes = open_split(choice, split), []
    held = _is_held_out(choice, split)
    if held:
        notes.append(
            f"{choice.part_note}; the network was chosen by its score on them, so it will do "
            "slightly worse on unseen images"
        )
    if not (pictures.files and choice.check_images):
        return pictures, tuple(notes)
    # Which images are held out of train depends on which of its files are intact.
    whole = replace(choice, broken=frozenset())
    train = _open(whole, "train") if held else None
    found = scan((train or pictures).files, channels=pictures.channels)
    _check_scan(found, choice)
    clean = open_split(replace(choice, broken=frozenset(found.broken)), split)
    return clean, (*notes, *_notes(found, None, channels=pictures.channels))


def default_split(choice: DataChoice) -> EvaluationSplit:
    """Test if the set has a split of that name, otherwise validation.

    Raises:
        DataError: There is no such folder.
    """
    if choice.is_folder and "test" not in named_splits(_folder(choice)):
        return "validation"
    return "test"


def class_names(choice: DataChoice) -> tuple[str, ...]:
    """The classes of a set, without reading its files.

    Raises:
        DataError: The set is missing.
    """
    if choice.is_folder:
        return class_folders(named_splits(_folder(choice))["train"])
    train = _open(choice, "train")
    assert train is not None
    return train.class_names


def _is_held_out(choice: DataChoice, split: EvaluationSplit) -> bool:
    """Whether `split` is the part of train that the search of the network held out."""
    if split != "validation" or choice.held_out is None:
        return False
    return not choice.is_folder or "validation" not in named_splits(_folder(choice))


def _folder(choice: DataChoice) -> Path:
    assert choice.settings.root is not None
    return choice.settings.root


def _check_scan(found: Scan, choice: DataChoice) -> None:
    if found.broken and not choice.settings.skip_broken:
        raise broken_images(found.broken, name=choice.name)
    check_range(found.stored, name=choice.name)


def _notes(found: Scan, validation: Pictures | None, *, channels: int) -> tuple[str, ...]:
    notes = [_broken_note(found.broken)] if found.broken else []
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
            raise DataError(f"{validation.name}: {text}; expected splits without common images")
        notes.append(text)
    return tuple(notes)


def _check_classes(labels: Labels, split: Pictures | Stream) -> None:
    """Check that every class of a split still has an intact image."""
    empty = sorted(set(range(len(split.class_names))) - set(labels.tolist()))
    if empty:
        raise DataError(
            f"{Path(split.name) / split.class_names[empty[0]]}: has no intact image; "
            "expected at least one"
        )


def _broken_note(broken: Mapping[str, str]) -> str:
    """A note with the number of files that are left out, and the first of them."""
    files = "1 broken file is" if len(broken) == 1 else f"{len(broken):,} broken files are"
    return f"{files} left out, such as {next(iter(broken))}"


def _source(name: str) -> DataSource:
    if name in _SOURCES:
        return _SOURCES[name]
    if name.lower().startswith(PREFIXES):
        return TIMM
    if name.startswith(CONTROLS_PREFIX):
        return CONTROLS
    near = did_you_mean(name, (*_SOURCES, *_CONTROLS))
    raise DataError(f"unknown data set {name!r}; expected {one_of(data_set_names())}{near}")
