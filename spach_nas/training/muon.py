"""timm's Muon, with all matrices of one shape orthogonalised at once.

timm takes them one by one, in some thirty small calls for each, which is a quarter of a training
step where networks are small. What comes out is the same to the bit.

Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from timm.optim import Muon, create_optimizer_v2
from timm.optim.muon import (
    _COEFFICIENTS,
    get_lr_scale,
    resolve_ns_coefficients,
    zeropower_via_newtonschulz,
)
from torch import Tensor, nn


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
        given = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if any("use_muon" not in self.state[parameter] for parameter in given):
            # In its first step timm says what is a matrix, and begins the momenta.
            super().step()
            return
        matrices = [parameter for parameter in given if self.state[parameter]["use_muon"]]
        for group in self.param_groups:
            self._move(group)
        gradients = [matrix.grad for matrix in matrices]
        try:
            for matrix in matrices:
                matrix.grad = None  # so that timm passes it over
            super().step()
        finally:
            for matrix, gradient in zip(matrices, gradients, strict=True):
                matrix.grad = gradient

    def _move(self, group: Mapping[str, Any]) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None and self.state[parameter]["use_muon"]:
                by_shape[parameter.shape].append(parameter)
        for matrices in by_shape.values():
            _move(matrices, [self.state[one]["momentum_buffer"] for one in matrices], group)


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
    )
    rate = group["lr"] * get_lr_scale(stacked.shape, group["adjust_lr_fn"])
    for matrix, change in zip(matrices, turned, strict=True):
        matrix.add_(change.reshape(matrix.shape), alpha=-rate)
