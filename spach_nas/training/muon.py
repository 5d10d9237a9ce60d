"""timm's Muon, with all matrices of one shape orthogonalised at once, in a format of the device.

timm orthogonalises the matrices one by one, in some thirty small calls each, and on a CPU it also
updates AdamW's parameters one by one; together that is a third of a training step of a small
network. It also computes the products in bfloat16, which takes ten times as long as float32 on a
CPU that emulates it. The results differ only by the rounding of the products.

Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from timm.optim import Muon, create_optimizer_v2
from timm.optim.muon import (
    _COEFFICIENTS,
    _is_suitable_for_muon,
    get_lr_scale,
    resolve_ns_coefficients,
    zeropower_via_newtonschulz,
)
from torch import Tensor, nn
from torch.optim.adamw import adamw

from spach_nas.training.device import orthogonalisation_format


def make_muon(network: nn.Module, *, learning_rate: float, weight_decay: float) -> "BatchedMuon":
    """What `timm.optim.create_optimizer_v2(network, "muon", ...)` makes, in fewer calls a step."""
    made = create_optimizer_v2(network, opt="muon", lr=learning_rate, weight_decay=weight_decay)
    return BatchedMuon(made.param_groups, **made.defaults)


class BatchedMuon(Muon):  # type: ignore[misc]
    """`timm.optim.Muon` as `create_optimizer_v2` configures it."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Move the matrices by Muon and everything else by AdamW.

        Args:
            closure: Part of torch's signature; must be None, with gradients already computed.
        """
        assert closure is None
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            others: list[Tensor] = []
            for parameter in group["params"]:
                if parameter.grad is not None:
                    is_matrix = self._is_matrix(parameter)
                    (alike[parameter.shape] if is_matrix else others).append(parameter)
            for matrices in alike.values():
                _move(matrices, [self.state[one]["momentum_buffer"] for one in matrices], group)
            if others:
                _move_others(others, [self._adamw_state(one) for one in others], group)

    def _is_matrix(self, parameter: Tensor) -> bool:
        # Decided at the first step, also of a restored state: a training that continues must round
        # as one that was never stopped.
        state = self.state[parameter]
        if "use_muon" not in state:
            state["use_muon"] = _is_suitable_for_muon(parameter)
            if state["use_muon"] and "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
        return bool(state["use_muon"])

    def _adamw_state(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if "step" not in state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state


def _move_others(
    parameters: list[Tensor], states: list[dict[str, Tensor]], group: Mapping[str, Any]
) -> None:
    # torch's AdamW for all at once; timm's takes a dozen calls for each of them on a CPU.
    beta1, beta2 = group["betas"]
    on_cpu = parameters[0].device.type == "cpu"
    adamw(
        parameters,
        [parameter.grad for parameter in parameters if parameter.grad is not None],
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        [state["step"] for state in states],
        # Elsewhere, the fused version needs the step counts on the device.
        fused=on_cpu,
        foreach=not on_cpu,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"] * group["fallback_lr_scale"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )


def _move(matrices: list[Tensor], momenta: list[Tensor], group: Mapping[str, Any]) -> None:
    # One step for all matrices, or convolutions, of one shape.
    gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
    torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
    torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
    stacked = torch.stack([momentum.flatten(1) for momentum in momenta])
    turned = zeropower_via_newtonschulz(
        stacked,
        group["ns_steps"],
        resolve_ns_coefficients(group["ns_coefficients"], _COEFFICIENTS),
        eps=group["eps"],
        safety_factor=group["safety_factor"],
        dtype=orthogonalisation_format(stacked.device),
    )
    rate = group["lr"] * get_lr_scale(stacked.shape, group["adjust_lr_fn"])
    for matrix, change in zip(matrices, turned, strict=True):
        matrix.add_(change.reshape(matrix.shape), alpha=-rate)
