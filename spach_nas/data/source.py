"""The interface of every kind of data set."""

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
        """The split with these channels or those of train; None if there is no such split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """One kind of data set, as functions that raise DataError.

    Attributes:
        check: Checks that the files are there and in order, without decoding an image.
        shape: Number of channels and classes, without decoding the whole set.
        open: Opens a split. If there is no validation split, a share of train is held out.
        has_test: Whether there is a test split. Called after `check`.
        notes: Remarks about the whole set for users, without decoding an image.
    """

    check: Callable[[DataSettings], None]
    shape: Callable[[DataSettings], DataShape]
    open: Open
    has_test: Callable[[DataSettings], bool] = lambda _: True
    notes: Callable[[DataSettings], tuple[str, ...]] = lambda _: ()
