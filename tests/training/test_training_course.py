"""A course: its pieces take the images and steps of the uninterrupted training, bit for bit."""

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from effort import slow
from spach_nas.config.evaluation import Fidelity
from spach_nas.config.training_settings import Augmentation, Optimizer
from spach_nas.data.held_out import nested_share
from spach_nas.networks import build
from spach_nas.space.architecture import Architecture
from spach_nas.training import (
    Origin,
    TrainingResult,
    TrainingState,
    global_seed,
    loop,
    move,
    pack,
    train,
    unpack,
)
from spach_nas.training.schedule import Schedule, leg_of, make_legs, total_steps
from training_tools import CPU, DATA, SETTINGS, Recorder, architecture, state, timeless

STILL = replace(SETTINGS, augmentation=Augmentation())


def rungs(*levels: tuple[int, float]) -> tuple[Fidelity, ...]:
    return tuple(
        Fidelity(epochs=epochs, image_size=(12, 12), data_share=share, rung=rung)
        for rung, (epochs, share) in enumerate(levels)
    )


# 24, 48 and 96 of 96 images: 1, 3 and 6 steps an epoch.
COURSE = rungs((1, 0.25), (2, 0.5), (4, 1.0))


def run(
    net: nn.Module,
    *,
    rung: int,
    start: TrainingState | None = None,
    seed: int = 5,
    optimizer: Optimizer = "adamw",
) -> TrainingResult:
    settings = STILL if isinstance(net, Recorder) else SETTINGS
    return train(
        net,
        DATA,
        settings=replace(settings, optimizer=optimizer),
        fidelity=COURSE[rung],
        seed=seed,
        runtime=CPU,
        course=COURSE,
        start=start,
    )


def with_batch_norm() -> Architecture:
    return replace(architecture("attention", "mlp"), stem="conv4", stem_width=5)


def fresh(of: Architecture) -> nn.Module:
    with global_seed(0, CPU):
        return move(build(of, drop_path_rate=0.3), CPU)


def origin(of: Architecture, optimizer: Optimizer = "adamw") -> Origin:
    settings = replace(SETTINGS, optimizer=optimizer)
    return Origin(
        architecture=of.arch_id, seed=5, course=COURSE, settings=settings, images=len(DATA.train)
    )


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
@pytest.mark.parametrize("stops", [(0, 1, 2), pytest.param((0, 2), marks=slow), (1, 2)])
def test_a_training_in_pieces_equals_the_uninterrupted_one(
    stops: Sequence[int], optimizer: Optimizer
) -> None:
    # Dropped paths, moved images, weights in channels-last layout, running means.
    of = with_batch_norm()
    whole, agreed = fresh(of), origin(of, optimizer)
    expected = run(whole, rung=2, optimizer=optimizer)
    assert len(expected.curve) == 4

    checkpoint, curve = None, []
    for rung in stops:
        # Another process: nothing but the bytes goes on.
        net, start = fresh(of), None
        if checkpoint is not None:
            start = unpack(checkpoint, network=net, origin=agreed, epochs=COURSE[rung].epochs)
        result = run(net, rung=rung, start=start, optimizer=optimizer)
        curve += timeless(result)
        checkpoint = pack(net, state=result.state, origin=agreed)
    assert state(net) == state(whole)
    assert curve == timeless(expected)
    assert checkpoint == pack(whole, state=expected.state, origin=agreed)
    assert result.scores == expected.scores


def batches(net: Recorder) -> list[bytes]:
    return [images.numpy().tobytes() for images in net.seen]


def test_pieces_see_the_batches_of_the_uninterrupted_training() -> None:
    whole = Recorder()
    run(whole, rung=2)
    pieces = []
    for rung, done in ((0, 0), (1, 1), (2, 2)):
        net = Recorder()
        run(net, rung=rung, start=TrainingState(epochs=done))
        pieces.append(batches(net))
    assert [len(piece) for piece in pieces] == [1, 3, 12]
    assert [batch for piece in pieces for batch in piece] == batches(whole)


def test_an_epoch_takes_each_image_of_its_share_at_most_once() -> None:
    net = Recorder()
    run(net, rung=2)
    seen = [len(images) for images in net.seen]
    assert seen == [16] * 16
    pixels = (DATA.train.images / 255 - DATA.normalisation.mean) / DATA.normalisation.std
    known = pixels.transpose(0, 3, 1, 2).reshape(96, -1)
    first = 0
    for steps, share in ((1, 0.25), (3, 0.5), (6, 1.0), (6, 1.0)):
        images = torch.cat(net.seen[first : first + steps]).reshape(16 * steps, -1).double().numpy()
        distances = np.abs(images[:, None] - known[None]).max(2)
        assert (distances.min(1) < 1e-4).all()
        indices = distances.argmin(1)
        assert len(set(indices)) == 16 * steps
        assert set(indices) <= set(nested_share(DATA.train.labels, share))
        first += steps


def test_the_learning_rate_spans_the_whole_course_in_each_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[int] = []

    def learning_rate(schedule: Schedule, step: int) -> float:
        assert schedule.steps == 1 + 3 + 2 * 6
        steps.append(step)
        return 1e-3

    monkeypatch.setattr(loop, "learning_rate", learning_rate)
    for rung, done in ((0, 0), (1, 1), (2, 2)):
        run(Recorder(), rung=rung, start=TrainingState(epochs=done))
    assert steps == list(range(16))


def test_an_epoch_belongs_to_the_first_rung_behind_it() -> None:
    labels = np.arange(96) % 3
    # The third adds no epoch to the second.
    course = rungs((2, 0.5), (5, 0.25), (5, 0.75), (9, 1.0))
    legs = make_legs(course, labels, batch_size=20)
    assert [len(leg_of(legs, epoch).chosen) for epoch in range(9)] == [48] * 2 + [24] * 3 + [96] * 4
    assert [leg.steps for leg in legs] == [2, 1, 4]
    assert [leg.first_step for leg in legs] == [0, 4, 7]
    assert total_steps(legs) == 4 + 3 + 16


def test_without_an_epoch_to_go_the_network_is_scored_and_left_alone() -> None:
    net = fresh(architecture("conv"))
    trained = run(net, rung=1)
    before = state(net)
    again = run(net, rung=1, start=trained.state)
    assert again.curve == ()
    assert again.scores == trained.scores
    assert state(net) == before
    assert again.state.epochs == 2
    assert set(again.state.optimizer) == set(trained.state.optimizer)
