"""What every kind of data set offers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from spach_nas.config.training_settings import DataSettings
from spach_nas.data.pictures import Decoded
from spach_nas.space.scaling import DataShape

Split = Literal["train", "validation", "test"]


class Readable(Protocol):
    """A split that can be read into memory: `Pictures`, or a stream without positions."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One for each class."""

    @property
    def channels(self) -> int:
        """1 or 3."""

    def read(self, size: tuple[int, int]) -> Decoded:
        """All images at `size` (H, W)."""


class Open(Protocol):
    """Opens a split; None where the set has none."""

    def __call__(
        self, settings: DataSettings, split: Split, *, channels: int | None = None
    ) -> Readable | None:
        """The split.

        Args:
            settings: Of the data.
            split: Which one.
            channels: 1 or 3; None: those of the train split.
        """


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
