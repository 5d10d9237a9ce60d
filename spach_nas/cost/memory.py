"""Bytes kept for the backward pass, in closed form, without torch.

Counts what autograd keeps between the forward and the backward pass of one training step of our
networks: every tensor once, however many operations need it. Lower is better. Parameters, buffers
and everything that does not grow with the batch (statistics of BatchNorm, weights cast to bf16) are
left out. Drop path, dropout and gradient checkpointing are off. The rules are those of a CPU.

Letters: N positions, C width, h hidden channels of the channel MLP.
"""

from typing import Literal, get_args

from spach_nas.errors import ArchitectureError, did_you_mean, one_of
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.mixers import get_mixer, mixer_saved

Precision = Literal["fp32", "bf16"]
_FP32 = 4
_BYTES = {"fp32": 4, "bf16": 2}


def saved_bytes(architecture: Architecture, *, precision: Precision = "fp32") -> int:
    """Bytes per image kept for the backward pass of a training step.

    Args:
        architecture: The network that is trained.
        precision: `fp32`, or `bf16` for autocast with parameters in fp32.

    Raises:
        ArchitectureError: There is no such precision.
    """
    if precision not in get_args(Precision):
        legal = get_args(Precision)
        raise ArchitectureError(
            f"precision: {precision!r}; expected {one_of(legal)}{did_you_mean(precision, legal)}"
        )
    low = _BYTES[precision]
    total = _stem_bytes(architecture, low)
    entering = 0  # elements that enter a stage's downsampling; the first stage has none
    for stage, (height, width) in zip(architecture.stages, architecture.resolutions, strict=True):
        elements = height * width * stage.width
        if entering:
            # Convolution: its input, cast. GroupNorm: its input, mean and deviation of the image.
            total += (entering + elements) * low + 2 * _FP32
        total += _stage_bytes(stage, (height, width), low)
        entering = elements
    return total + _head_bytes(architecture, low)


def _stem_bytes(architecture: Architecture, low: int) -> int:
    # Convolution or linear layer: the image, in patches or not, cast.
    height, width = architecture.image_size
    kept = architecture.in_channels * height * width * low
    if architecture.stem == "conv4":
        # Three times BatchNorm: its input; ReLU in place: its output, the next convolution's input.
        kept += 3 * 2 * architecture.stem_width * (height // 2) * (width // 2) * low
    N = architecture.resolutions[0][0] * architecture.resolutions[0][1]
    return kept + _norm_bytes(N, architecture.stages[0].width, low)


def _head_bytes(architecture: Architecture, low: int) -> int:
    # LayerNorm of the last features; the mean keeps nothing; the head keeps its input, cast.
    stage, resolution = architecture.stages[-1], architecture.resolutions[-1]
    item = _stream_bytes(stage, low)[-1]
    return _norm_bytes(resolution[0] * resolution[1], stage.width, item) + stage.width * low


def _norm_bytes(tokens: int, width: int, item: int) -> int:
    # LayerNorm: its input uncast, and mean and reciprocal deviation of each position in fp32.
    return tokens * (width * item + 2 * _FP32)


def _stream_bytes(stage: Stage, low: int) -> list[int]:
    """Bytes of one element of the features before each block, and after the last one.

    Convolution and GroupNorm pass bf16 to a stage under autocast. gamma_1 is fp32, so a sum with a
    mixer's branch is fp32, too.
    """
    items = [low]
    for name in stage.mixers:
        items.append(_FP32 if get_mixer(name).is_branch else items[-1])
    return items


def _stage_bytes(stage: Stage, resolution: tuple[int, int], low: int) -> int:
    C, N = stage.width, resolution[0] * resolution[1]
    h = int(stage.expansion_ratio * C)
    site = stage.site(resolution)
    items = _stream_bytes(stage, low)
    total = 0
    for name, entering, leaving in zip(stage.mixers, items, items[1:], strict=False):
        spec = get_mixer(name)
        # Depthwise convolution: the block's input, cast.
        total += N * C * low
        if spec.is_branch:
            # LayerNorm of that input: the same tensor, unless the convolution cast it.
            total += _norm_bytes(N, 0 if entering == low else C, entering)
            # The mixer's own input, cast, and its inner tensors; `addcmul`: the mixer's output.
            total += 2 * N * C * low + mixer_saved(spec, site, low)
        # LayerNorm; of the channel MLP, the inputs of both linear layers and of GELU.
        total += _norm_bytes(N, C, leaving) + N * (C + 2 * h) * low
    return total
