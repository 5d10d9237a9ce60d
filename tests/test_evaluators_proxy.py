"""The proxy evaluator: scores, weights, and every way in which a candidate fails."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load as load_safetensors
from torch import nn

from spach_nas import mixers
from spach_nas.architecture import Architecture
from spach_nas.errors import ConfigError
from spach_nas.evaluation import Evaluation, EvaluationRequest, Fidelity
from spach_nas.evaluators import ProxyEvaluator
from spach_nas.evaluators.proxy import weights_of
from spach_nas.mixers import MixerCost, MixerSite, MixerSpec, mixer_names, register_mixer
from spach_nas.networks import build
from spach_nas.training import global_seed, score_images, train
from test_training_loop import CPU, DATA, SETTINGS, architecture

EVALUATE = ProxyEvaluator(settings=SETTINGS)


def request(proxy: Architecture, *, epochs: int = 2, seed: int = 0) -> EvaluationRequest:
    return EvaluationRequest(
        trial=0,
        architecture=proxy,
        proxy=proxy,
        fidelity=Fidelity(epochs=epochs, image_size=(12, 12), data_share=1.0),
        seed=seed,
    )


def timeless(evaluation: Evaluation) -> Evaluation:
    curve = tuple(replace(epoch, seconds=0.0) for epoch in evaluation.curve)
    return replace(evaluation, seconds=0.0, curve=curve)


@pytest.mark.parametrize("mixer", mixer_names())
def test_the_weights_give_the_scores_again(mixer: str) -> None:
    proxy = architecture(mixer)
    evaluation = EVALUATE(request(proxy), DATA)
    assert evaluation.state == "complete"
    assert evaluation.reason is None
    assert len(evaluation.curve) == 2
    assert evaluation.seconds >= sum(epoch.seconds for epoch in evaluation.curve) > 0
    last = evaluation.curve[-1]
    assert evaluation.scores == {"accuracy": last.accuracy, "loss": last.loss}

    assert evaluation.weights is not None
    network = build(proxy)
    network.load_state_dict(load_safetensors(evaluation.weights))
    scores = score_images(network, DATA.validation, normalisation=DATA.normalisation, runtime=CPU)
    assert scores == pytest.approx(evaluation.scores, rel=1e-5)


def test_shared_mixers_keep_their_weights() -> None:
    proxy = architecture("attention")
    stage = replace(proxy.stages[0], mixers=("attention", "attention"), shared=True)
    proxy = replace(proxy, stages=(stage,))
    evaluation = EVALUATE(request(proxy, epochs=1), DATA)
    assert evaluation.weights is not None
    build(proxy).load_state_dict(load_safetensors(evaluation.weights))


def test_equal_requests_give_equal_evaluations_and_other_seeds_do_not() -> None:
    proxy = architecture("attention", "mlp")
    first, again, other = (
        timeless(EVALUATE(request(proxy, seed=seed), DATA)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.scores != other.scores


def test_the_seed_decides_the_order_of_images_too() -> None:
    proxy = architecture("attention")
    with global_seed(3, CPU):
        network = build(proxy)
    fidelity = request(proxy).fidelity
    train(network, DATA, settings=SETTINGS, fidelity=fidelity, seed=3, runtime=CPU)
    assert EVALUATE(request(proxy, seed=3), DATA).weights == weights_of(network)


def test_the_seed_decides_the_initial_weights() -> None:
    still = ProxyEvaluator(settings=replace(SETTINGS, learning_rate=1e-12))
    weights = []
    for seed in (1, 2):
        evaluation = still(request(architecture("conv"), epochs=1, seed=seed), DATA)
        assert evaluation.weights is not None
        weights.append(load_safetensors(evaluation.weights)["stages.0.blocks.0.mlp.fc1.weight"])
    assert (weights[0] - weights[1]).abs().max() > 0.01


def test_the_device_and_the_threads_are_those_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[int] = set()

    def forward(mixer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        used.add(torch.get_num_threads())
        return x

    monkeypatch.setattr(Faulty, "forward", forward)
    before = torch.get_num_threads()
    evaluator = ProxyEvaluator(settings=SETTINGS, threads=before + 1)
    evaluation = evaluator(request(architecture("faulty"), epochs=1), DATA)
    assert (evaluation.device, evaluation.threads) == ("cpu", before + 1)
    assert used == {before + 1}
    assert torch.get_num_threads() == before


class Faulty(nn.Module):
    """A mixer that does what the test says."""

    fault: BaseException | None = None

    def __init__(self, site: MixerSite) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.fault is not None:
            raise self.fault
        return x * torch.nan


class Unbuildable(nn.Module):
    """A mixer that cannot be built."""

    def __init__(self, site: MixerSite) -> None:
        super().__init__()
        raise KeyError("no such kernel")


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(mixers, "_REGISTRY", dict(mixers._REGISTRY))
    for kind in (Faulty, Unbuildable):
        name = kind.__name__.lower()
        module = f"{__name__}:{kind.__name__}"
        cost = lambda site: MixerCost(0, 0, 0)  # noqa: E731
        register_mixer(MixerSpec(name=name, short=name, cost=cost, module=module))
    yield


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (None, "the loss is not finite after epoch 1"),
        (RuntimeError("shapes\ndo not fit"), "RuntimeError: shapes do not fit"),
        (AssertionError(), "AssertionError"),
        (MemoryError(), "out of memory on cpu"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory on cpu"),
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
)
def test_what_a_candidate_does_wrong_is_a_failed_evaluation(
    monkeypatch: pytest.MonkeyPatch, fault: BaseException | None, reason: str
) -> None:
    monkeypatch.setattr(Faulty, "fault", fault)
    evaluation = EVALUATE(request(architecture("faulty")), DATA)
    assert evaluation.state == "failed"
    assert evaluation.reason == reason
    assert evaluation.weights is None
    assert evaluation.scores == {}
    assert evaluation.curve == ()
    assert evaluation.seconds > 0


def test_a_candidate_that_cannot_be_built_is_a_failed_evaluation() -> None:
    evaluation = EVALUATE(request(architecture("unbuildable")), DATA)
    assert evaluation.state == "failed"
    assert evaluation.reason == "KeyError: 'no such kernel'"


@pytest.mark.parametrize("fault", [torch.AcceleratorError("lost"), KeyboardInterrupt()])
def test_what_is_no_fault_of_a_candidates_is_raised(
    monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    monkeypatch.setattr(Faulty, "fault", fault)
    with pytest.raises(type(fault)):
        EVALUATE(request(architecture("faulty")), DATA)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without CUDA says")
def test_a_missing_device_is_the_users_mistake_and_no_candidates() -> None:
    evaluator = ProxyEvaluator(settings=replace(SETTINGS, device="cuda"))
    with pytest.raises(ConfigError, match="device: cuda"):
        evaluator(request(architecture("conv")), DATA)
