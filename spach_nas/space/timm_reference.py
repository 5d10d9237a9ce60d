"""Models of timm to compare with: their names, and published accuracies; without torch.

`timm_accuracies.csv` holds facts that were copied from timm's repository; it names the source.
"""

import csv
import hashlib
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from spach_nas.errors import ArchitectureError, did_you_mean
from spach_nas.space.scaling import DataShape

TIMM = "timm/"  # before the name of a model of timm
_ACCURACIES = "timm_accuracies.csv"
# Every model of timm is a function in its sources, registered by this decorator.
_REGISTERED = re.compile(r"^@register_model\ndef (\w+)\(", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class TimmModel:
    """A network that timm builds.

    Attributes:
        name: As in timm, such as `caformer_s18`; a tag of weights may follow a dot.
        image_size: Height and width of the input.
        in_channels: Channels of the input.
        num_classes: Length of the output.
    """

    name: str
    image_size: tuple[int, int]
    in_channels: int = 3
    num_classes: int = 1000

    @property
    def arch_id(self) -> str:
        """Twelve hex digits that no other network has."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:12]

    @property
    def label(self) -> str:
        """The name as users write it."""
        return TIMM + self.name

    @property
    def shape(self) -> DataShape:
        """Channels and classes."""
        return DataShape(in_channels=self.in_channels, num_classes=self.num_classes)

    @property
    def sides(self) -> str:
        """The image size in words: `224x224`."""
        return "x".join(map(str, self.image_size))

    def __str__(self) -> str:
        return f"{self.label}, {self.sides} px, {self.shape}"


class Published(NamedTuple):
    """A published accuracy.

    Attributes:
        model: Name with the tag of the weights.
        image_size: Height and width at which it was measured.
        top1: On the validation images of ImageNet-1k, in percent; higher is better.
    """

    model: str
    image_size: int
    top1: float

    def __str__(self) -> str:
        return f"{self.top1:.1f} % at {self.image_size} px ({self.model})"


def is_timm(source: object) -> bool:
    """Whether a user names a model of timm."""
    return isinstance(source, str) and source.startswith(TIMM)


def timm_name(source: str) -> str:
    """The name in timm of what a user names.

    Raises:
        ArchitectureError: timm has no such model.
    """
    name = source.removeprefix(TIMM)
    names = timm_names()
    if name.partition(".")[0] not in names:
        nearest = did_you_mean(name.partition(".")[0], names)
        raise ArchitectureError(f"{source}: no such model of timm{nearest}")
    return name


@cache
def timm_names() -> frozenset[str]:
    """All of timm's models, read from its sources: its import would take seconds."""
    found = importlib.util.find_spec("timm")
    assert found is not None, "a dependency of this package"
    folders = (Path(place) / "models" for place in found.submodule_search_locations or ())
    texts = (path.read_text(encoding="utf-8") for folder in folders for path in folder.glob("*.py"))
    return frozenset(name for text in texts for name in _REGISTERED.findall(text))


def published(name: str) -> Published | None:
    """The published accuracy of a model; without a tag, that of the weights in the table.

    Only weights are in the table that saw no other images than those of ImageNet-1k.
    """
    tagged = "." in name
    for one in _accuracies():
        if name == (one.model if tagged else one.model.partition(".")[0]):
            return one
    return None


@cache
def _accuracies() -> tuple[Published, ...]:
    text = (files("spach_nas.space") / _ACCURACIES).read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        Published(row["model"], int(row["image_size"]), float(row["top1"])) for row in rows
    )
