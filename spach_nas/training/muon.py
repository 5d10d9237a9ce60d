"""timm's Muon, with all matrices of one shape orthogonalised at once, in a format of the device.

timm takes them one by one, in some thirty small calls for each, which is a quarter of a training
step where networks are small. It also computes the products in bfloat16 everywhere, which a CPU
without units for it emulates: ten times the time of float32. What comes out differs by the rounding
of the products alone.

Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
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

from spach_nas.training.formats import orthogonalisation_format


def make_muon(network: nn.Module, *, learning_rate: float, weight_decay: float) -> "BatchedMuon":
    """What `timm.optim.create_optimizer_v2(network, "muon", ...)` makes, in fewer calls a step."""
    made = create_optimizer_v2(network, opt="muon", lr=learning_rate, weight_decay=weight_decay)
    return BatchedMuon(made.param_groups, **made.defaults)


class BatchedMuon(Muon):  # type: ignore[misc]
    """`timm.optim.Muon` as `create_optimizer_v2` configures it."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Move the matrices; timm's AdamW moves everything else.

        Args:
            closure: Of torch's signature; gradients must be there without it.
        """
        assert closure is None
        matrices: list[Tensor] = []
        for group in self.param_groups:
            for alike in self._by_shape(group):
                _move(alike, [self.state[one]["momentum_buffer"] for one in alike], group)
                matrices += alike
        gradients = [matrix.grad for matrix in matrices]
        try:
            for matrix in matrices:
                matrix.grad = None  # so that timm passes it over
            super().step()
        finally:
            for matrix, gradient in zip(matrices, gradients, strict=True):
                matrix.grad = gradient

    def _is_matrix(self, parameter: Tensor) -> bool:
        # From the first step on, also of a state that was restored: a training that goes on must
        # round as one that was never stopped.
        state = self.state[parameter]
        if "use_muon" not in state:
            state["use_muon"] = _is_suitable_for_muon(parameter)
            if state["use_muon"] and "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
        return bool(state["use_muon"])

    def _by_shape(self, group: Mapping[str, Any]) -> Collection[list[Tensor]]:
        alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None and self._is_matrix(parameter):
                alike[parameter.shape].append(parameter)
        return alike.values()


def _move(matrices: list[Tensor], momenta: list[Tensor], group: Mapping[str, Any]) -> None:
    # One step for matrices of one shape, or convolutions of one.
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
