"""Closed form, built network and trace agree exactly."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from network_tools import zoo
from strategies import architectures

from spach_nas.architecture import Architecture
from spach_nas.cost import cost
from spach_nas.networks import build
from spach_nas.networks.tracing import trace_cost
from spach_nas.references import REFERENCES


def trace(architecture: Architecture):
    with torch.device("meta"):
        network = build(architecture)
    return trace_cost(network, architecture.image_size, in_channels=architecture.in_channels)


@pytest.mark.parametrize("name", REFERENCES)
def test_closed_form_equals_the_trace_of_a_reference(name: str) -> None:
    assert trace(REFERENCES[name].architecture) == cost(REFERENCES[name].architecture)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
