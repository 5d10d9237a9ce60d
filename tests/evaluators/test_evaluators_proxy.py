"""The proxy evaluator: scores, weights, and every way in which a candidate fails."""

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import nn

from spach_nas.config.evaluation import Evaluation, EvaluationRequest, Fidelity
from spach_nas.errors import ConfigError
from spach_nas.evaluators import ProxyEvaluator
from spach_nas.machine import describe_machine
from spach_nas.networks import build
from spach_nas.space import mixers
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import MixerCost, MixerSite, MixerSpec, mixer_names, register_mixer
from spach_nas.training import global_seed, network_weights, score_images, train
from training_tools import CPU, DATA, SETTINGS, architecture

EVALUATE = ProxyEvaluator(settings=SETTINGS)


def request(
    proxy: Architecture, *, epochs: int = 2, seed: int = 0, micro_batch: int | None = None
) -> EvaluationRequest:
    return EvaluationRequest(
        micro_batch=micro_batch,
        trial=0,
        architecture=proxy,
        proxy=proxy,
        fidelity=Fidelity(epochs=epochs, image_size=(12, 12), data_share=1.0),
        seed=seed,
    )


def timeless(evaluation: Evaluation) -> Evaluation:
    curve = tuple(replace(epoch, seconds=0.0, cpu_seconds=0.0) for epoch in evaluation.curve)
    return replace(evaluation, seconds=0.0, curve=curve)


@pytest.mark.parametrize("mixer", mixer_names())
def test_the_weights_give_the_scores_again(mixer: str) -> None:
    proxy = architecture(mixer)
    evaluation = EVALUATE(request(proxy), DATA)
    assert evaluation.state == "complete"
    assert evaluation.reason is None
    assert len(evaluation.curve) == 2
    assert evaluation.seconds >= sum(epoch.seconds for epoch in evaluation.curve) > 0
    assert all((epoch.cpu_seconds or 0) > 0 for epoch in evaluation.curve)
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
    evaluation = EVALUATE(request(proxy, seed=3), DATA)
    assert evaluation.weights is not None
    assert network_weights(evaluation.weights) == save_safetensors(network.state_dict())


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
    assert evaluation.machine == f"{describe_machine()}, cpu, {before + 1} threads"
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


class Hungry(nn.Module):
    """A mixer whose memory takes no more than `most` images."""

    fault: str = "none"
    most: int = 4
    sizes: ClassVar[list[int]] = []

    def __init__(self, site: MixerSite) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(x))
        if len(x) > self.most and self.fault == "cpu":
            # The allocator's own error: more than an address can reach.
            torch.empty(10**15)
        if len(x) > self.most and self.fault == "host":
            raise MemoryError
        if len(x) > self.most and self.fault == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if len(x) > self.most and self.fault == "other":
            raise RuntimeError("shapes do not fit")
        return x * self.scale


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(mixers.MIXERS, "known", dict(mixers.MIXERS))
    monkeypatch.setattr(Hungry, "fault", "none")
    monkeypatch.setattr(Hungry, "sizes", [])
    for kind in (Faulty, Unbuildable, Hungry):
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
        (MemoryError(), "out of memory on cpu with batches of 16, and of 4"),
        (torch.OutOfMemoryError(""), "out of memory on cpu with batches of 16, and of 4"),
        (
            RuntimeError("GET was unable to find an engine to execute this computation"),
            "out of memory on cpu with batches of 16, and of 4",
        ),
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


def hungry() -> Architecture:
    return architecture("hungry")


def alike(evaluation: Evaluation, other: Evaluation) -> Evaluation:
    """The same evaluation where the two differ in nothing but their remark and duration."""
    return replace(timeless(evaluation), remark=other.remark)


@pytest.mark.parametrize("fault", ["cpu", "host", "cuda"])
def test_out_of_memory_is_tried_once_more_in_quarters(
    monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    asked = EVALUATE(request(hungry(), micro_batch=4), DATA)
    assert asked.remark == "trained in batches of 4 at most"
    monkeypatch.setattr(Hungry, "fault", fault)
    Hungry.sizes.clear()
    evaluation = EVALUATE(request(hungry()), DATA)
    assert evaluation.state == "complete"
    assert evaluation.remark == "trained in batches of 4 at most after it ran out of memory"
    assert alike(evaluation, asked) == timeless(asked)
    # Once more and no less: two epochs of six steps in four parts, and of 48 images to score.
    assert Hungry.sizes == [16] + [4] * 2 * (6 * 4 + 12)


@pytest.mark.parametrize(
    ("batch_size", "micro_batch", "sizes", "tried"),
    [
        (16, None, [16, 4], "batches of 16, and of 4"),
        (16, 7, [7, 1], "batches of 7, and of 1"),
        (1, None, [1], "batches of 1"),
        (500, None, [96, 24], "batches of 96, and of 24"),
    ],
)
def test_out_of_memory_twice_is_a_failed_evaluation(
    monkeypatch: pytest.MonkeyPatch,
    batch_size: int,
    micro_batch: int | None,
    sizes: list[int],
    tried: str,
) -> None:
    monkeypatch.setattr(Hungry, "fault", "host")
    monkeypatch.setattr(Hungry, "most", 0)
    evaluator = ProxyEvaluator(settings=replace(SETTINGS, batch_size=batch_size))
    evaluation = evaluator(request(hungry(), micro_batch=micro_batch), DATA)
    assert evaluation.state == "failed"
    assert evaluation.reason == f"out of memory on cpu with {tried}"
    assert evaluation.weights is None
    assert Hungry.sizes == sizes


def test_other_errors_are_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hungry, "fault", "other")
    evaluation = EVALUATE(request(hungry()), DATA)
    assert evaluation.reason == "RuntimeError: shapes do not fit"
    assert Hungry.sizes == [16]


def test_nothing_of_the_first_attempt_is_held_in_the_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alive: weakref.WeakSet[Hungry] = weakref.WeakSet()
    counts: list[int] = []

    def forward(mixer: Hungry, x: torch.Tensor) -> torch.Tensor:
        alive.add(mixer)
        # A cycle, as graphs of a failed pass may be: only a collection takes it away.
        mixer.cycle = [mixer]
        counts.append(len(alive))
        if len(x) > 4:
            raise MemoryError
        return x * mixer.scale

    monkeypatch.setattr(Hungry, "forward", forward)
    gc.disable()
    try:
        assert EVALUATE(request(hungry()), DATA).state == "complete"
    finally:
        gc.enable()
    assert set(counts) == {1}


def test_a_batch_norm_is_told_where_batches_are_smaller() -> None:
    proxy = replace(architecture("conv"), stem="conv4", stem_width=4)
    evaluation = EVALUATE(request(proxy, epochs=1, micro_batch=8), DATA)
    assert evaluation.remark == (
        "trained in batches of 8 at most, from which BatchNorm took its statistics"
    )
    assert EVALUATE(request(proxy, epochs=1, micro_batch=16), DATA).remark is None


COURSE = tuple(
    Fidelity(epochs=epochs, image_size=(12, 12), data_share=share, rung=rung)
    for rung, (epochs, share) in enumerate([(1, 0.25), (2, 0.5), (4, 1.0)])
)


def at(rung: int, proxy: Architecture, *, seed: int = 0) -> EvaluationRequest:
    """Without its `parent`: an evaluator gets the bytes."""
    return replace(request(proxy, seed=seed), fidelity=COURSE[rung], course=COURSE)


def test_promotions_equal_an_uninterrupted_evaluation() -> None:
    proxy = architecture("attention", "mlp")
    settings = replace(SETTINGS, drop_path_rate=0.2)
    whole = ProxyEvaluator(settings=settings)(at(2, proxy), DATA)
    checkpoint, curve = None, []
    for rung, epochs in enumerate((1, 1, 2)):
        # Another evaluator, as in another process.
        evaluator = ProxyEvaluator(settings=settings)
        evaluation = evaluator(at(rung, proxy), DATA, checkpoint=checkpoint)
        assert (evaluation.state, evaluation.remark) == ("complete", None)
        assert len(evaluation.curve) == epochs
        checkpoint = evaluation.weights
        curve += timeless(evaluation).curve
    assert evaluation.weights == whole.weights
    assert evaluation.scores == whole.scores
    assert tuple(curve) == timeless(whole).curve


def test_a_checkpoint_that_has_all_epochs_is_scored() -> None:
    for rung in (1, 2):
        first = EVALUATE(at(rung, architecture("conv")), DATA)
        again = EVALUATE(at(rung, architecture("conv")), DATA, checkpoint=first.weights)
        assert again.curve == ()
        assert again.scores == first.scores
        assert again.weights == first.weights
        assert again.remark is None


@pytest.mark.parametrize("problem", ["cut off", "flipped", "another seed", "another proxy"])
def test_a_checkpoint_that_does_not_serve_is_made_good(problem: str) -> None:
    proxy = architecture("conv")
    parent = EVALUATE(
        at(
            0,
            architecture("attention") if problem == "another proxy" else proxy,
            seed=1 if problem == "another seed" else 0,
        ),
        DATA,
    ).weights
    assert parent is not None
    if problem == "cut off":
        parent = parent[:-5]
    elif problem == "flipped":
        parent = parent[:-5] + bytes([parent[-5] ^ 1]) + parent[-4:]
    evaluation = EVALUATE(at(1, proxy), DATA, checkpoint=parent)
    expected = EVALUATE(at(1, proxy), DATA)
    assert expected.remark is None
    assert alike(evaluation, expected) == timeless(expected)
    assert evaluation.remark == "trained from the start: its checkpoint " + {
        "cut off": "is damaged",
        "flipped": "is damaged",
        "another seed": "is of another seed",
        "another proxy": "is of another architecture",
    }.get(problem, "")


def test_the_second_attempt_goes_on_from_the_checkpoint_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parent = EVALUATE(at(0, hungry()), DATA).weights
    monkeypatch.setattr(Hungry, "fault", "host")
    evaluation = EVALUATE(at(1, hungry()), DATA, checkpoint=parent)
    assert evaluation.remark == "trained in batches of 4 at most after it ran out of memory"
    assert len(evaluation.curve) == 1
    asked = EVALUATE(replace(at(1, hungry()), micro_batch=4), DATA, checkpoint=parent)
    assert evaluation.weights == asked.weights
    damaged = EVALUATE(at(1, hungry()), DATA, checkpoint=b"")
    assert damaged.remark == (
        "trained from the start: its checkpoint is damaged; "
        "trained in batches of 4 at most after it ran out of memory"
    )
