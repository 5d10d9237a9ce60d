"""An architecture of the SPACH framework as a frozen value.

Source: Zhao et al. 2021, "A Battle of Network Structures", arXiv:2108.13002, section 3. Unlike in
the paper, every block names its own mixer, and heads, ratios and sharing can differ by stage.
"""

import hashlib
import itertools
import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, TypeAdapter

from spach_nas.errors import ArchitectureError, one_line
from spach_nas.space.choices import Options
from spach_nas.space.mixers import MixerSite, get_mixer, resolve_options
from spach_nas.units import Real, Size, Whole
from spach_nas.validation import Document, read_document, validate

StemName = Literal["conv1", "conv4"]
DEFAULT_STEM_WIDTH = 64
DEFAULT_TOKEN_RATIO = 0.5
# `arch_id` hashes it: raise it when the meaning of a field changes, so that old ids never match.
SCHEMA_VERSION = 1
_STEM_KERNEL = 7


def stem_kernel(patch_size: int) -> int:
    """Side of the first convolution of a `conv4` stem, in pixels: 7, but 3 with patches of 2.

    In the published models, 7 pixels span less than two patches. With patches of 2 they would
    span more than three and blur neighbouring patches: proxies with the deep stem ended half a
    point of accuracy below those without it (`results/spach_bench/pilot`).
    """
    return min(_STEM_KERNEL, 2 * patch_size - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Blocks at one resolution and width.

    A field that has no effect is reset to its default, so that equal networks are equal values: the
    `token_ratio` of a stage whose mixers do not read it, and `shared` where no two blocks could
    share.

    Attributes:
        mixers: One mixer name for each block, first block first.
        width: Channels, C.
        heads: Attention heads, a divisor of the width. A proxy keeps them, whatever the mixers are.
        expansion_ratio: Hidden over input width of the channel MLP.
        token_ratio: Hidden over input width of a token-MLP.
        shared: Whether all blocks of one mixer in this stage share one mixer function.
        options: Options of the user's own mixers, by name: those that mixers of this stage
            declare, with defaults filled in. Options that they do not read are dropped.

    Raises:
        ArchitectureError: A mixer is unknown, there is no block, the heads do not divide the
            width, or a number is out of range.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    mixers: tuple[str, ...]
    width: Whole
    heads: Whole
    expansion_ratio: Real
    token_ratio: Real = DEFAULT_TOKEN_RATIO
    shared: bool = False
    options: Options = ()

    def __post_init__(self) -> None:
        try:
            self._check()
        except (TypeError, AttributeError) as problem:
            raise ArchitectureError(
                f"Stage: {one_line(problem)}; expected mixer names and plain numbers"
            ) from problem

    def _check(self) -> None:
        # Only this way can a frozen dataclass put its own fields into canonical form. A list would
        # also make it unhashable.
        if isinstance(self.mixers, list):
            object.__setattr__(self, "mixers", tuple(self.mixers))
        if not self.mixers:
            raise ArchitectureError("mixers: (); expected at least one block")
        specs = [get_mixer(name) for name in dict.fromkeys(self.mixers)]
        if self.width < 1 or self.heads < 1 or self.width % self.heads:
            raise ArchitectureError(
                f"width: {self.width} with {self.heads} heads; expected a multiple of the heads"
            )
        if not math.isfinite(self.expansion_ratio) or int(self.expansion_ratio * self.width) < 1:
            raise ArchitectureError(
                f"expansion_ratio: {self.expansion_ratio} of width {self.width} leaves no hidden "
                "channel; expected at least one"
            )
        if not 0 < self.token_ratio < math.inf:
            raise ArchitectureError(f"token_ratio: {self.token_ratio}; expected more than 0")
        if not any("token_ratio" in spec.parameters for spec in specs):
            object.__setattr__(self, "token_ratio", DEFAULT_TOKEN_RATIO)
        # Sharing needs a mixer with weights of its own (a branch) in at least two blocks.
        if self.shared and not any(
            spec.is_branch and self.mixers.count(spec.name) > 1 for spec in specs
        ):
            object.__setattr__(self, "shared", False)
        # The mixers of this package have no options: do not pay for resolving them in a search.
        if self.options or any(spec.options for spec in specs):
            options = resolve_options(dict(self.options), self.mixers)
            object.__setattr__(self, "options", options)

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.mixers)

    @property
    def runs(self) -> tuple[tuple[str, int], ...]:
        """Mixers and how many blocks in a row have them: `(("conv", 2), ("attention", 10))`."""
        return tuple((name, len(list(run))) for name, run in itertools.groupby(self.mixers))

    def site(self, resolution: tuple[int, int]) -> MixerSite:
        """Where the mixers of this stage stand, on feature maps of this height and width."""
        return MixerSite(self.width, resolution, self.heads, self.token_ratio, self.options)

    def __str__(self) -> str:
        return "+".join(f"{get_mixer(name).short}{count}" for name, count in self.runs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """One network of the SPACH framework, at its full size or as a proxy.

    Attributes:
        stem: `conv1`, one patch convolution, or `conv4`, the deep stem of the "+" models, whose
            first kernel is smaller with patches of 2 (`stem_kernel`).
        stem_width: Channels inside a `conv4` stem. A `conv1` stem has none and keeps the default.
        patch_size: Stride of the stem in pixels, P.
        stages: First stage first. Each later one halves the resolution.
        image_size: Height and width of the input in pixels.
        in_channels: Channels of the input.
        num_classes: Outputs of the head.

    Raises:
        ArchitectureError: The stages cannot halve the image size, a mixer has too few positions,
            or a number is out of range.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    stem: StemName
    stem_width: Whole = DEFAULT_STEM_WIDTH
    patch_size: Whole
    stages: tuple[Stage, ...]
    image_size: Size = (224, 224)
    in_channels: Whole = 3
    num_classes: Whole = 1000

    def __post_init__(self) -> None:
        try:
            self._check()
        except (TypeError, AttributeError) as problem:
            raise ArchitectureError(
                f"Architecture: {one_line(problem)}; expected stages, plain numbers, image_size "
                "as height and width"
            ) from problem

    def _check(self) -> None:
        if isinstance(self.stages, list):
            object.__setattr__(self, "stages", tuple(self.stages))
        if self.stem not in ("conv1", "conv4"):
            raise ArchitectureError(f"stem: {self.stem!r}; expected conv1 or conv4")
        if not self.stages:
            raise ArchitectureError("stages: (); expected at least one stage")
        for name in ("stem_width", "patch_size", "in_channels", "num_classes"):
            if getattr(self, name) < 1:
                raise ArchitectureError(f"{name}: {getattr(self, name)}; expected at least 1")
        if self.stem == "conv1":
            object.__setattr__(self, "stem_width", DEFAULT_STEM_WIDTH)
        # The first convolution of a conv4 stem has stride 2, the last one the rest of the patch.
        elif self.patch_size % 2:
            raise ArchitectureError(
                f"patch_size: {self.patch_size} with a conv4 stem; expected an even number"
            )
        step = self.patch_size * 2 ** (len(self.stages) - 1)
        if any(side < 1 or side % step for side in self.image_size):
            raise ArchitectureError(
                f"image_size: {_sides(self.image_size)} with patch_size {self.patch_size} and "
                f"{len(self.stages)} stages; expected a multiple of {step}"
            )
        for number, (stage, resolution) in enumerate(
            zip(self.stages, self.resolutions, strict=True), 1
        ):
            self._check_tokens(number, stage, resolution[0] * resolution[1])

    @staticmethod
    def _check_tokens(number: int, stage: Stage, tokens: int) -> None:
        for name in set(stage.mixers):
            spec = get_mixer(name)
            if tokens < spec.min_tokens:
                raise ArchitectureError(
                    f"stages[{number - 1}].mixers: {name} on {tokens} positions; expected at least "
                    f"{spec.min_tokens}"
                )
            if "token_ratio" in spec.parameters and int(stage.token_ratio * tokens) < 1:
                raise ArchitectureError(
                    f"stages[{number - 1}].token_ratio: {stage.token_ratio} of {tokens} positions "
                    "leaves no hidden token; expected at least one"
                )

    @property
    def resolutions(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the feature map of each stage."""
        height, width = (side // self.patch_size for side in self.image_size)
        return tuple((height >> i, width >> i) for i in range(len(self.stages)))

    @property
    def arch_id(self) -> str:
        """Twelve hex digits that name this architecture, the same on every machine."""
        plain = {"schema": SCHEMA_VERSION, **self.to_dict()}
        # One canonical text for equal architectures, whatever the order of their keys.
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON or YAML."""
        plain = _fields(self)  # a search asks often: `asdict` takes ten times as long
        plain["image_size"] = list(self.image_size)
        # Ratios as floats: 2 and 2.0 must give the same file and the same id.
        plain["stages"] = [
            {
                **_fields(stage),
                "mixers": list(stage.mixers),
                "expansion_ratio": float(stage.expansion_ratio),
                "token_ratio": float(stage.token_ratio),
                "options": dict(stage.options),
            }
            for stage in self.stages
        ]
        for stage in plain["stages"]:
            if not stage["options"]:  # no mixer reads any: neither the file nor the id shows them
                del stage["options"]
        return plain

    @staticmethod
    def from_dict(data: Any, *, where: str | Document = "architecture") -> "Architecture":
        """The architecture that `to_dict` wrote.

        Args:
            data: Plain data, as from JSON or YAML.
            where: The source, for error messages.

        Raises:
            ArchitectureError: One line for each mistake.
        """
        return validate(_adapter(), data, where=where, error=ArchitectureError)

    def to_yaml(self) -> str:
        """A YAML document with one line for each stage."""
        plain = self.to_dict()
        stages = plain.pop("stages")
        head = yaml.safe_dump(plain, sort_keys=False, default_flow_style=None)
        lines = [
            yaml.safe_dump(stage, sort_keys=False, default_flow_style=True, width=math.inf)
            for stage in stages
        ]
        return f"# {self}\n{head}stages:\n" + "".join(f"  - {line}" for line in lines)

    @staticmethod
    def from_yaml(path: str | Path) -> "Architecture":
        """Read an architecture file.

        Raises:
            ArchitectureError: The file is missing, is not YAML, or does not hold an architecture.
        """
        document = read_document(path, error=ArchitectureError)
        return Architecture.from_dict(document.data, where=document)

    def __str__(self) -> str:
        return " | ".join(str(stage) for stage in self.stages)


@cache
def _adapter() -> TypeAdapter[Architecture]:
    return TypeAdapter(Architecture)


def _fields(value: Architecture | Stage) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _sides(image_size: tuple[int, int]) -> str:
    return "x".join(str(side) for side in image_size)
