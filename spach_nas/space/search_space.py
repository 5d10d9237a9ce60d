"""A search space: the set of architectures that a YAML file describes.

Every choice is a parameter of a static encoding (name and range never change), the one form that
all samplers of Optuna accept. Several encodings may give the same architecture; `encode` returns
the canonical one. Architectures, not encodings, are counted and sampled.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

import numpy as np
from pydantic import Field, TypeAdapter, WithJsonSchema

from spach_nas.errors import SearchSpaceError, SpachNasError, one_of
from spach_nas.space.architecture import (
    DEFAULT_STEM_WIDTH,
    DEFAULT_TOKEN_RATIO,
    Architecture,
    StemName,
)
from spach_nas.space.choices import (
    Counts,
    Flags,
    OptionChoices,
    Ratios,
    choice_schema,
    listed,
    one_of_names,
)
from spach_nas.space.layouts import Value
from spach_nas.space.mixers import get_mixer, resolve_options
from spach_nas.space.scaling import DataShape
from spach_nas.space.stage_space import (
    PER_STAGE,
    Encoding,
    Heads,
    HeadsRule,
    StageSizes,
    StageSpace,
    Times,
    describe_stage,
    has_effect,
    head_mistakes,
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
from spach_nas.validation import Document, Settings, read_document, validate


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace(Settings):
    """A set of architectures. Every field is a choice; one value means no choice."""

    error: ClassVar[type[SpachNasError]] = SearchSpaceError

    image_size: Counts = (224,)
    """Side of the square input of the target."""
    in_channels: Annotated[Whole, Field(ge=1)] | None = None
    """Channels of the input of the target, whatever the data have. Left out: those of the data."""
    num_classes: Annotated[Whole, Field(ge=1)] | None = None
    """Classes of the target. Left out: those of the data."""
    patch_size: Counts
    """Stride of the stem."""
    stem: Annotated[
        tuple[StemName, ...],
        *listed,
        WithJsonSchema(choice_schema(one_of_names(get_args(StemName)), "stems")),
    ] = ("conv1",)
    """`conv1` or `conv4`."""
    stem_width: Counts = (DEFAULT_STEM_WIDTH,)
    """Channels inside a `conv4` stem."""
    expansion_ratio: Ratios | None = None
    """Hidden over input width of the channel MLP, for all stages."""
    token_ratio: Ratios = (DEFAULT_TOKEN_RATIO,)
    """Hidden over input width of a token-MLP, for all stages."""
    heads: Heads = field(default_factory=lambda: HeadsRule(width_per_head=32))
    """Attention heads, for all stages."""
    shared: Flags = (False,)
    """Whether blocks of one mixer in a stage share one mixer function, for all stages."""
    options: OptionChoices = ()
    """Choices for what mixers of your own read in addition, by name, for all stages."""
    stages: Annotated[tuple[StageSpace, ...], Field(json_schema_extra={"minItems": 1})]
    """Choices for each stage."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        found = list(dict.fromkeys(_mistakes(self)))
        try:
            object.__setattr__(self, "options", legal_choices(self.options))
        except SearchSpaceError as error:
            found += str(error).split("\n")
        if found:
            raise SearchSpaceError("\n".join(found))

    @property
    def shape(self) -> DataShape:
        """Channels and classes of the targets; ImageNet's while the space leaves them open."""
        return DataShape(in_channels=self.in_channels or 3, num_classes=self.num_classes or 1000)

    @property
    def is_open(self) -> bool:
        """Whether channels or classes are left to the data."""
        return self.in_channels is None or self.num_classes is None

    def for_data(self, data: DataShape) -> "SearchSpace":
        """This space with the channels and classes of the data where it leaves them open."""
        if not self.is_open:
            return self
        return replace(
            self,
            in_channels=self.in_channels or data.in_channels,
            num_classes=self.num_classes or data.num_classes,
        )

    def describe_targets(self, data: DataShape | None) -> str:
        """Channels and classes of the targets, and where they come from.

        Args:
            data: Channels and classes of the data, if there are data.
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
        """Number of encodings; several may give the same architecture."""
        return math.prod(len(values) for values in self.parameters.values())

    def sample(self, seed: int | np.random.Generator) -> Architecture:
        """One architecture, uniformly over the distinct ones."""
        rng = np.random.default_rng(seed)
        numbers = globals_with_numbers(self)
        values, _ = numbers[pick([number for _, number in numbers], rng)]
        while True:
            # Only canonical encodings count: else those with copies would be drawn more often.
            encoding = dict(values)
            for prefix, stage in numbered_stages(self):
                encoding |= _prefixed(prefix, sample_stage(stage, rng))
            found = self.decode(encoding)
            if self.encode(found) == {name: encoding[name] for name in self.parameters}:
                return found

    def decode(self, encoding: Mapping[str, Value]) -> Architecture:
        """The architecture of an encoding.

        Args:
            encoding: A value for each of `parameters`; other names are ignored.

        Raises:
            SearchSpaceError: A parameter is missing, or its value is not one of the choices.
        """
        values = _complete(self, encoding)
        stages = []
        for (prefix, stage), sizes in zip(
            numbered_stages(self), stage_sizes(self, values), strict=True
        ):
            own = without_prefix(values, prefix)
            stages.append(sizes.with_mixers(stage.mixers.arrange(own, int(own["depth"]))))
        side = int(values["image_size"])
        return Architecture(
            stem=values["stem"],  # type: ignore[arg-type]
            stem_width=int(values["stem_width"]),
            patch_size=int(values["patch_size"]),
            stages=tuple(stages),
            image_size=(side, side),
            in_channels=self.shape.in_channels,
            num_classes=self.shape.num_classes,
        )

    def encode(self, architecture: Architecture) -> Encoding:
        """The canonical encoding of an architecture.

        Raises:
            SearchSpaceError: It is outside the space; the message says why.
        """
        found = _describe(self, architecture)
        if isinstance(found, str):
            raise SearchSpaceError(f"{architecture} is outside of the space: {found}")
        # Stages of the architecture may differ in what the space chooses for all of them.
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
    def from_dict(data: Any, *, where: str | Document = "space") -> "SearchSpace":
        """A search space from plain data.

        Raises:
            SearchSpaceError: One line `where: key.path: what; expected` for each mistake.
        """
        return validate(_adapter(), data, where=where, error=SearchSpaceError)

    @staticmethod
    def from_yaml(path: str | Path) -> "SearchSpace":
        """Read a search space file.

        Raises:
            SearchSpaceError: The file is missing, is not YAML, or has mistakes.
        """
        document = read_document(path, error=SearchSpaceError)
        return SearchSpace.from_dict(document.data, where=document)


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
    """Values that should give the architecture, or the reason why no values can."""
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
    # Global values before those of stages, whose own choices override them.
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


def numbered_stages(space: SearchSpace) -> Iterator[tuple[str, StageSpace]]:
    """`stage1`, `stage2` ... with the choices of each."""
    return ((f"stage{i}", stage) for i, stage in enumerate(space.stages, 1))


def without_prefix(values: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """The values of one stage: `depth` where the space has `stage1.depth`."""
    start = f"{prefix}."
    return {
        key.removeprefix(start): value for key, value in values.items() if key.startswith(start)
    }


@cache
def all_choices(space: SearchSpace) -> dict[str, tuple[Value, ...]]:
    """Name and choices of every parameter, those without a choice too."""
    choices: dict[str, tuple[Value, ...]] = {
        name: getattr(space, name) for name in ("image_size", "patch_size", "stem", "stem_width")
    }
    shared = {name: getattr(space, name) for name in PER_STAGE} | dict(space.options)
    for name, values in shared.items():
        # If every stage overrides it, the global choice has no effect and is no parameter.
        own = all(own_choices(stage).get(name) is not None for stage in space.stages)
        if isinstance(values, tuple) and not own:
            choices[name] = values
    for prefix, stage in numbered_stages(space):
        choices |= {f"{prefix}.{name}": values for name, values in stage_choices(stage).items()}
    return choices


def stage_sizes(space: SearchSpace, values: Mapping[str, Value]) -> list[StageSizes]:
    """Everything about each stage except its mixers, from the values of the other parameters."""
    sizes: list[StageSizes] = []
    for prefix, stage in numbered_stages(space):
        # A stage takes what it does not choose itself from the whole space.
        own = {**values, **without_prefix(values, prefix)}
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


@cache
def globals_with_numbers(space: SearchSpace) -> tuple[tuple[Encoding, int], ...]:
    """Each combination of global values, and the number of distinct architectures that have it.

    The number of arrangements does not depend on widths and ratios, so once the global values are
    fixed it is a product over the stages, except for parameters without effect: `token_ratio`
    where no mixer reads it, `shared` where nothing is shared.
    """
    return tuple((values, _number(space, values)) for values in _global_values(space))


def contexts(space: SearchSpace) -> Iterator[Encoding]:
    """Every combination of all values except depths and mixers, without repetitions."""
    free = {
        f"{prefix}.{name}": stage_choices(stage)[name]
        for prefix, stage in numbered_stages(space)
        for name in ("width", *own_choices(stage))
        if name in stage_choices(stage)
    }
    for shared in _global_values(space):
        for values in itertools.product(*free.values()):
            yield {**shared, **dict(zip(free, values, strict=True))}


def _global_values(space: SearchSpace) -> Iterator[Encoding]:
    """Every combination of the choices that all stages share, without repetitions."""
    choices = {name: values for name, values in all_choices(space).items() if "." not in name}
    for values in itertools.product(*choices.values()):
        encoding = dict(zip(choices, values, strict=True))
        # The width inside a stem has no effect in a conv1 stem.
        if encoding["stem"] != "conv1" or encoding["stem_width"] == space.stem_width[0]:
            yield encoding


def effect_names(space: SearchSpace) -> tuple[str, ...]:
    """Parameters that may not change a stage: `token_ratio`, `shared` and the options."""
    choices = (space.options, *(stage.options for stage in space.stages))
    options = {name for given in choices for name, _ in given}
    return ("token_ratio", "shared", *sorted(options))


def required_effects(space: SearchSpace, encoding: Encoding, prefix: str = "") -> frozenset[str]:
    """Parameters that do not have their first choice, and so must have an effect.

    If they change no stage, the architecture is a copy of the one with the first choice.

    Args:
        space: The space.
        encoding: Values of its parameters.
        prefix: `stage2.` for what stage 2 chooses itself; empty for what all stages share.
    """
    return frozenset(
        name
        for name in effect_names(space)
        if encoding.get(prefix + name, None)
        not in (None, *all_choices(space).get(prefix + name, ())[:1])
    )


def _number(space: SearchSpace, encoding: Encoding) -> int:
    """Distinct architectures with these global values."""
    # Stage by stage, numbers are kept apart by the required parameters that have had an effect so
    # far; only what ends with all of them is not a copy.
    required = required_effects(space, encoding)
    numbers: dict[frozenset[str], int] = {frozenset(): 1}
    for stage in space.stages:
        following: dict[frozenset[str], int] = {}
        for relevant, number in stage_numbers(stage).items():
            for before, total in numbers.items():
                key = before | (relevant & required)
                following[key] = following.get(key, 0) + total * number
        numbers = following
    return numbers.get(required, 0)


def _mistakes(space: SearchSpace) -> Iterator[str]:
    """Everything that would make some choice impossible to build."""
    if not space.stages:
        yield "stages: (); expected at least one stage"
        return
    yield from _size_mistakes(space)
    if isinstance(space.stages[0].width, Times):
        yield "stages[0].width: times needs a stage before; expected a number of channels"
        return
    reachable: set[tuple[int, int]] = set()  # widths of the first and of this stage
    for i, stage in enumerate(space.stages):
        if stage.expansion_ratio is None and space.expansion_ratio is None:
            yield f"stages[{i}].expansion_ratio: is missing here and for the whole space"
        following = set()
        fractions = []
        # Sorted, so that the same file always gives the same message.
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
        # Widths follow from each other, so later mistakes may follow from the first.
        yield from itertools.islice(head_mistakes(i, stage.heads or space.heads, reachable), 1)


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
