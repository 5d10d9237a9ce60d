"""A search space: the set of architectures that a YAML file describes.

Every choice is a parameter of a static encoding (name and range never change), the one form that
all samplers of Optuna take. Several encodings may give one architecture; `encode` gives the
canonical one, and architectures, not encodings, are counted and sampled.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter

from spach_nas.errors import SearchSpaceError, one_of
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.layouts import Value
from spach_nas.space.scaling import DataShape
from spach_nas.space.space_choices import (
    SpaceChoices,
    all_choices,
    numbered_stages,
    stage_sizes,
    without_prefix,
)
from spach_nas.space.space_counting import globals_with_numbers
from spach_nas.space.space_mistakes import mistakes
from spach_nas.space.stage_space import (
    PER_STAGE,
    Encoding,
    describe_stage,
    has_effect,
    legal_choices,
    own_choices,
    pick,
    sample_stage,
    value_of,
)
from spach_nas.validation import read_yaml, validate


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace(SpaceChoices):
    """A set of architectures. Every field is a choice; one value means no choice.

    Raises:
        SearchSpaceError: A choice that cannot be built, such as a width that the heads do not
            divide; one line for each mistake.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        found = list(dict.fromkeys(mistakes(self)))
        try:
            object.__setattr__(self, "options", legal_choices(self.options))
        except SearchSpaceError as error:
            found += str(error).split("\n")
        if found:
            raise SearchSpaceError("\n".join(found))

    def for_data(self, data: DataShape) -> "SearchSpace":
        """This space with the channels and classes of the data where it leaves them open."""
        if not self.is_open:
            return self
        return replace(
            self,
            in_channels=data.in_channels if self.in_channels is None else self.in_channels,
            num_classes=data.num_classes if self.num_classes is None else self.num_classes,
        )

    def describe_targets(self, data: DataShape | None) -> str:
        """Channels and classes of the targets, and whose they are.

        Args:
            data: Those of the data; None: there are none.
        """
        if data == self.shape:
            return f"{data}, as the data have"
        if data is not None:
            return f"{self.shape}, which the space fixes; the data have {data}"
        if self.is_open:
            return f"{self.shape}, ImageNet's; in a search those of the data"
        return f"{self.shape}, which the space fixes"

    @property
    def parameters(self) -> dict[str, tuple[Value, ...]]:
        """Name and choices of every parameter with more than one, in the order of the encoding."""
        return {name: values for name, values in all_choices(self).items() if len(values) > 1}

    def size(self) -> int:
        """Number of distinct architectures."""
        return sum(number for _, number in globals_with_numbers(self))

    def encodings(self) -> int:
        """Number of encodings; several may give one architecture."""
        return math.prod(len(values) for values in self.parameters.values())

    def sample(self, seed: int | np.random.Generator) -> Architecture:
        """One architecture, uniformly over the distinct ones."""
        rng = np.random.default_rng(seed)
        numbers = globals_with_numbers(self)
        values, _ = numbers[pick([number for _, number in numbers], rng)]
        while True:
            # A parameter without effect holds its first choice: reject the copies of the others.
            encoding = dict(values)
            for prefix, stage in numbered_stages(self):
                encoding |= _prefixed(prefix, sample_stage(stage, rng))
            found = self.decode(encoding)
            if self.encode(found) == {name: encoding[name] for name in self.parameters}:
                return found

    def decode(self, encoding: Mapping[str, Value]) -> Architecture:
        """The architecture of an encoding.

        Args:
            encoding: A value for each of `parameters`; further ones are ignored.

        Raises:
            SearchSpaceError: A parameter is missing, or its value is none of the choices.
        """
        values = _complete(self, encoding)
        stages = tuple(
            Stage(
                mixers=stage.mixers.arrange(own, int(own["depth"])),
                width=sizes.width,
                heads=sizes.heads,
                expansion_ratio=sizes.expansion_ratio,
                token_ratio=sizes.token_ratio,
                shared=sizes.shared,
                options=sizes.options,
            )
            for (prefix, stage), sizes in zip(
                numbered_stages(self), stage_sizes(self, values), strict=True
            )
            for own in (without_prefix(values, prefix),)
        )
        side = int(values["image_size"])
        return Architecture(
            stem=values["stem"],  # type: ignore[arg-type]
            stem_width=int(values["stem_width"]),
            patch_size=int(values["patch_size"]),
            stages=stages,
            image_size=(side, side),
            in_channels=self.shape.in_channels,
            num_classes=self.shape.num_classes,
        )

    def encode(self, architecture: Architecture) -> Encoding:
        """The canonical encoding of an architecture.

        Raises:
            SearchSpaceError: It is outside of the space; the message says by what.
        """
        found = _describe(self, architecture)
        if isinstance(found, str):
            raise SearchSpaceError(f"{architecture} is outside of the space: {found}")
        if self.decode(found) != architecture:
            raise SearchSpaceError(f"{architecture} is outside of the space: no choice gives it")
        return {name: found[name] for name in self.parameters}

    def contains(self, architecture: Architecture) -> bool:
        """Whether some choice gives this architecture."""
        try:
            self.encode(architecture)
        except SearchSpaceError:
            return False
        return True

    @staticmethod
    def from_dict(data: Any, *, where: str = "space") -> "SearchSpace":
        """A search space from plain data.

        Raises:
            SearchSpaceError: One line `where: key.path: what; expected` for each mistake.
        """
        return validate(_adapter(), data, where=where, error=SearchSpaceError)

    @staticmethod
    def from_yaml(path: str | Path) -> "SearchSpace":
        """Read a search space file.

        Raises:
            SearchSpaceError: The file is missing, is no YAML, or has mistakes.
        """
        return SearchSpace.from_dict(read_yaml(path, error=SearchSpaceError), where=str(path))


@cache
def _adapter() -> TypeAdapter[SearchSpace]:
    return TypeAdapter(SearchSpace)


def _prefixed(prefix: str, values: Encoding) -> Encoding:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _complete(space: SearchSpace, encoding: Mapping[str, Value]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, choices in all_choices(space).items():
        value = encoding.get(name, choices[0] if len(choices) == 1 else None)
        if value is None:
            raise SearchSpaceError(f"{name} is missing; expected {one_of(choices)}")  # type: ignore[arg-type]
        if value not in choices:
            raise SearchSpaceError(f"{name}: {value!r}; expected {one_of(choices)}")  # type: ignore[arg-type]
        values[name] = value
    return values


def _describe(space: SearchSpace, architecture: Architecture) -> Encoding | str:
    """Values that should give the architecture, or the reason why none can."""
    if len(architecture.stages) != len(space.stages):
        return f"{len(architecture.stages)} stages; expected {len(space.stages)}"
    height, width = architecture.image_size
    if height != width:
        return f"image_size: {height}x{width}; expected a square"
    for name in ("in_channels", "num_classes"):
        wanted = getattr(space.shape, name)
        if getattr(architecture, name) != wanted:
            return f"{name}: {getattr(architecture, name)}; expected {wanted}"
    found: Encoding = {"image_size": height}
    for name in ("patch_size", "stem", "stem_width"):
        found[name] = getattr(architecture, name)
    if architecture.stem == "conv1":
        found["stem_width"] = space.stem_width[0]
    found |= _describe_global(space, architecture)
    before: int | None = None
    for (prefix, stage_space), stage in zip(
        numbered_stages(space), architecture.stages, strict=True
    ):
        described = describe_stage(stage_space, stage, before)
        if isinstance(described, str):
            return f"{prefix}.{described}"
        found |= _prefixed(prefix, described)
        before = stage.width
    for name, choices in all_choices(space).items():
        if found[name] not in choices:
            return f"{name}: {found[name]}; expected {one_of(choices)}"  # type: ignore[arg-type]
    return found


def _describe_global(space: SearchSpace, architecture: Architecture) -> Encoding:
    """The ratios, heads and sharing that stages without their own take from the space."""
    found: Encoding = {}
    for name in (*PER_STAGE, *dict(space.options)):
        if name not in all_choices(space):
            continue
        found[name] = all_choices(space)[name][0]
        for stage_space, stage in zip(space.stages, architecture.stages, strict=True):
            if own_choices(stage_space).get(name) is None and has_effect(name, stage):
                found[name] = value_of(name, stage)
                break
    return found
