"""The format that is chosen is the one that was measured to be faster."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from network_tools import images, randomised, zoo
from spach_nas.training import Runtime, faster_precision
from spach_nas.training.device import seconds_of_step

X = torch.ones(2, 3)


def timer_of(fp32: list[float], bf16: list[float]):  # type: ignore[no-untyped-def]
    """A clock that shows these seconds, one after another in each format, and then no more."""
    left = {False: iter(fp32), True: iter(bf16)}
    return lambda _network, _images, runtime: next(left[runtime.bf16])


@pytest.mark.parametrize(
    ("fp32", "bf16", "expected"),
    [
        (1.0, 0.5, "bf16"),
        (1.0, 1 / 1.11, "bf16"),
        (1.0, 1 / 1.09, "fp32"),
        (1.0, 1.0, "fp32"),
        (1.0, 2.0, "fp32"),
    ],
)
def test_the_choice_is_what_was_measured(fp32: float, bf16: float, expected: str) -> None:
    timer = timer_of([fp32] * 4, [bf16] * 4)
    assert faster_precision(nn.Linear(3, 3), X, timer=timer) == expected


def test_the_first_steps_and_a_disturbed_one_do_not_matter() -> None:
    timer = timer_of([0.01, 1.0, 1.0, 0.1], [50.0, 0.5, 0.5, 20.0])
    assert faster_precision(nn.Linear(3, 3), X, timer=timer) == "bf16"
    timer = timer_of([50.0, 0.5, 0.5, 20.0], [0.01, 1.0, 1.0, 0.1])
    assert faster_precision(nn.Linear(3, 3), X, timer=timer) == "fp32"


@pytest.mark.parametrize("rounds", [1, 5])
def test_steps_of_both_formats_take_turns(rounds: int) -> None:
    seen: list[bool] = []
    tick = itertools.count(1)

    def timer(_: nn.Module, __: Tensor, runtime: Runtime) -> float:
        seen.append(runtime.bf16)
        return float(next(tick))

    faster_precision(nn.Linear(3, 3), X, rounds=rounds, timer=timer)
    assert seen == [False, True] * (rounds + 1)


def test_network_gradients_and_random_state_are_left_as_they_are() -> None:
    architecture = zoo()["hybrid_plus"]
    network = randomised(architecture, drop_path_rate=0.5).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_state = torch.random.get_rng_state()
    assert faster_precision(network, images(architecture), rounds=1) in ("fp32", "bf16")
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random_state)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_timed_step_runs_forward_and_backward_in_its_format(bf16: bool) -> None:
    layer = nn.Linear(3, 4)
    seen: list[torch.dtype] = []
    layer.register_forward_hook(lambda _layer, _args, out: seen.append(out.dtype))
    assert seconds_of_step(layer, X, Runtime(device=torch.device("cpu"), bf16=bf16)) > 0
    assert seen == [torch.bfloat16 if bf16 else torch.float32]
    assert layer.weight.grad is not None and layer.weight.grad.abs().max() > 0
