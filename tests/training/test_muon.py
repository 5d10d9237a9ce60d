"""Muon for many matrices at once moves a network as timm's does."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from timm.optim import muon as timm_muon
from torch import nn

from network_tools import images, randomised, small
from spach_nas.training import muon
from spach_nas.training.muon import make_muon

# Steps long enough for each part of one to be seen behind rounding.
SETTINGS = {"weight_decay": 0.5}
RATES = (0.1, 0.05, 0.02)


def step(network: nn.Module, optimizer: torch.optim.Optimizer, *, seed: int, rate: float) -> None:
    pixels = images(ARCHITECTURE, batch=4, seed=seed)
    labels = torch.arange(4) % 5
    optimizer.zero_grad()
    F.cross_entropy(network(pixels), labels).backward()
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


ARCHITECTURE = small(
    ("conv", "attention"), ("attention", "mlp", "conv"), ("mlp", "attention"), stem="conv4"
)


@pytest.fixture
def timm_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm computes in bfloat16 everywhere, and lets no caller of its optimizer choose."""
    in_float32 = partial(timm_muon.zeropower_via_newtonschulz, dtype=torch.float32)
    monkeypatch.setattr(timm_muon, "zeropower_via_newtonschulz", in_float32)


@pytest.mark.usefixtures("timm_in_float32")
@pytest.mark.parametrize("frozen", [False, True], ids=["all", "one without a gradient"])
def test_a_network_is_moved_as_by_timm(frozen: bool) -> None:
    network = randomised(ARCHITECTURE)
    other = copy.deepcopy(network)
    ours = make_muon(network, learning_rate=RATES[0], **SETTINGS)
    theirs = create_optimizer_v2(other, opt="muon", lr=RATES[0], **SETTINGS)
    for seed, rate in enumerate(RATES):
        for net, optimizer in ((network, ours), (other, theirs)):
            # In the last step, so that a momentum is there which must not move on.
            net.head.weight.requires_grad_(not (frozen and rate == RATES[-1]))
            step(net, optimizer, seed=seed, rate=rate)
    for (name, value), wanted in zip(
        network.state_dict().items(), other.state_dict().values(), strict=True
    ):
        if name.endswith("qkv.bias"):
            # A key's bias has no gradient but rounding, which AdamW brings to full size.
            value, wanted = (torch.stack(item.chunk(3)[::2]) for item in (value, wanted))
        torch.testing.assert_close(value, wanted, atol=1e-5, rtol=1e-5, msg=name)


def test_gradients_stay_where_they_are() -> None:
    network = randomised(ARCHITECTURE)
    optimizer = make_muon(network, learning_rate=RATES[0], **SETTINGS)
    for seed in range(2):
        step(network, optimizer, seed=seed, rate=RATES[0])
        assert all(parameter.grad is not None for parameter in network.parameters())


def test_matrices_of_one_shape_are_orthogonalised_in_one_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = randomised(ARCHITECTURE)
    optimizer = make_muon(network, learning_rate=RATES[0], **SETTINGS)
    calls: list[torch.Size] = []

    def counting(matrices: torch.Tensor, *arguments: object, **options: object) -> torch.Tensor:
        calls.append(matrices.shape)
        return orthogonalised(matrices, *arguments, **options)

    orthogonalised = muon.zeropower_via_newtonschulz
    monkeypatch.setattr(muon, "zeropower_via_newtonschulz", counting)
    # The first step, too: a training that goes on begins with one, and must round alike.
    step(network, optimizer, seed=0, rate=RATES[0])
    shapes = {
        parameter.shape
        for parameter in network.parameters()
        if optimizer.state[parameter]["use_muon"]
    }
    assert len(calls) == len(shapes)
