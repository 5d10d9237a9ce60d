"""A training run: it learns, it repeats itself, it goes on, it notices when it diverges."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from effort import slow
from spach_nas.config.evaluation import Fidelity
from spach_nas.config.training_settings import Augmentation, Optimizer, TrainingSettings
from spach_nas.data import DataSplits
from spach_nas.space.mixers import mixer_names
from spach_nas.training import (
    TrainingResult,
    choose_runtime,
    loop,
    train,
)
from spach_nas.training.checkpoint import Position
from spach_nas.training.learner import Part, make_learner
from spach_nas.training.optimizer import make_optimizer
from spach_nas.training.schedule import Schedule, make_schedule, steps_per_epoch
from spach_nas.training.seeds import derive_seed
from training_tools import (
    CPU,
    DATA,
    SETTINGS,
    Recorder,
    network,
    splits,
    state,
    timeless,
)


def run(
    net: nn.Module,
    *,
    epochs: int = 1,
    share: float = 1.0,
    seed: int = 0,
    settings: TrainingSettings = SETTINGS,
    data: DataSplits = DATA,
) -> TrainingResult:
    fidelity = Fidelity(epochs=epochs, image_size=(12, 12), data_share=share)
    return train(net, data, settings=settings, fidelity=fidelity, seed=seed, runtime=CPU)


@pytest.mark.parametrize("mixer", mixer_names())
def test_separable_images_are_learned(mixer: str) -> None:
    result = run(network(mixer), epochs=8)
    assert result.diverged is None
    assert len(result.curve) == 8
    assert result.curve[-1].accuracy > 0.9
    assert result.curve[-1].train_loss < result.curve[0].train_loss
    assert result.curve[-1].loss < np.log(3)


def test_training_in_bf16_learns_too() -> None:
    net = network("attention")
    fidelity = Fidelity(epochs=8, image_size=(12, 12), data_share=1.0)
    runtime = choose_runtime(device="cpu", precision="bf16")
    result = train(net, DATA, settings=SETTINGS, fidelity=fidelity, seed=0, runtime=runtime)
    assert result.curve[-1].accuracy > 0.9
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())


def test_equal_seeds_give_equal_bits_and_others_do_not() -> None:
    results = []
    for seed in (3, 3, 4):
        net = network("attention", "mlp", drop_path_rate=0.2)
        results.append((timeless(run(net, epochs=2, seed=seed)), state(net)))
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_the_callers_random_state_is_left_alone() -> None:
    net = network("conv", drop_path_rate=0.5)
    before = torch.random.get_rng_state()
    run(net)
    assert torch.equal(before, torch.random.get_rng_state())


class Failing(Recorder):
    """Raises in its second training batch."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(self.seen) == 1:
            raise MemoryError
        return super().forward(images)


def test_the_random_state_is_left_alone_when_a_step_fails() -> None:
    before = torch.random.get_rng_state()
    # While the error is held, so are the frames of the training.
    with pytest.raises(MemoryError) as held:
        run(Failing())
    assert torch.equal(before, torch.random.get_rng_state())
    del held


@pytest.mark.parametrize(("share", "batches"), [(1.0, 6), (0.5, 3), (0.1, 1)])
def test_every_chosen_image_is_seen_once_an_epoch(share: float, batches: int) -> None:
    recorder = Recorder()
    settings = replace(SETTINGS, augmentation=Augmentation(crop_padding=0, flip=False))
    run(recorder, epochs=2, share=share, settings=settings)
    assert len(recorder.seen) == 2 * batches
    epochs = []
    for seen in (recorder.seen[:batches], recorder.seen[batches:]):
        images = torch.cat(seen)
        hashes = [image.numpy().tobytes() for image in images]
        # The nine images of the smallest share are one batch that is not full.
        assert len(set(hashes)) == len(hashes) == (9 if share == 0.1 else 96 * share)
        epochs.append(hashes)
    assert set(epochs[0]) == set(epochs[1])
    assert epochs[0] != epochs[1]


def test_the_rest_of_an_epoch_is_left_out() -> None:
    assert [steps_per_epoch(n, 16) for n in (1, 15, 16, 31, 32)] == [1, 1, 1, 1, 2]
    recorder = Recorder()
    run(recorder, settings=replace(SETTINGS, batch_size=20))
    assert [len(images) for images in recorder.seen] == [20, 20, 20, 20]


def test_label_smoothing_is_part_of_the_training_loss_only() -> None:
    constant = Recorder()
    constant.bias.data = torch.tensor([2.0, 0.0, -1.0])
    settings = replace(SETTINGS, label_smoothing=0.3, learning_rate=1e-9)
    train_part = replace(DATA.train, labels=np.zeros(len(DATA.train), dtype=np.int64))
    result = run(constant, settings=settings, data=replace(DATA, train=train_part))
    logs = np.array([2.0, 0.0, -1.0]) - np.log(np.exp([2.0, 0.0, -1.0]).sum())
    # Every image gets the same logits, and the classes of the validation part are balanced.
    assert result.curve[0].loss == pytest.approx(-logs.mean(), abs=1e-5)
    targets = np.array([0.7 + 0.1, 0.1, 0.1])
    assert result.curve[0].train_loss == pytest.approx(-(targets @ logs), abs=1e-5)


def optimizer_of(net: nn.Module, name: Optimizer) -> torch.optim.Optimizer:
    return make_optimizer(net, name=name, learning_rate=1e-2, weight_decay=SETTINGS.weight_decay)


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_norms_biases_and_gamma_1_are_not_decayed(optimizer: Optimizer) -> None:
    net = network("attention", "mlp")
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    decayed: dict[str, float] = {}
    for group in optimizer_of(net, optimizer).param_groups:
        decayed |= {names[id(p)]: group["weight_decay"] for p in group["params"]}
    assert set(decayed) == set(names.values())
    for name, parameter in net.named_parameters():
        free = name.endswith(("bias", "gamma_1")) or "norm" in name or parameter.ndim == 1
        assert decayed[name] == (0.0 if free else SETTINGS.weight_decay), name


class Declaring(nn.Module):
    """Names a matrix that is not to be decayed."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2, 2))
        self.weight = nn.Parameter(torch.ones(2, 2))

    def no_weight_decay(self) -> set[str]:
        return {"scale"}


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_what_a_network_names_is_not_decayed(optimizer: Optimizer) -> None:
    net = Declaring()
    groups = optimizer_of(net, optimizer).param_groups
    found = {id(group["params"][0]): group["weight_decay"] for group in groups}
    assert found == {id(net.scale): 0.0, id(net.weight): SETTINGS.weight_decay}


def test_the_learning_rate_follows_the_steps_of_the_whole_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[int] = []

    def learning_rate(schedule: Schedule, step: int) -> float:
        assert schedule.steps == 18
        steps.append(step)
        return 1e-3

    monkeypatch.setattr(loop, "learning_rate", learning_rate)
    run(Recorder(), epochs=3)
    assert steps == list(range(18))


class Dropping(Recorder):
    """Draws from torch's global generator, as dropped paths do."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[float] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.draws.append(float(torch.rand(())))
        return super().forward(images)


def test_dropped_paths_are_others_in_every_step_epoch_and_seed() -> None:
    networks = [Dropping(), Dropping(), Dropping()]
    for net, seed in zip(networks, (1, 1, 2), strict=True):
        run(net, epochs=2, seed=seed)
    assert networks[0].draws == networks[1].draws
    assert len(set(networks[0].draws + networks[2].draws)) == 2 * 2 * 6


class Reads(TorchDispatchMode):
    """Counts how often the host reads a value of a tensor, whatever Python calls it."""

    # `item`, `float`, `int`, `bool` and conditions all come down to the first; the others, and an
    # index that is a mask, give tensors whose shape depends on values.
    names = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        masks = [
            index
            for index in (args[1] if func.name().startswith("aten::index.") else [])
            if index is not None and index.dtype == torch.bool
        ]
        self.count += bool(masks) or any(name in func.name() for name in self.names)
        return func(*args, **(kwargs or {}))


def test_reads_are_counted_whatever_they_are_called() -> None:
    value = torch.ones(2)
    for read in (lambda: value[0].item(), lambda: float(value[0]), lambda: bool(value[0] > 0)):
        with Reads() as reads:
            read()
        assert reads.count == 1
    with Reads() as reads:
        _ = value[value > 0]
    assert reads.count >= 1


def test_the_host_reads_as_many_values_however_many_steps_an_epoch_has() -> None:
    # On an accelerator each read would make the host wait until all that is queued is done.
    counts = []
    for batch_size in (48, 8):
        settings = replace(
            SETTINGS, batch_size=batch_size, augmentation=Augmentation(crop_padding=1, flip=True)
        )
        net = network("attention", "mlp", drop_path_rate=0.2)
        with Reads() as reads:
            run(net, epochs=2, settings=settings)
        counts.append(reads.count)
    assert counts[0] == counts[1] > 0


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Graphs that were compiled, by a backend that leaves them as they are."""
    graphs: list[str] = []

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., Any]:
        graphs.append(graph.code)
        return graph.forward

    compile_in_place = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda net: compile_in_place(net, backend=backend))
    return graphs


def test_a_compiled_training_is_the_same_under_the_same_names(compilations: list[str]) -> None:
    plain, compiled = (network("attention", "mlp") for _ in range(2))
    expected = run(plain)
    assert not compilations
    result = run(compiled, settings=replace(SETTINGS, compile=True))
    assert compilations
    assert timeless(result) == timeless(expected)
    assert state(compiled) == state(plain)


@slow
def test_every_candidate_of_a_process_is_compiled(
    compilations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without forgetting, dynamo leaves the ninth variant of one forward uncompiled, here the
    # third: each candidate has two, for training and for scoring.
    monkeypatch.setattr(torch._dynamo.config, "cache_size_limit", 2)
    settings = replace(SETTINGS, compile=True, batch_size=96)
    small = splits(train=96, validation=3)
    counts = []
    for _ in range(3):
        before = len(compilations)
        run(network("conv"), settings=settings, data=small)
        counts.append(len(compilations) - before)
    assert counts == [counts[0]] * 3
    assert counts[0] >= 2


class Diverging(Recorder):
    """Gives infinite logits from its given training batch on."""

    def __init__(self, *, after: int) -> None:
        super().__init__()
        self.after = after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images)
        return logits * (torch.inf if len(self.seen) > self.after else 1.0)


def test_a_loss_that_is_not_finite_ends_the_run_after_its_epoch() -> None:
    result = run(Diverging(after=8), epochs=4)
    assert result.diverged == "the loss is not finite after epoch 2"
    assert len(result.curve) == 1
    assert np.isfinite(result.curve[0].train_loss)


def test_a_network_whose_loss_is_not_finite_is_not_scored() -> None:
    scored: list[bool] = []

    class Noting(Diverging):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            scored.append(not self.training)
            return super().forward(images)

    run(Noting(after=0), epochs=2)
    assert scored == [False] * 6


def test_every_purpose_and_epoch_has_a_seed_of_its_own() -> None:
    seeds = {
        derive_seed(seed, epoch, purpose)
        for seed in (0, 1, 2**40)
        for epoch in range(20)
        for purpose in ("images", "paths")
    }
    assert len(seeds) == 3 * 20 * 2
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_images_are_counted_when_the_device_has_done_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(value: torch.Tensor) -> torch.Tensor:
        time.sleep(0.2)  # as long as a device still computes when all steps are queued
        return value

    monkeypatch.setattr(loop, "over_workers", late)
    part = Part(images=torch.zeros(4, 1, 12, 12), labels=torch.zeros(4, dtype=torch.long))
    training = loop.Training(
        learner=make_learner(network("conv"), optimizer=SETTINGS.optimizer_settings, runtime=CPU),
        batches=lambda epoch, first: loop.EpochBatches(
            batches=([part] for _ in range(2)), steps=2, first_step=0, images=4
        ),
        schedule=make_schedule(peak=1e-3, steps=2, warmup_share=0.0),
        score=None,
    )
    (report,) = training.epochs(Position(), stop=1)
    assert report.images_per_s <= 2 * 4 / 0.2
