"""The optimizer, and its state by the names of the parameters.

torch keys the state by position. With names, a state cannot be given to the wrong parameter.
"""

from collections.abc import Mapping

import torch
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn

from spach_nas.config.training_settings import Optimizer
from spach_nas.training.muon import make_muon

# Name of an optimizer's count of steps, which is a tensor without dimensions for each parameter.
STEP = "step"


def make_optimizer(
    network: nn.Module, *, name: Optimizer, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """The optimizer; norms, biases and what `network.no_weight_decay()` names do not decay.

    Sources: Loshchilov and Hutter 2019, arXiv:1711.05101 (AdamW); Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon (Muon), with updates brought to the size of AdamW's
    (Liu et al. 2025, arXiv:2502.16982), as in timm.
    """
    if name == "muon":
        return make_muon(network, learning_rate=learning_rate, weight_decay=weight_decay)
    exempt: set[str] = getattr(network, "no_weight_decay", set)()
    groups = param_groups_weight_decay(network, weight_decay, no_weight_decay_list=tuple(exempt))
    device = next(network.parameters()).device.type
    return torch.optim.AdamW(groups, lr=learning_rate, fused=device in ("cpu", "cuda", "mps"))


def optimizer_state(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """`KEY.NAME` for every tensor that it keeps per parameter, such as `exp_avg.head.weight`.

    The tensors are those of the optimizer, not copies.
    """
    return {
        f"{key}.{name}": value
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, network: nn.Module, *, state: Mapping[str, Tensor]
) -> None:
    """Give a fresh optimizer the state that `optimizer_state` returned."""
    parameters = dict(network.named_parameters())
    on_device = optimizer.defaults.get("fused")
    for full_name, value in state.items():
        key, _, name = full_name.partition(".")
        parameter = parameters[name]
        if key == STEP:
            step = value.detach().clone()
            optimizer.state[parameter][STEP] = step.to(parameter.device) if on_device else step
        else:
            # In the layout of the parameter, which the fused kernel assumes.
            copy = torch.empty_like(parameter).copy_(value).detach()
            optimizer.state[parameter][key] = copy
