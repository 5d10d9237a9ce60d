"""Images of a data set by which small number formats are calibrated and judged.

Letters: B batch, C channels, H and W image.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from spach_nas.config.training_settings import DataSettings
from spach_nas.data.decoding import evenly
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.data.reader import DataChoice, named_data, open_data
from spach_nas.data.split_reader import Pictures, labelled_as
from spach_nas.errors import DataError
from spach_nas.space.architecture import Architecture
from spach_nas.training import choose_runtime
from spach_nas.training.loaders import scoring_batches

# By how much the top-1 of a small form may be lower, unless a user allows more.
MAX_LOSS = 0.01
_CALIBRATION, _SCORED, _BATCH = 256, 2000, 50


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredImages:
    """Images as input of a network.

    Attributes:
        calibration: Training images, (B, C, H, W) each.
        scored: Validation images (B, C, H, W) and their labels (B,).
        origin: Description of the validation images.
    """

    calibration: tuple[Tensor, ...]
    scored: tuple[tuple[Tensor, Tensor], ...]
    origin: str

    @property
    def count(self) -> int:
        """Number of validation images."""
        return sum(len(labels) for _, labels in self.scored)


def named_settings(data: str) -> DataSettings:
    """The data that `--data` names.

    Raises:
        DataError: It is neither a folder nor a data set.
    """
    name, root = named_data(data, root=None)
    return DataSettings(name=name, root=root)


def read_scored_images(
    settings: DataSettings,
    *,
    preprocessing: Preprocessing,
    architecture: Architecture,
    source: str,
) -> ScoredImages:
    """Evenly spaced images of a data set, at the size of a network and prepared for it.

    Args:
        settings: The data set. If it has no validation split, the images that the network's
            training held out validate.
        preprocessing: That of the network.
        architecture: The network.
        source: Names the network in messages.

    Raises:
        DataError: The images are missing, broken, or not of the network's classes.
    """
    opened = open_data(
        DataChoice(
            settings=settings,
            channels=architecture.in_channels,
            held_out=preprocessing.held_out,
        )
    )
    names = preprocessing.class_names
    validation = opened.validation
    assert validation is not None
    both = [labelled_as(split, names, source=source) for split in (opened.train, validation)]
    if missing := set(names) - set(opened.train.class_names):
        raise DataError(
            f"{opened.choice.name}: lacks {len(missing)} of the {len(names)} classes of {source}, "
            f"such as {min(missing)!r}; expected all, so that calibration sees what the network "
            "tells apart"
        )

    def batches(split: Pictures, most: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield from scoring_batches(
            split.take(np.array(evenly(len(split), most), dtype=np.int64)),
            preprocessing=preprocessing,
            image_size=architecture.image_size,
            runtime=choose_runtime(device="cpu", precision="fp32"),
            batch_size=_BATCH,
            processes=0,
        )()

    return ScoredImages(
        # Other libraries take memory as it is, and here channels are last.
        calibration=tuple(images.contiguous() for images, _ in batches(both[0], _CALIBRATION)),
        scored=tuple((x.contiguous(), labels) for x, labels in batches(both[1], _SCORED)),
        origin=f"validation images of {opened.choice.name}",
    )
