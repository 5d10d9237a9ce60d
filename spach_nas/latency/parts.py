"""The parts of a network whose times add up to its latency.

A part is identified by everything that its time depends on. For a block, these are its mixer and
its site, not its place in the stage: like cost, predicted latency depends only on how many blocks
of a stage use each mixer.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from spach_nas.errors import LatencyError
from spach_nas.space.architecture import (
    DEFAULT_STEM_WIDTH,
    DEFAULT_TOKEN_RATIO,
    Architecture,
    Stage,
)
from spach_nas.space.mixers import MixerSite, OptionValue, get_mixer
from spach_nas.space.search_space import SearchSpace, all_choices, stage_sizes
from spach_nas.space.stage_space import own_choices

_MOST_COMBINATIONS = 200_000  # for one stage; at a tenth of a second each, more than five hours
Resolution = tuple[int, int]


class StemPart(NamedTuple):
    """The stem and the norm after it."""

    stem: str
    width: int
    stem_width: int
    patch_size: int
    image_size: Resolution
    in_channels: int


class DownsamplePart(NamedTuple):
    """The downsampling before a stage; `resolution` is that of its output."""

    before: int
    after: int
    resolution: Resolution


class HeadPart(NamedTuple):
    """Last norm, mean over positions and linear head."""

    width: int
    resolution: Resolution
    num_classes: int


class BlockPart(NamedTuple):
    """One block within a chain of its kind; fields that its mixer does not read are defaults.

    `shared`: whether the blocks of the chain share one mixer function, whose weights are then still
    in the caches.
    """

    mixer: str
    width: int
    resolution: Resolution
    expansion_ratio: float
    heads: int
    token_ratio: float
    options: tuple[tuple[str, OptionValue], ...]
    shared: bool

    @property
    def site(self) -> MixerSite:
        """The site of the mixer."""
        return MixerSite(self.width, self.resolution, self.heads, self.token_ratio, self.options)


Part = StemPart | DownsamplePart | HeadPart | BlockPart
_KINDS = {
    StemPart: "stem",
    DownsamplePart: "downsample",
    HeadPart: "head",
    BlockPart: "block",
}


def part_name(part: Part) -> str:
    """The name of a part in a table: `block mixer=conv width=64 resolution=56x56 ...`."""
    plain = part._asdict()
    options = plain.pop("options", ())
    words = [f"{name}={_text(value)}" for name, value in (*plain.items(), *options)]
    return " ".join((_KINDS[type(part)], *words))


def frame_parts(architecture: Architecture) -> list[Part]:
    """Everything except the blocks: stem, downsamplings and head."""
    stages, resolutions = architecture.stages, architecture.resolutions
    found: list[Part] = [
        StemPart(
            stem=architecture.stem,
            width=stages[0].width,
            stem_width=architecture.stem_width,
            patch_size=architecture.patch_size,
            image_size=architecture.image_size,
            in_channels=architecture.in_channels,
        )
    ]
    found += [
        DownsamplePart(before.width, after.width, resolution)
        for before, after, resolution in zip(stages, stages[1:], resolutions[1:], strict=False)
    ]
    return [*found, HeadPart(stages[-1].width, resolutions[-1], architecture.num_classes)]


def block_parts(stage: Stage, resolution: Resolution) -> Counter[BlockPart]:
    """The different blocks of a stage and how often each occurs."""
    found: Counter[BlockPart] = Counter()
    for mixer, count in Counter(stage.mixers).items():
        site = MixerSite(stage.width, resolution, stage.heads, stage.token_ratio, stage.options)
        found[_block(mixer, site, stage.expansion_ratio, stage.shared and count > 1)] += count
    return found


def parts_of(architecture: Architecture) -> Counter[Part]:
    """The different parts of a network and how often each occurs."""
    found: Counter[Part] = Counter(frame_parts(architecture))
    for stage, resolution in zip(architecture.stages, architecture.resolutions, strict=True):
        found.update(block_parts(stage, resolution))
    return found


def space_parts(space: SearchSpace) -> list[Part]:
    """Every part that occurs in some architecture of a space.

    Raises:
        LatencyError: Widths and ratios have too many combinations.
    """
    found: dict[Part, None] = {}
    for index, stage_space in enumerate(space.stages):
        for values in _combinations(space, index):
            sizes = stage_sizes(space, values)
            P, side = int(values["patch_size"]), int(values["image_size"])
            resolution = ((side // P) >> index,) * 2
            own = sizes[index]
            if index == 0:
                stem_width = int(values["stem_width"])
                stem = str(values["stem"])
                channels = space.shape.in_channels
                found[StemPart(stem, own.width, stem_width, P, (side, side), channels)] = None
            else:
                found[DownsamplePart(sizes[index - 1].width, own.width, resolution)] = None
            for mixer in stage_space.mixers.names:
                site = MixerSite(own.width, resolution, own.heads, own.token_ratio, own.options)
                # A sharing stage with a single block of a mixer does not share it.
                for shared in {False, own.shared}:
                    found[_block(mixer, site, own.expansion_ratio, shared)] = None
            if index == len(space.stages) - 1:
                found[HeadPart(own.width, resolution, space.shape.num_classes)] = None
    return list(found)


def _combinations(space: SearchSpace, index: int) -> Iterator[dict[str, str | int | float | bool]]:
    """All combinations of the choices that affect the parts of one stage.

    Choices of later stages have their first value.
    """
    choices = all_choices(space)
    # Widths of all stages before, because a width may be a multiple of the one before.
    names = [name for name in choices if "." not in name]
    names += [f"stage{i + 1}.width" for i in range(index + 1)]
    names += [f"stage{index + 1}.{name}" for name in own_choices(space.stages[index])]
    names = [name for name in names if len(choices.get(name, ())) > 1]
    number = 1
    for name in names:
        number *= len(choices[name])
    if number > _MOST_COMBINATIONS:
        raise LatencyError(
            f"latency: the widths and ratios of stage {index + 1} have {number:,} combinations; "
            f"expected at most {_MOST_COMBINATIONS:,}, because each has to be timed"
        )
    first = {name: values[0] for name, values in choices.items()}
    for values in itertools.product(*(choices[name] for name in names)):
        found = {**first, **dict(zip(names, values, strict=True))}
        if found["stem"] == "conv1":  # it has no inner width and keeps the default
            found["stem_width"] = DEFAULT_STEM_WIDTH
        yield found


def _block(mixer: str, site: MixerSite, expansion_ratio: float, shared: bool) -> BlockPart:
    spec = get_mixer(mixer)
    # Fields that the mixer does not read become defaults, so that equal blocks are timed once. The
    # ratio is a float, because names contain it: 2 and 2.0 must not differ.
    return BlockPart(
        mixer=mixer,
        width=site.width,
        resolution=site.resolution,
        expansion_ratio=float(expansion_ratio),
        heads=site.heads if "heads" in spec.parameters else 1,
        token_ratio=float(site.token_ratio)
        if "token_ratio" in spec.parameters
        else DEFAULT_TOKEN_RATIO,
        options=tuple(item for item in site.options if item[0] in spec.options),
        shared=shared and spec.is_branch,
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
