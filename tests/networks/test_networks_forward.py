"""The network computes the equations of the paper: an independent numpy forward pass agrees."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

import naive_spach
from network_tools import images, randomise, randomised, zoo
from spach_nas.networks import build
from spach_nas.space.architecture import Architecture
from strategies import architectures

ZOO = zoo()


def deviation(architecture: Architecture) -> float:
    """Largest deviation of features and logits, relative to the largest value."""
    network = randomised(architecture).double().eval()
    x = images(architecture, batch=3).double()
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    features, logits = naive_spach.forward(architecture, weights, x.numpy())
    with torch.no_grad():
        ours = network.forward_features(x)
        pairs = [(ours.numpy(), features), (network(x).numpy(), logits)]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


@pytest.mark.parametrize("name", ZOO)
def test_network_computes_the_equations(name: str) -> None:
    assert deviation(ZOO[name]) < 1e-12


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(architectures())
def test_any_network_computes_the_equations(architecture: Architecture) -> None:
    assert deviation(architecture) < 1e-12


@pytest.mark.parametrize("name", ZOO)
def test_every_weight_matters_to_the_logits(name: str) -> None:
    # Otherwise the comparison above would prove nothing about the weight.
    network = randomised(ZOO[name]).double().eval()
    weights = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (network(images(ZOO[name], batch=3).double()) * weights).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        if key.endswith("qkv.bias"):
            # The bias of the keys shifts all scores of a query alike: softmax does not see it.
            q, _, v = parameter.grad.chunk(3)
            assert q.abs().max() > 1e-4 and v.abs().max() > 1e-4, key
        else:
            assert parameter.grad.abs().max() > 1e-4, key


def test_fresh_logits_are_exactly_zero_and_gamma_small() -> None:
    network = build(ZOO["hybrid_plus"])
    assert torch.equal(network(images(ZOO["hybrid_plus"])), torch.zeros(2, 5))
    gammas = [value for name, value in network.named_parameters() if name.endswith("gamma_1")]
    assert len(gammas) == 4
    assert all(torch.equal(gamma, torch.full_like(gamma, 1e-4)) for gamma in gammas)


def test_initial_weights_have_the_spread_of_their_scheme() -> None:
    torch.manual_seed(0)
    network = build(ZOO["hybrid_plus"])
    for name, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, torch.nn.Conv2d):
            expected = (2 / (weight.shape[0] * weight[0, 0].numel())) ** 0.5
        elif isinstance(module, torch.nn.Linear) and name != "head":
            expected = (2 / sum(weight.shape)) ** 0.5
            assert weight.abs().max() <= expected * 3**0.5
        else:
            continue
        # The standard error of the estimate is at most expected / sqrt(2 n).
        assert weight.std().item() == pytest.approx(expected, rel=4 / (2 * weight.numel()) ** 0.5)
        assert module.bias is None or not module.bias.any()


@pytest.mark.parametrize("name", ["hybrid", "single_attention"])
def test_gamma_zero_turns_any_block_into_a_conv_block(name: str) -> None:
    architecture = ZOO[name]
    network = randomised(architecture).double().eval()
    plain = build(
        Architecture.from_dict(
            {
                **architecture.to_dict(),
                "stages": [
                    {**stage, "mixers": ["conv"] * len(stage["mixers"])}
                    for stage in architecture.to_dict()["stages"]
                ],
            }
        )
    )
    plain.double().eval()
    with torch.no_grad():
        for key, value in network.named_parameters():
            if key.endswith("gamma_1"):
                value.zero_()
    own = network.state_dict()
    plain.load_state_dict({key: own[key] for key in plain.state_dict()})
    x = images(architecture).double()
    torch.testing.assert_close(plain(x), network(x), rtol=1e-12, atol=1e-12)


def test_drop_path_grows_linearly_over_stages_and_is_constant_over_one() -> None:
    def rates(name: str) -> list[float]:
        network = build(ZOO[name], drop_path_rate=0.3)
        blocks = [block for stage in network.stages for block in stage.blocks]
        return [block.drop_path.drop_prob if block.drop_path else 0.0 for block in blocks]

    assert rates("hybrid") == pytest.approx([0.3 * i / 5 for i in range(6)])
    assert rates("single_mlp_shared") == pytest.approx([0.3] * 3)


def test_drop_path_drops_branches_but_never_the_convolution() -> None:
    # At rate 1 of a single stage only the depthwise convolutions are left.
    architecture = ZOO["single_attention"]
    network = randomised(architecture, drop_path_rate=1 - 1e-12).double()
    x = images(architecture).double()
    with torch.no_grad():
        expected = network.norm(network.stem(x))
        for block in network.stages[0].blocks:
            convolved = block.dwconv(expected.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            expected = expected + convolved
        torch.testing.assert_close(network.stages[0](network.norm(network.stem(x))), expected)


def test_sharing_blocks_have_one_mixer_function_and_their_own_norms() -> None:
    network = build(ZOO["hybrid_shared"])
    names = set(network.state_dict())
    assert {"stages.2.shared.mlp.fc1.weight", "stages.2.shared.attention.qkv.weight"} <= names
    assert not [name for name in names if "mixer" in name and name.startswith("stages.2")]
    assert {
        f"stages.2.blocks.{b}.{part}" for b in range(3) for part in ("gamma_1", "norm1.bias")
    } <= names
    storages = [value.untyped_storage().data_ptr() for value in network.state_dict().values()]
    assert len(set(storages)) == len(storages)


def test_randomised_weights_differ_from_the_fresh_ones() -> None:
    network = build(ZOO["conv"])
    randomise(network)
    assert network.head.weight.abs().max() > 0.1
