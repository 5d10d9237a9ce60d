"""From data settings to images in memory.

The test split is read by `load_test` alone, and nothing that a search calls does so.
"""

from functools import lru_cache

from spach_nas.config.training_settings import DataSettings
from spach_nas.data.decoding import BrokenImagesError
from spach_nas.data.fashion import FASHION_MINI, FASHION_MNIST
from spach_nas.data.folder import FOLDER
from spach_nas.data.images import DataSplits, HeldOut, ImageSet, measure_normalisation
from spach_nas.data.source import DataSource
from spach_nas.data.splits import split_validation
from spach_nas.data.timm_sets import PREFIXES, TIMM
from spach_nas.errors import DataError, did_you_mean, one_of
from spach_nas.space.scaling import DataShape

_SOURCES = {"fashion-mini": FASHION_MINI, "fashion-mnist": FASHION_MNIST, "folder": FOLDER}


def data_set_names() -> tuple[str, ...]:
    """Names that `DataSettings.name` may hold; `torch/...` stands for all with this prefix."""
    return (*_SOURCES, *(f"{prefix}..." for prefix in PREFIXES))


def validate_settings(settings: DataSettings) -> None:
    """Find out cheaply, before anything is trained, whether the data are there.

    Raises:
        DataError: Unknown name, or a missing, empty or mixed-up folder.
    """
    _source(settings.name).check(settings)


@lru_cache(maxsize=64)
def data_shape(settings: DataSettings) -> DataShape:
    """Channels and classes, without decoding the whole set.

    Raises:
        DataError: The data are missing or unreadable.
    """
    validate_settings(settings)
    return _source(settings.name).shape(settings)


def load_train_and_validation(settings: DataSettings, *, image_size: tuple[int, int]) -> DataSplits:
    """What a search may see, at `image_size` (H, W).

    Raises:
        DataError: The data are missing, unreadable or too large for the memory.
    """
    validate_settings(settings)
    source = _source(settings.name)
    whole, validation = _load_both(settings, image_size)
    held_out = None
    notes = [*source.notes(settings), *whole.notes]
    if validation is None:
        held_out = HeldOut(share=settings.held_out_share, seed=settings.split_seed)
        kept, held = split_validation(
            whole.labels, held_out.share, seed=held_out.seed, names=whole.class_names
        )
        train, validation = whole.take(kept), whole.take(held)
    else:
        train = whole
        notes += [f"validation: {note}" for note in validation.notes]
    return DataSplits(
        train=train,
        validation=validation,
        normalisation=measure_normalisation(train.images),
        held_out=held_out,
        notes=tuple(notes),
    )


def _load_both(
    settings: DataSettings, image_size: tuple[int, int]
) -> tuple[ImageSet, ImageSet | None]:
    """Train and, where the set has its own, validation; broken files of both are told at once."""
    load = _source(settings.name).load
    broken: list[BrokenImagesError] = []
    found: list[ImageSet | None] = []
    for split in ("train", "validation"):
        try:
            found.append(load(settings, split, image_size))
        except BrokenImagesError as problem:
            broken.append(problem)
    if broken:
        raise broken[0].with_files_of(broken[1:])
    train, validation = found
    assert train is not None
    return train, validation


def load_test(settings: DataSettings, *, image_size: tuple[int, int]) -> ImageSet:
    """The test split at `image_size` (H, W), for a final figure only.

    Raises:
        DataError: There is no test split, or it is unreadable or too large for the memory.
    """
    validate_settings(settings)
    test = _source(settings.name).load(settings, "test", image_size)
    if test is None:
        raise DataError(f"{settings.root or settings.name}: has no test split")
    return test


def _source(name: str) -> DataSource:
    if name in _SOURCES:
        return _SOURCES[name]
    if name.lower().startswith(PREFIXES):
        return TIMM
    legal = data_set_names()
    raise DataError(
        f"unknown data set {name!r}; expected {one_of(legal)}{did_you_mean(name, _SOURCES)}"
    )
