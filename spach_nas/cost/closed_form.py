"""Closed-form cost of an architecture, without torch.

Every count is exact and equals a trace of the built network. fvcore and papers call
multiply-accumulates "FLOPs"; FLOPs = 2 x MACs. Lower is better in every field.

Letters: C width, N positions, P patch size, S stem width, K classes, h hidden channels.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spach_nas.space.architecture import Architecture, Stage, stem_kernel
from spach_nas.space.mixers import MixerSite, get_mixer, mixer_cost
from spach_nas.space.read_architecture import Source, as_architecture

# fvcore's cost per normalised element, of LayerNorm and GroupNorm, and of BatchNorm.
_NORM = 5
_BATCH_NORM = 2


class Cost(NamedTuple):
    """Cost of one architecture as plain counts.

    Attributes:
        params: Parameters.
        macs: Multiply-accumulates per image in convolutions, linear layers and matrix products.
        macs_with_norms: The same plus norms by fvcore's rule; papers print this as "FLOPs".
        activations: Output elements of all convolutions and linear layers per image, as in
            Dollar et al. 2021, arXiv:2103.06877, section 3.
    """

    params: int
    macs: int
    macs_with_norms: int
    activations: int

    def plus(self, other: "Cost") -> "Cost":
        """The sum, field by field."""
        return Cost(
            self.params + other.params,
            self.macs + other.macs,
            self.macs_with_norms + other.macs_with_norms,
            self.activations + other.activations,
        )


def cost(source: Source) -> Cost:
    """Cost of a whole network.

    Args:
        source: An architecture, a record (its target), the name of a paper's model, an architecture
            file or a bundle.

    Raises:
        ArchitectureError: The source is none of these.
    """
    architecture = as_architecture(source)
    widths = [stage.width for stage in architecture.stages]
    resolutions = architecture.resolutions
    total = stem_cost(
        architecture.stem,
        width=widths[0],
        stem_width=architecture.stem_width,
        patch_size=architecture.patch_size,
        image_size=architecture.image_size,
        in_channels=architecture.in_channels,
    ).plus(head_cost(widths[-1], resolutions[-1], architecture.num_classes))
    for before, after, resolution in zip(widths, widths[1:], resolutions[1:], strict=False):
        total = total.plus(downsample_cost(before, after, resolution))
    for stage, resolution in zip(architecture.stages, resolutions, strict=True):
        total = total.plus(stage_cost(stage, resolution))
    return total


def costs(architectures: Sequence[Architecture]) -> NDArray[np.int64]:
    """Cost of each architecture, (A, 4): a row each, the columns in the order of `Cost`'s fields.

    Raises:
        OverflowError: A count exceeds 64 bits.
    """
    found = [cost(architecture) for architecture in architectures]
    return np.array(found, dtype=np.int64).reshape(-1, len(Cost._fields))


def stem_cost(
    stem: str,
    *,
    width: int,
    stem_width: int,
    patch_size: int,
    image_size: tuple[int, int],
    in_channels: int,
) -> Cost:
    """Stem and the LayerNorm after it."""
    C, S, P = width, stem_width, patch_size
    N = (image_size[0] // P) * (image_size[1] // P)
    if stem == "conv1":
        weights = P * P * in_channels * C
        return Cost(weights + C + 2 * C, weights * N, weights * N + _NORM * N * C, N * C)
    # Without biases: the first convolution and two of 3x3, each with a BatchNorm (6 * S below).
    inner = stem_kernel(P) ** 2 * in_channels * S + 18 * S * S
    last = (P // 2) ** 2 * S * C
    half = (image_size[0] // 2) * (image_size[1] // 2)
    macs = inner * half + last * N
    norms = 3 * _BATCH_NORM * S * half + _NORM * N * C
    return Cost(inner + 6 * S + last + C + 2 * C, macs, macs + norms, 3 * S * half + N * C)


def head_cost(width: int, resolution: tuple[int, int], num_classes: int) -> Cost:
    """Last LayerNorm, mean over positions and linear head."""
    C, K, N = width, num_classes, resolution[0] * resolution[1]
    return Cost(2 * C + C * K + K, C * K, C * K + _NORM * N * C, K)


def downsample_cost(before: int, after: int, resolution: tuple[int, int]) -> Cost:
    """2x2 convolution with stride 2 and its norm; `resolution` is that of its output."""
    N = resolution[0] * resolution[1]
    weights = 4 * before * after  # no bias
    macs = weights * N
    return Cost(weights + 2 * after, macs, macs + _NORM * N * after, N * after)


def trunk_cost(width: int, resolution: tuple[int, int], expansion_ratio: float) -> Cost:
    """The parts of every block: depthwise convolution, LayerNorm and channel MLP."""
    C, N = width, resolution[0] * resolution[1]
    h = int(expansion_ratio * C)
    macs = 9 * N * C + 2 * N * C * h
    return Cost(10 * C + 2 * C + 2 * C * h + h + C, macs, macs + _NORM * N * C, 2 * N * C + N * h)


def stage_cost(stage: Stage, resolution: tuple[int, int]) -> Cost:
    """All blocks of a stage, without its downsampling."""
    return blocks_cost(
        Counter(stage.mixers),
        site=stage.site(resolution),
        expansion_ratio=stage.expansion_ratio,
        shared=stage.shared,
    )


def blocks_cost(
    counts: Mapping[str, int], *, site: MixerSite, expansion_ratio: float, shared: bool
) -> Cost:
    """Blocks at one site, by the number for each mixer: cost does not depend on their order."""
    C, N = site.width, site.tokens
    params, macs, with_norms, activations = trunk_cost(C, site.resolution, expansion_ratio)
    depth = sum(counts.values())
    norms = depth * (with_norms - macs)
    params, macs, activations = depth * params, depth * macs, depth * activations
    for name, count in counts.items():
        if get_mixer(name).is_branch:
            params += count * 3 * C  # LN1 and gamma_1 are never shared
            norms += count * _NORM * N * C
        mixer = mixer_cost(name, site)
        params += mixer.params * (1 if shared else count)
        macs += mixer.macs * count
        activations += mixer.activations * count
    return Cost(params, macs, macs + norms, activations)
