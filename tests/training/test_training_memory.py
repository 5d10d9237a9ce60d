"""Batches in parts: the step of the whole batch, with less in memory."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from network_tools import randomise
from spach_nas.config.evaluation import Fidelity
from spach_nas.config.training_settings import Augmentation
from spach_nas.space.mixers import mixer_names
from spach_nas.training import TrainingResult, train
from spach_nas.training.learner import Learner, parts_of
from training_tools import CPU, DATA, SETTINGS, Recorder, network

ONE = Fidelity(epochs=1, image_size=(12, 12), data_share=1.0)
STILL = replace(SETTINGS, augmentation=Augmentation())


@pytest.mark.parametrize("mixer", mixer_names())
@pytest.mark.parametrize("micro_batch", [None, 1, 5, 8, 16, 99])
def test_the_gradients_of_the_parts_add_up_to_those_of_the_batch(
    mixer: str, micro_batch: int | None
) -> None:
    net = network(mixer)
    randomise(net)
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(16, 1, 12, 12, generator=generator)
    labels = torch.randint(0, 3, (16,), generator=generator)
    exact = copy.deepcopy(net).double()
    loss = F.cross_entropy(exact(images.double()), labels, label_smoothing=0.2)
    loss.backward()

    learner = Learner(
        network=net,
        model=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        runtime=CPU,
        label_smoothing=0.2,
    )
    total = learner.add_gradients(parts_of(images, labels, micro_batch))
    assert float(total) == pytest.approx(loss.item(), rel=1e-5)
    for (name, parameter), expected in zip(net.named_parameters(), exact.parameters(), strict=True):
        assert parameter.grad is not None and expected.grad is not None
        error = (parameter.grad - expected.grad).abs().max() / expected.grad.abs().max()
        assert error < 2e-4, name


class Sizes(Recorder):
    """Remembers the sizes of its batches in prediction, too."""

    def __init__(self) -> None:
        super().__init__()
        self.predicted: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not self.training:
            self.predicted.append(len(images))
        return super().forward(images)


def run(net: Recorder, micro_batch: int | None, *, batch_size: int = 16) -> TrainingResult:
    return train(
        net,
        DATA,
        settings=replace(STILL, batch_size=batch_size),
        fidelity=ONE,
        seed=0,
        runtime=CPU,
        micro_batch=micro_batch,
    )


def test_parts_hold_the_images_of_their_batches_in_as_many_steps() -> None:
    plain, parted = Sizes(), Sizes()
    expected, result = run(plain, None), run(parted, 5)
    assert [len(images) for images in plain.seen] == [16] * 6
    assert [len(images) for images in parted.seen] == [5, 5, 5, 1] * 6
    assert torch.equal(torch.cat(plain.seen), torch.cat(parted.seen))
    assert plain.predicted == [48]
    assert parted.predicted == [5] * 9 + [3]
    for each in (expected, result):
        assert each.state.optimizer["step.bias"] == 6
    assert result.curve[0].train_loss == pytest.approx(expected.curve[0].train_loss, rel=1e-5)
    assert result.scores == pytest.approx(expected.scores, rel=1e-4)


def test_a_part_as_large_as_the_batch_is_the_batch() -> None:
    plain, parted = Sizes(), Sizes()
    assert run(plain, None).scores == run(parted, 16).scores
    assert [len(images) for images in parted.seen] == [16] * 6
