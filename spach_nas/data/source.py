"""What every kind of data set offers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from spach_nas.config.training_settings import DataSettings
from spach_nas.data.images import ImageSet
from spach_nas.space.scaling import DataShape

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """One kind of data set, as three functions that raise DataError.

    Attributes:
        check: Finds what is missing or mixed up, without decoding an image.
        shape: Channels and classes, without decoding the whole set.
        load: One split at (H, W). `validation` is None where a part of `train` has to serve.
        notes: What a person should know of the whole set, without decoding an image.
    """

    check: Callable[[DataSettings], None]
    shape: Callable[[DataSettings], DataShape]
    load: Callable[[DataSettings, Split, tuple[int, int]], ImageSet | None]
    notes: Callable[[DataSettings], tuple[str, ...]] = lambda _: ()
