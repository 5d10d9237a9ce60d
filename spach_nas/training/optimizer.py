"""The optimizer, and its state by the names of the parameters.

torch keys the state by position. A name says which parameter is meant, so that a state cannot reach
another one unnoticed.
"""

from collections.abc import Mapping

import torch
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn

from spach_nas.settings import TrainingSettings

# Of AdamW; `step` counts in a float.
MOMENTS = ("exp_avg", "exp_avg_sq")
STEP = "step"


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW; norms, biases and what `network.no_weight_decay()` names are not decayed."""
    exempt: set[str] = getattr(network, "no_weight_decay", set)()
    groups = param_groups_weight_decay(
        network, settings.weight_decay, no_weight_decay_list=tuple(exempt)
    )
    device = next(network.parameters()).device.type
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, fused=device in ("cpu", "cuda", "mps")
    )


def optimizer_state(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """`exp_avg.NAME`, `exp_avg_sq.NAME` and `step.NAME` of every parameter that has been stepped.

    The tensors are those of the optimizer, not copies.
    """
    return {
        f"{key}.{name}": optimizer.state[parameter][key]
        for name, parameter in network.named_parameters()
        if parameter in optimizer.state
        for key in (*MOMENTS, STEP)
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, network: nn.Module, *, state: Mapping[str, Tensor]
) -> None:
    """Give a fresh optimizer the state that `optimizer_state` took."""
    for name, parameter in network.named_parameters():
        if f"{STEP}.{name}" not in state:
            continue
        step = state[f"{STEP}.{name}"].detach().clone()
        optimizer.state[parameter] = {
            STEP: step.to(parameter.device) if optimizer.defaults["fused"] else step,
            # In the layout of the parameter: the fused kernel takes it for granted.
            **{
                key: torch.empty_like(parameter).copy_(state[f"{key}.{name}"]).detach()
                for key in MOMENTS
            },
        }
