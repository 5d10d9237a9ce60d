"""How images become the input of a network: what a trained network has to carry with it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from spach_nas.data.images import DataSplits, HeldOut, Normalisation
from spach_nas.errors import StudyError
from spach_nas.space.scaling import DataShape


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """What the images of a training went through.

    Attributes:
        mean: Of each channel, of pixels in [0, 1].
        std: Of each channel, of pixels in [0, 1].
        class_names: In the order of the outputs.
        crop_share: Images are resized (bicubic, antialiased) and a square of this share of the
            shorter side is cut from the centre, such as 224 of 256; None: they are not enlarged,
            and smaller ones are padded with zeros.
        held_out: What of the train split was not trained on but scored; None: not known, or a split
            of its own.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    crop_share: float | None = None
    # Studies of before do not say it, and are none the less of the same images.
    held_out: HeldOut | None = field(default=None, compare=False)

    @property
    def data_shape(self) -> DataShape:
        """Channels and classes."""
        return DataShape(in_channels=len(self.mean), num_classes=len(self.class_names))

    @property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation."""
        return Normalisation(mean=self.mean, std=self.std)


def preprocessing(splits: DataSplits) -> Preprocessing:
    """What the images of these splits go through."""
    return Preprocessing(
        mean=splits.normalisation.mean,
        std=splits.normalisation.std,
        class_names=splits.train.class_names,
        held_out=splits.held_out,
    )


def to_json(value: Preprocessing) -> str:
    """What `read_preprocessing` reads."""
    return json.dumps(asdict(value), indent=2) + "\n"


def read_preprocessing(path: Path) -> Preprocessing:
    """Read what `to_json` gave.

    Raises:
        StudyError: The file is missing or damaged.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        plain |= {name: tuple(plain[name]) for name in ("mean", "std", "class_names")}
        if plain.get("held_out") is not None:
            plain["held_out"] = HeldOut(**plain["held_out"])
        return Preprocessing(**plain)
    except (OSError, ValueError, TypeError, KeyError):
        raise StudyError(f"{path}: missing or damaged; expected what the search wrote") from None
