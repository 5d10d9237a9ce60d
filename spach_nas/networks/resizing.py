"""Changes the image size of a network.

The weights of convolution and attention do not depend on it. Those of a token-MLP do: they are
functions over positions, which are resampled on the grid. Its hidden units have no position and are
kept.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spach_nas.errors import ArchitectureError
from spach_nas.networks.mixer_modules import TokenMlp
from spach_nas.networks.spach import Spach
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.mixers import get_mixer

Resolution = tuple[int, int]


def resize(network: Spach, image_size: tuple[int, int], *, resample_tokens: bool = False) -> Spach:
    """A copy of `network` for images of `image_size` (height, width), without drop path.

    Args:
        network: The network to copy.
        image_size: The new height and width in pixels.
        resample_tokens: Allow token-MLPs: their weights are interpolated bicubically over the
            positions and scaled so that sums over positions keep their size. Their token_ratio
            changes, because the number of hidden units stays. Fine-tune such a network afterwards.

    Raises:
        ArchitectureError: The stages cannot halve the size, or a mixer has a fixed size and
            `resample_tokens` is off or the mixer cannot be resampled.
    """
    before = network.architecture
    if image_size != before.image_size:
        _check_mixers(before, image_size, resample_tokens=resample_tokens)
    after = _resized(before, image_size)
    copy = Spach(after)
    if network.num_classes == 0:
        copy.reset_classifier(0)
    state = network.state_dict()
    for name, module in network.named_modules():
        if isinstance(module, TokenMlp):
            stage = int(name.split(".")[1])
            grids = before.resolutions[stage], after.resolutions[stage]
            for key, value in _resampled(module, *grids).items():
                state[f"{name}.{key}"] = value
    copy.load_state_dict(state)
    return copy


def _check_mixers(
    architecture: Architecture, image_size: tuple[int, int], *, resample_tokens: bool
) -> None:
    used = {name for stage in architecture.stages for name in stage.mixers}
    for name in sorted(used):
        if get_mixer(name).fixed_resolution and not (resample_tokens and name == "mlp"):
            own, wanted = (
                "x".join(map(str, size)) for size in (architecture.image_size, image_size)
            )
            raise ArchitectureError(
                f"image_size: {wanted}; expected {own}, the only size of the weights of its {name} "
                "mixers" + ("; resample_tokens=True interpolates them" if name == "mlp" else "")
            )


def _resized(architecture: Architecture, image_size: tuple[int, int]) -> Architecture:
    # With conv only, to get the new resolutions: with the old token ratios, a token-MLP might have
    # no hidden unit there, and would be refused.
    sized = replace(
        architecture,
        image_size=image_size,
        stages=tuple(replace(stage, mixers=("conv",)) for stage in architecture.stages),
    )
    stages = [
        _keep_hidden(stage, old[0] * old[1], new[0] * new[1])
        for stage, old, new in zip(
            architecture.stages, architecture.resolutions, sized.resolutions, strict=True
        )
    ]
    return replace(sized, stages=tuple(stages))


def _keep_hidden(stage: Stage, before: int, after: int) -> Stage:
    hidden = int(stage.token_ratio * before)
    ratio = stage.token_ratio * before / after
    # The ratio that gives the same number of hidden units. If int() would lose one to rounding,
    # half a unit more.
    return replace(
        stage, token_ratio=ratio if int(ratio * after) == hidden else (hidden + 0.5) / after
    )


def _resampled(mlp: nn.Module, before: Resolution, after: Resolution) -> dict[str, Tensor]:
    state = mlp.state_dict()
    if before == after:
        return state
    shrink = before[0] * before[1] / (after[0] * after[1])
    return {
        "fc1.weight": _interpolated(state["fc1.weight"], before, after) * shrink,
        "fc1.bias": state["fc1.bias"],
        "fc2.weight": _interpolated(state["fc2.weight"].T, before, after).T,
        "fc2.bias": _interpolated(state["fc2.bias"][None], before, after)[0],
    }


@torch.no_grad()
def _interpolated(rows: Tensor, before: Resolution, after: Resolution) -> Tensor:
    # (T, N) -> (T, N')
    maps = rows.reshape(1, -1, *before)
    return F.interpolate(maps, after, mode="bicubic", antialias=True).flatten(2)[0]
