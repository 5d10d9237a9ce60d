"""Bytes kept for the backward pass, against autograd's own hooks."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from effort import some_or_all, thorough
from network_tools import zoo
from saved_tensors import hooked_bytes
from spach_nas.cost.memory import saved_bytes
from spach_nas.errors import ArchitectureError
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import MIXERS, MixerCost, MixerSite, MixerSpec, register_mixer
from spach_nas.space.references import REFERENCES
from strategies import architectures

PRECISIONS = ("fp32", "bf16")


@thorough
@pytest.mark.parametrize("precision", PRECISIONS)
@settings(
    max_examples=some_or_all(12, 50), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(architecture=architectures())
def test_saved_bytes_are_what_autograd_keeps(architecture: Architecture, precision: str) -> None:
    hooked = hooked_bytes(architecture, precision=precision)
    assert saved_bytes(architecture, precision=precision) == hooked


# The smallest one.
SOME = ["trans_xxs"]


@thorough
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", some_or_all(SOME, list(REFERENCES)))
def test_saved_bytes_of_a_reference(name: str, precision: str) -> None:
    # Shapes only. The fake CPU keeps statistics of norms in bf16 where the real one has fp32.
    architecture = REFERENCES[name].architecture
    hooked = hooked_bytes(architecture, precision=precision, fake=True)
    exact = 0 if precision == "fp32" else 0.005
    assert saved_bytes(architecture, precision=precision) == pytest.approx(hooked, rel=exact)


COMPUTING = ("conv_ms_xxs", "trans_ms_xxs", "mlp_ms_xxs", "trans_xxs")


@thorough
@pytest.mark.parametrize(
    ("name", "precision"),
    some_or_all([("trans_xxs", "fp32")], list(itertools.product(COMPUTING, PRECISIONS))),
)
def test_saved_bytes_of_a_reference_that_computes(name: str, precision: str) -> None:
    architecture = REFERENCES[name].architecture
    hooked = hooked_bytes(architecture, precision=precision)
    assert saved_bytes(architecture, precision=precision) == pytest.approx(hooked, rel=0.005)


@pytest.mark.parametrize("name", zoo())
def test_sharing_weights_saves_no_features(name: str) -> None:
    architecture = zoo()[name]
    stages = tuple(replace(stage, shared=not stage.shared) for stage in architecture.stages)
    assert saved_bytes(replace(architecture, stages=stages)) == saved_bytes(architecture)


def test_an_unknown_precision_is_named() -> None:
    with pytest.raises(ArchitectureError, match="precision: 'fp16'; expected fp32 or bf16"):
        saved_bytes(zoo()["conv"], precision="fp16")


class Doubling(torch.nn.Module):
    """Keeps what enters the square, and the square."""

    def __init__(self, site: MixerSite) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(site.width, site.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.nn.functional.gelu(self.linear(x)))


def doubling_cost(site: MixerSite) -> MixerCost:
    C, N = site.width, site.tokens
    return MixerCost(C * C + C, 2 * N * C * C, 2 * N * C)


@pytest.mark.parametrize("saved", [None, lambda site, item: 2 * item * site.tokens * site.width])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_mixer_of_a_user_keeps_what_it_says_or_its_activations(
    saved, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"doubling_{saved is None}"
    monkeypatch.setitem(MIXERS.known, name, None)
    del MIXERS.known[name]
    register_mixer(
        MixerSpec(
            name=name, short="d", cost=doubling_cost, module="test_memory:Doubling", saved=saved
        )
    )
    architecture = zoo()["attention"]
    stages = tuple(replace(stage, mixers=("conv", name, name)) for stage in architecture.stages)
    architecture = replace(architecture, stages=stages)
    hooked = hooked_bytes(architecture, precision=precision)
    assert saved_bytes(architecture, precision=precision) == hooked
