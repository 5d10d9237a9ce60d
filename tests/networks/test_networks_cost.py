"""Closed form, built network and trace agree exactly."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from effort import some_or_all, thorough
from network_tools import zoo
from spach_nas.config.shipped import shipped_folder
from spach_nas.cost.closed_form import cost
from spach_nas.networks import Spach, build
from spach_nas.networks.traced_cost import trace_cost
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import REFERENCES
from spach_nas.space.search_space import SearchSpace
from strategies import architectures

SPACES = ("spach_ms", "spach_ss", "spach_tiny")


def trace(architecture: Architecture):
    with torch.device("meta"):
        network = build(architecture)
    return trace_cost(network, architecture.image_size, in_channels=architecture.in_channels)


SOME = ["mlp_ms_s_shared", "trans_xxs"]


@thorough
@pytest.mark.parametrize("name", some_or_all(SOME, list(REFERENCES)))
def test_closed_form_equals_the_trace_of_a_reference(name: str) -> None:
    assert trace(REFERENCES[name].architecture) == cost(REFERENCES[name].architecture)


@thorough
@settings(
    max_examples=some_or_all(8, 40), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(architectures())
def test_closed_form_equals_the_trace_of_any_architecture(architecture: Architecture) -> None:
    assert trace(architecture) == cost(architecture)


def test_trace_counts_fused_attention() -> None:
    # The closed form's attention term, counted by hand: Q K^T and its product with V.
    q = torch.nn.Linear(6, 6)

    class Attend(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q = q

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.q(x.flatten(2).transpose(1, 2))[:, None]
            return torch.nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)

    N = 4 * 5
    counted = trace_cost(Attend(), (4, 5), in_channels=6)
    assert counted.macs == N * 6 * 6 + 2 * N * N * 6
    assert (counted.params, counted.activations) == (42, N * 6)


@pytest.mark.parametrize("name", zoo())
def test_tracing_leaves_the_network_as_it_is(name: str) -> None:
    architecture = zoo()[name]
    network = build(architecture).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    trace_cost(network, architecture.image_size, in_channels=2)
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert sum(math.prod(p.shape) for p in network.parameters()) == cost(architecture).params


class Products(TorchDispatchMode):
    """A second oracle of MACs: torch's own rules."""

    flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        rule = flop_registry.get(func._overloadpacket)
        if rule is not None:
            self.flops += rule(*args, **(kwargs or {}), out_val=result)
        return result


def drawn(name: str, count: int) -> list[Architecture]:
    space = SearchSpace.from_yaml(shipped_folder() / f"{name}.yaml")
    rng = np.random.default_rng(3)
    return [space.sample(rng) for _ in range(count)]


def cut(architecture: Architecture) -> Architecture:
    """Depths, mixers, ratios and sharing as they are; width and image small: a run computes."""
    side = architecture.patch_size * 2 ** len(architecture.stages)
    stages = tuple(replace(stage, width=2 * stage.heads) for stage in architecture.stages)
    return replace(architecture, stages=stages, image_size=(side, side))


@thorough
@pytest.mark.parametrize("name", SPACES)
def test_closed_form_equals_the_network_of_any_architecture_of_a_shipped_space(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spach, "init_weights", lambda self: None)  # half of the time
    for architecture in drawn(name, some_or_all(5, 50)):
        with torch.device("meta"):
            network = build(architecture)
        assert sum(p.numel() for p in network.parameters()) == cost(architecture).params
        small = cut(architecture)
        image = torch.zeros(1, small.in_channels, *small.image_size)
        with torch.device("meta"):
            network = build(small)
        network.to_empty(device="cpu")
        with Products() as products, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            network(image)
        assert products.flops == 2 * cost(small).macs


@thorough
@pytest.mark.parametrize("name", SPACES)
def test_closed_form_equals_the_trace_in_any_shipped_space(name: str) -> None:
    for architecture in map(cut, drawn(name, some_or_all(2, 12))):
        assert trace(architecture) == cost(architecture)
