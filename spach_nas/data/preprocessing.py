"""How images become the input of a network, which has to be stored with a trained network."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from spach_nas.data.images import DataSplits, HeldOut, Normalisation
from spach_nas.errors import StudyError
from spach_nas.space.scaling import DataShape


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """The preprocessing of the images of a training.

    Attributes:
        mean: Mean of each channel; pixels are in [0, 1].
        std: Standard deviation of each channel; pixels are in [0, 1].
        class_names: The classes in the order of the outputs.
        crop_share: Images are resized (bicubic, antialiased) and a square of this share of the
            shorter side is cut from the centre, such as 224 of 256. None: they are not enlarged,
            and smaller ones are padded with zeros.
        held_out: The part of the train split that was used for validation. None if it is not known
            or validation had a split of its own.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    crop_share: float | None = None
    # Older studies do not record it, and have the same images nevertheless.
    held_out: HeldOut | None = field(default=None, compare=False)

    @property
    def data_shape(self) -> DataShape:
        """Number of channels and classes."""
        return DataShape(in_channels=len(self.mean), num_classes=len(self.class_names))

    @property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation."""
        return Normalisation(mean=self.mean, std=self.std)


def preprocessing(splits: DataSplits) -> Preprocessing:
    """The preprocessing of the images of these splits."""
    return Preprocessing(
        mean=splits.normalisation.mean,
        std=splits.normalisation.std,
        class_names=splits.train.class_names,
        held_out=splits.held_out,
    )


def to_json(value: Preprocessing) -> str:
    """The text of a file for `read_preprocessing`."""
    return json.dumps(asdict(value), indent=2) + "\n"


def read_preprocessing(path: Path) -> Preprocessing:
    """Read a file with the text of `to_json`.

    Raises:
        StudyError: The file is missing or damaged.
    """
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError):
        raise StudyError(f"{path}: missing or damaged; expected what the search wrote") from None


def from_json(text: str) -> Preprocessing:
    """The preprocessing in a JSON document, which may have other keys, too.

    If the document is damaged, ValueError, TypeError or KeyError is raised.
    """
    plain = json.loads(text)
    crop_share, held_out = plain.get("crop_share"), plain.get("held_out")
    return Preprocessing(
        mean=tuple(map(float, plain["mean"])),
        std=tuple(map(float, plain["std"])),
        class_names=tuple(map(str, plain["class_names"])),
        crop_share=None if crop_share is None else float(crop_share),
        held_out=None
        if held_out is None
        else HeldOut(share=float(held_out["share"]), seed=int(held_out["seed"])),
    )
