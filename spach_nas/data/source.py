"""What every kind of data set offers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from spach_nas.config.training_settings import DataSettings
from spach_nas.data.split_reader import Pictures, Stream
from spach_nas.space.scaling import DataShape

Split = Literal["train", "validation", "test"]


class Open(Protocol):
    """Opens a split."""

    def __call__(
        self, settings: DataSettings, split: Split, *, channels: int | None = None
    ) -> Pictures | Stream | None:
        """The split, with these channels or those of train; None where the set has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """One kind of data set, as functions that raise DataError.

    Attributes:
        check: Finds what is missing or mixed up, without decoding an image.
        shape: Channels and classes, without decoding the whole set.
        open: One split. Without a validation split, a share of train is held out.
        has_test: Whether there is a test split; `check` has passed.
        notes: What a person should know of the whole set, without decoding an image.
    """

    check: Callable[[DataSettings], None]
    shape: Callable[[DataSettings], DataShape]
    open: Open
    has_test: Callable[[DataSettings], bool] = lambda _: True
    notes: Callable[[DataSettings], tuple[str, ...]] = lambda _: ()
