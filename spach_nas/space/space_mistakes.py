"""Choices of a search space that cannot be built, each in one line."""

import itertools
import math
from collections.abc import Iterator

from spach_nas.space.mixers import get_mixer
from spach_nas.space.space_choices import SpaceChoices
from spach_nas.space.stage_space import HeadsRule, Times, stage_choices, stage_heads, stage_width


def mistakes(space: SpaceChoices) -> Iterator[str]:
    """Everything that would make some choice impossible to build."""
    if not space.stages:
        yield "stages: (); expected at least one stage"
        return
    yield from _size_mistakes(space)
    for name in ("in_channels", "num_classes"):
        number = getattr(space, name)
        if number is not None and number < 1:
            yield f"{name}: {number}; expected at least 1"
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


def _size_mistakes(space: SpaceChoices) -> Iterator[str]:
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
