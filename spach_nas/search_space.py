"""A search space: the set of architectures that a YAML file describes.

Every choice is a parameter of a static encoding (name and range never change), the one form that
all samplers of Optuna take. Several encodings may give one architecture; `encode` gives the
canonical one, and architectures, not encodings, are counted and sampled.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter

from spach_nas.architecture import (
    DEFAULT_STEM_WIDTH,
    DEFAULT_TOKEN_RATIO,
    Architecture,
    Stage,
    StemName,
)
from spach_nas.choices import Counts, Flags, OptionChoices, Ratios, listed
from spach_nas.errors import SearchSpaceError, one_of
from spach_nas.layouts import Value
from spach_nas.mixers import get_mixer, resolve_options
from spach_nas.stage_space import (
    PER_STAGE,
    Encoding,
    Heads,
    HeadsRule,
    StageSizes,
    StageSpace,
    Times,
    describe_stage,
    has_effect,
    legal_choices,
    own_choices,
    pick,
    sample_stage,
    stage_choices,
    stage_heads,
    stage_numbers,
    stage_width,
    value_of,
)
from spach_nas.units import Whole
from spach_nas.validation import read_yaml, validate


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """A set of architectures. Every field is a choice; one value means no choice.

    Attributes:
        image_size: Side of the square input of the target.
        in_channels: Channels of the input of the target.
        num_classes: Classes of the target.
        patch_size: Stride of the stem.
        stem: `conv1` or `conv4`.
        stem_width: Channels inside a `conv4` stem.
        expansion_ratio: Hidden over input width of the channel MLP, for all stages.
        token_ratio: Hidden over input width of a token-MLP, for all stages.
        heads: Attention heads, for all stages.
        shared: Whether blocks of one mixer in a stage share one mixer function, for all stages.
        options: What mixers of the user's read besides, by name, for all stages.
        stages: Choices for each stage.

    Raises:
        SearchSpaceError: A choice that cannot be built, such as a width that the heads do not
            divide; one line for each mistake.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    image_size: Counts = (224,)
    in_channels: Whole = 3
    num_classes: Whole = 1000
    patch_size: Counts
    stem: Annotated[tuple[StemName, ...], *listed] = ("conv1",)
    stem_width: Counts = (DEFAULT_STEM_WIDTH,)
    expansion_ratio: Ratios | None = None
    token_ratio: Ratios = (DEFAULT_TOKEN_RATIO,)
    heads: Heads = field(default_factory=lambda: HeadsRule(width_per_head=32))
    shared: Flags = (False,)
    options: OptionChoices = ()
    stages: tuple[StageSpace, ...]

    def __post_init__(self) -> None:
        mistakes = list(dict.fromkeys(_mistakes(self)))
        try:
            object.__setattr__(self, "options", legal_choices(self.options))
        except SearchSpaceError as error:
            mistakes += str(error).split("\n")
        if mistakes:
            raise SearchSpaceError("\n".join(mistakes))

    @property
    def parameters(self) -> dict[str, tuple[Value, ...]]:
        """Name and choices of every parameter with more than one, in the order of the encoding."""
        return {name: values for name, values in _choices(self).items() if len(values) > 1}

    def size(self) -> int:
        """Number of distinct architectures."""
        return sum(_number(self, values) for values in _global_values(self))

    def encodings(self) -> int:
        """Number of encodings; several may give one architecture."""
        return math.prod(len(values) for values in self.parameters.values())

    def sample(self, seed: int | np.random.Generator) -> Architecture:
        """One architecture, uniformly over the distinct ones."""
        rng = np.random.default_rng(seed)
        contexts = list(_global_values(self))
        numbers = [_number(self, values) for values in contexts]
        index = pick(numbers, rng)
        while True:
            # A parameter without effect holds its first choice: reject the copies of the others.
            encoding = dict(contexts[index])
            for prefix, stage in _stages(self):
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
            for (prefix, stage), sizes in zip(_stages(self), stage_sizes(self, values), strict=True)
            for own in (_strip(values, prefix),)
        )
        side = int(values["image_size"])
        return Architecture(
            stem=values["stem"],  # type: ignore[arg-type]
            stem_width=int(values["stem_width"]),
            patch_size=int(values["patch_size"]),
            stages=stages,
            image_size=(side, side),
            in_channels=self.in_channels,
            num_classes=self.num_classes,
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
    def from_yaml(path: Path) -> "SearchSpace":
        """Read a search space file.

        Raises:
            SearchSpaceError: The file is missing, is no YAML, or has mistakes.
        """
        return SearchSpace.from_dict(read_yaml(path, error=SearchSpaceError), where=str(path))


@cache
def _adapter() -> TypeAdapter[SearchSpace]:
    return TypeAdapter(SearchSpace)


def _mistakes(space: SearchSpace) -> Iterator[str]:
    """Everything that would make some choice impossible to build."""
    if not space.stages:
        yield "stages: (); expected at least one stage"
        return
    yield from _size_mistakes(space)
    for name in ("in_channels", "num_classes"):
        if getattr(space, name) < 1:
            yield f"{name}: {getattr(space, name)}; expected at least 1"
    if isinstance(space.stages[0].width, Times):
        yield "stages[0].width: times needs a stage before; expected a number of channels"
        return
    reachable: set[tuple[int, int]] = set()  # widths of the first and of this stage
    for i, stage in enumerate(space.stages):
        if stage.expansion_ratio is None and space.expansion_ratio is None:
            yield f"stages[{i}].expansion_ratio: is missing here and for the whole space"
        following = set()
        fractions = []
        for first, before in sorted(reachable) or [(0, 0)]:
            for value in stage_choices(stage)["width"]:
                width = stage_width(stage, value, before or None)
                following.add((first or width, width))
                # 100 times 1.1 is 110.00000000000001 in binary.
                if isinstance(stage.width, Times) and not math.isclose(
                    width, before * float(value), rel_tol=1e-9
                ):
                    fractions.append((value, before))
        if fractions:
            value, before = fractions[0]
            yield (
                f"stages[{i}].width: {value} times {before} channels is "
                f"{before * float(value):g}; expected a whole number"
            )
            return
        reachable = following
        narrowest = min(width for _, width in reachable)
        ratio = min(stage.expansion_ratio or space.expansion_ratio or (1,))
        if int(ratio * narrowest) < 1:
            yield (
                f"stages[{i}]: expansion_ratio {ratio} of width {narrowest} leaves no hidden "
                "channel; expected at least one"
            )
        # The widths follow from each other: the first mistake is the one to mend.
        yield from itertools.islice(_head_mistakes(i, stage.heads or space.heads, reachable), 1)


def _size_mistakes(space: SearchSpace) -> Iterator[str]:
    for patch_size, side in itertools.product(space.patch_size, space.image_size):
        step = patch_size * 2 ** (len(space.stages) - 1)
        if side % step:
            yield (
                f"image_size: {side} with patch_size {patch_size} and {len(space.stages)} stages; "
                f"expected a multiple of {step}"
            )
            continue
        for i, stage in enumerate(space.stages):
            tokens = (side // patch_size // 2**i) ** 2
            for spec in map(get_mixer, stage.mixers.names):
                if tokens < spec.min_tokens:
                    yield (
                        f"stages[{i}].mixers: {spec.name} on {tokens} positions; expected at least "
                        f"{spec.min_tokens}"
                    )
                ratio = min(stage.token_ratio or space.token_ratio)
                if "token_ratio" in spec.parameters and int(ratio * tokens) < 1:
                    yield (
                        f"stages[{i}]: token_ratio {ratio} of {tokens} positions leaves no hidden "
                        "token; expected at least one"
                    )
    odd = [patch_size for patch_size in space.patch_size if patch_size % 2]
    if "conv4" in space.stem and odd:
        yield f"patch_size: {odd[0]} with a conv4 stem; expected an even number"


def _head_mistakes(
    i: int, rule: HeadsRule | tuple[int, ...], reachable: set[tuple[int, int]]
) -> Iterator[str]:
    for first, width in sorted(reachable):
        for heads in (rule,) if isinstance(rule, HeadsRule) else rule:
            if isinstance(heads, HeadsRule):
                source = first if heads.of == "stage1" else width
                if heads.width_per_head < 1 or source % heads.width_per_head:
                    yield (
                        f"stages[{i}].width: {source} with {heads.width_per_head} channels a head; "
                        f"expected a multiple of {heads.width_per_head}"
                    )
                    continue
            count = stage_heads(heads, first, width)
            if width % count:
                yield (
                    f"stages[{i}].width: {width} with {count} heads; expected a multiple of {count}"
                )


def _stages(space: SearchSpace) -> Iterator[tuple[str, StageSpace]]:
    return ((f"stage{i}", stage) for i, stage in enumerate(space.stages, 1))


def _prefixed(prefix: str, values: Encoding) -> Encoding:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _strip(values: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    start = f"{prefix}."
    return {
        key.removeprefix(start): value for key, value in values.items() if key.startswith(start)
    }


@cache
def _choices(space: SearchSpace) -> dict[str, tuple[Value, ...]]:
    """Name and choices of every parameter, those without a choice too."""
    choices: dict[str, tuple[Value, ...]] = {
        name: getattr(space, name) for name in ("image_size", "patch_size", "stem", "stem_width")
    }
    shared = {name: getattr(space, name) for name in PER_STAGE} | dict(space.options)
    for name, values in shared.items():
        own = all(own_choices(stage).get(name) is not None for stage in space.stages)
        if isinstance(values, tuple) and not own:
            choices[name] = values
    for prefix, stage in _stages(space):
        choices |= {f"{prefix}.{name}": values for name, values in stage_choices(stage).items()}
    return choices


def _complete(space: SearchSpace, encoding: Mapping[str, Value]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, choices in _choices(space).items():
        value = encoding.get(name, choices[0] if len(choices) == 1 else None)
        if value is None:
            raise SearchSpaceError(f"{name} is missing; expected {one_of(choices)}")  # type: ignore[arg-type]
        if value not in choices:
            raise SearchSpaceError(f"{name}: {value!r}; expected {one_of(choices)}")  # type: ignore[arg-type]
        values[name] = value
    return values


def stage_sizes(space: SearchSpace, values: Mapping[str, Value]) -> list[StageSizes]:
    """What every stage is but for its mixers, under values for all other parameters."""
    sizes: list[StageSizes] = []
    for prefix, stage in _stages(space):
        # What a stage does not choose itself, all stages share.
        own = {**values, **_strip(values, prefix)}
        width = stage_width(stage, own["width"], sizes[-1].width if sizes else None)
        rule = stage.heads or space.heads
        heads = rule if isinstance(rule, HeadsRule) else own["heads"]
        sizes.append(
            StageSizes(
                width=width,
                heads=stage_heads(heads, sizes[0].width if sizes else width, width),
                expansion_ratio=float(own["expansion_ratio"]),
                token_ratio=float(own["token_ratio"]),
                shared=bool(own["shared"]),
                options=resolve_options(
                    {name: own[name] for name in dict(space.options + stage.options)},
                    stage.mixers.names,
                ),
            )
        )
    return sizes


def _describe(space: SearchSpace, architecture: Architecture) -> Encoding | str:
    """Values that should give the architecture, or the reason why none can."""
    if len(architecture.stages) != len(space.stages):
        return f"{len(architecture.stages)} stages; expected {len(space.stages)}"
    height, width = architecture.image_size
    if height != width:
        return f"image_size: {height}x{width}; expected a square"
    for name in ("in_channels", "num_classes"):
        if getattr(architecture, name) != getattr(space, name):
            return f"{name}: {getattr(architecture, name)}; expected {getattr(space, name)}"
    found: Encoding = {"image_size": height}
    for name in ("patch_size", "stem", "stem_width"):
        found[name] = getattr(architecture, name)
    if architecture.stem == "conv1":
        found["stem_width"] = space.stem_width[0]
    found |= _describe_global(space, architecture)
    before: int | None = None
    for (prefix, stage_space), stage in zip(_stages(space), architecture.stages, strict=True):
        described = describe_stage(stage_space, stage, before)
        if isinstance(described, str):
            return f"{prefix}.{described}"
        found |= _prefixed(prefix, described)
        before = stage.width
    for name, choices in _choices(space).items():
        if found[name] not in choices:
            return f"{name}: {found[name]}; expected {one_of(choices)}"  # type: ignore[arg-type]
    return found


def _describe_global(space: SearchSpace, architecture: Architecture) -> Encoding:
    """The ratios, heads and sharing that stages without their own take from the space."""
    found: Encoding = {}
    for name in (*PER_STAGE, *dict(space.options)):
        if name not in _choices(space):
            continue
        found[name] = _choices(space)[name][0]
        for stage_space, stage in zip(space.stages, architecture.stages, strict=True):
            if own_choices(stage_space).get(name) is None and has_effect(name, stage):
                found[name] = value_of(name, stage)
                break
    return found


# Counting. The number of arrangements does not depend on widths and ratios, so that it factors over
# the stages once the global values are fixed. What breaks the product are parameters without
# effect: `token_ratio` where nothing reads it, `shared` where nothing is shared.


def contexts(space: SearchSpace) -> Iterator[Encoding]:
    """Every combination of values but for depths and mixers, without those that have no effect."""
    free = {
        f"{prefix}.{name}": stage_choices(stage)[name]
        for prefix, stage in _stages(space)
        for name in ("width", *own_choices(stage))
        if name in stage_choices(stage)
    }
    for shared in _global_values(space):
        for values in itertools.product(*free.values()):
            yield {**shared, **dict(zip(free, values, strict=True))}


def _global_values(space: SearchSpace) -> Iterator[Encoding]:
    """Every combination of the choices that all stages share, without those that have no effect."""
    choices = {name: values for name, values in _choices(space).items() if "." not in name}
    for values in itertools.product(*choices.values()):
        encoding = dict(zip(choices, values, strict=True))
        if encoding["stem"] != "conv1" or encoding["stem_width"] == space.stem_width[0]:
            yield encoding


def effect_names(space: SearchSpace) -> tuple[str, ...]:
    """Parameters that a stage may not feel: `token_ratio`, `shared` and the options."""
    choices = (space.options, *(stage.options for stage in space.stages))
    options = {name for given in choices for name, _ in given}
    return ("token_ratio", "shared", *sorted(options))


def required_effects(space: SearchSpace, encoding: Encoding, prefix: str = "") -> frozenset[str]:
    """Parameters off their first choice, which must be felt for an architecture to be no copy.

    Args:
        space: The space.
        encoding: Its values.
        prefix: `stage2.` for what stage 2 chooses itself; empty for what all stages share, which
            some stage must feel.
    """
    return frozenset(
        name
        for name in effect_names(space)
        if encoding.get(prefix + name, None)
        not in (None, *_choices(space).get(prefix + name, ())[:1])
    )


def _number(space: SearchSpace, encoding: Encoding) -> int:
    """Distinct architectures with these global values."""
    required = required_effects(space, encoding)
    numbers: dict[frozenset[str], int] = {frozenset(): 1}
    for stage in space.stages:
        following: dict[frozenset[str], int] = {}
        for felt, number in stage_numbers(stage).items():
            for before, total in numbers.items():
                key = before | (felt & required)
                following[key] = following.get(key, 0) + total * number
        numbers = following
    return numbers.get(required, 0)
