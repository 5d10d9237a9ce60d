"""What tests of proxy trainings share: three classes that are easy to tell, and tiny networks."""

import numpy as np
import torch
from torch import nn

from spach_nas.config.training_settings import Augmentation, TrainingSettings
from spach_nas.data import DataSplits, ImageSet
from spach_nas.data.images import measure_normalisation
from spach_nas.networks import build
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.training import TrainingResult, choose_runtime, global_seed, move

CPU = choose_runtime(device="cpu")
SETTINGS = TrainingSettings(
    batch_size=16, learning_rate=1e-2, augmentation=Augmentation(crop_padding=1), device="cpu"
)


def splits(train: int = 96, validation: int = 48) -> DataSplits:
    """Bright images in one of three thirds of their rows, which is their class, in noise."""
    rng = np.random.default_rng(0)

    def image_set(count: int) -> ImageSet:
        labels = np.arange(count) % 3
        images = rng.integers(0, 60, (count, 12, 12, 1), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4 * label : 4 * label + 4] += 120
        return ImageSet(images=images, labels=labels, class_names=("a", "b", "c"))

    data = image_set(train)
    return DataSplits(
        train=data,
        validation=image_set(validation),
        normalisation=measure_normalisation(data.images),
    )


DATA = splits()


def architecture(*mixers: str) -> Architecture:
    stages = tuple(
        Stage(mixers=(mixer, "conv"), width=8 * (i + 1), heads=2, expansion_ratio=2)
        for i, mixer in enumerate(mixers)
    )
    return Architecture(
        stem="conv1",
        patch_size=2,
        stages=stages,
        image_size=(12, 12),
        in_channels=1,
        num_classes=3,
    )


def network(*mixers: str, drop_path_rate: float = 0.0) -> nn.Module:
    with global_seed(0, CPU):
        return move(build(architecture(*mixers), drop_path_rate=drop_path_rate), CPU)


def state(net: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()}


def timeless(result: TrainingResult) -> list[tuple[float, ...]]:
    return [(epoch.train_loss, epoch.loss, epoch.accuracy) for epoch in result.curve]


class Recorder(nn.Module):
    """Remembers what it is given; its one weight is a bias of the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(3))
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(images.clone())
        return self.bias.expand(len(images), 3)
