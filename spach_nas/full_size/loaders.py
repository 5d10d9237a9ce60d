"""Batches of a training: from files through timm's loader, or from images in memory.

What an image goes through depends on the seed, the epoch and its position in the epoch's order, not
on which process reads it or when. So a training that goes on in the middle of an epoch, or with
another number of loader processes, sees the same pixels; with another number of workers, too.

Sources of what changes whole batches: random erasing, Zhong et al. 2017, arXiv:1708.04896; Mixup,
Zhang et al. 2017, arXiv:1710.09412; CutMix, Yun et al. 2019, arXiv:1905.04899; all timm's.

Letters: B images of a part, C channels, H and W height and width, K classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch
from PIL import Image
from timm.data import auto_augment, create_loader
from timm.data.distributed_sampler import RepeatAugSampler
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler, Sampler

from spach_nas.config.recipe import FullAugmentation
from spach_nas.config.training_settings import Augmentation
from spach_nas.data.images import ImageSet
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.data.split_reader import Pictures
from spach_nas.errors import ConfigError
from spach_nas.full_size.job import Job, Place
from spach_nas.training.batches import LoadedSet, Moves, batch, draw_moves, load
from spach_nas.training.device import Runtime
from spach_nas.training.seeds import derive_seed, seed_everything

Batch = tuple[Tensor, Tensor]


class Batches(Protocol):
    """Parts of the batches of a training, normalised and on the device.

    Attributes:
        steps: Of an epoch.
    """

    steps: int

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[Batch]:
        """Images (B, C, H, W) and labels (B,): `accumulation` parts a step, from a step on."""


def training_batches(
    job: Job, pictures: Pictures, *, place: Place, runtime: Runtime, processes: int
) -> Batches:
    """This worker's share of all batches.

    Args:
        job: The training.
        pictures: What is trained on.
        place: Which worker this is.
        runtime: Where batches are needed.
        processes: That read images.

    Raises:
        ConfigError: There are fewer images than a batch has.
        DataError: An image cannot be read, or the memory is too small.
    """
    if job.shifted:
        images = pictures.in_memory(job.architecture.image_size)
        return _FromMemory(job, images, place=place, runtime=runtime)
    return _FromFiles(job, pictures, place=place, runtime=runtime, processes=processes)


class _Order:
    """How an epoch's images are dealt out: timm's repeats, or torch's shuffle."""

    def __init__(self, job: Job, images: Any, place: Place) -> None:
        recipe = job.recipe
        self._seed, self._place = recipe.seed, place
        repeats = recipe.augmentation.repeats
        self._sampler: Any = (
            RepeatAugSampler(images, num_replicas=place.world, rank=place.rank, num_repeats=repeats)
            if repeats > 1
            else DistributedSampler(images, num_replicas=place.world, rank=place.rank)
        )
        self.part = recipe.batch_size // (place.world * recipe.accumulation)
        self._step = self.part * recipe.accumulation
        self.steps = len(self._sampler) // self._step
        if not self.steps:
            raise ConfigError(
                f"batch_size: {recipe.batch_size}; expected at most the {len(images):,} training "
                "images"
            )

    def of(self, epoch: int, *, first_step: int) -> Iterator[tuple[int, int]]:
        """Index of each image, and its position in the order of all workers together."""
        seed = derive_seed(self._seed, epoch, "order") % 2**31
        self._sampler.set_epoch(seed)
        for number, index in enumerate(self._sampler):
            if first_step * self._step <= number < self.steps * self._step:
                yield int(index), number * self._place.world + self._place.rank


class _FromMemory:
    def __init__(self, job: Job, images: ImageSet, *, place: Place, runtime: Runtime) -> None:
        self._order = _Order(job, images, place)
        self.steps = self._order.steps
        self._data = load(images, job.normalisation, runtime=runtime)
        self._changes, self._seed = job.recipe.augmentation, job.recipe.seed
        self._drawn = self.steps * job.recipe.batch_size

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[Batch]:
        order = list(self._order.of(epoch, first_step=first_step))
        if not order:
            return
        indices, positions = torch.tensor(order).T
        moves = self._moves(epoch).of(positions).on(self._data.device)
        indices = indices.to(self._data.images.device)
        for first in range(0, len(indices), self._order.part):
            part = slice(first, first + self._order.part)
            yield batch(self._data, indices[part], moves.of(part))

    def _moves(self, epoch: int) -> Moves:
        # Of all workers' images, so that theirs do not depend on how many they are.
        generator = torch.Generator().manual_seed(derive_seed(self._seed, epoch, "moves"))
        shift = Augmentation(crop_padding=self._changes.shift)
        moves = draw_moves(self._drawn, shift, generator=generator)
        flip = torch.rand(self._drawn, generator=generator) < self._changes.flip
        return replace(moves, flip=flip)


class _Seeded(Dataset[Any]):
    """Images to timm's loader, which gives it its `transform`; indices come with their seed."""

    transform: Any = None

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Any, int]:
        index, seed = item
        seed_everything(seed)
        image = self.transform(self._pictures.image(index))
        return image, int(self._pictures.labels[index])


class _SeededOrder(Sampler[Any]):
    def __init__(self, order: _Order, seed: int) -> None:
        self._order, self._seed = order, seed
        self.epoch = self.first_step = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        seed = derive_seed(self._seed, self.epoch, "images")
        for index, position in self._order.of(self.epoch, first_step=self.first_step):
            # Far apart for neighbours, and cheaper than a derived seed for each image.
            yield index, (seed + position * 0x9E3779B97F4A7C15) % 2**63

    def __len__(self) -> int:
        return self._order.steps * self._order.part


class _FromFiles:
    def __init__(
        self, job: Job, pictures: Pictures, *, place: Place, runtime: Runtime, processes: int
    ) -> None:
        order = _Order(job, pictures, place)
        self.steps = order.steps
        changes = job.recipe.augmentation
        self._loader = create_loader(
            _Seeded(pictures),
            input_size=(len(job.normalisation.mean), *job.architecture.image_size),
            batch_size=order.part,
            is_training=True,
            scale=changes.crop_scale,
            hflip=changes.flip,
            color_jitter=changes.color_jitter,
            auto_augment=changes.rand_augment,
            interpolation=changes.interpolation,
            mean=job.normalisation.mean,
            std=job.normalisation.std,
            num_workers=processes,
            device=runtime.device,
            pin_memory=runtime.device.type == "cuda",
        )
        mend_posterize(self._loader.dataset.transform)
        self._sampler = _SeededOrder(order, job.recipe.seed)
        # create_loader makes its samplers itself; what it made is a plain field of its batches.
        self._loader.loader.batch_sampler.sampler = self._sampler

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[Batch]:
        self._sampler.epoch, self._sampler.first_step = epoch, first_step
        for images, labels in self._loader:
            yield images.contiguous(memory_format=torch.channels_last), labels


class _Plain(Dataset[Any]):
    """Images to timm's loader for scoring."""

    transform: Any = None

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(self._pictures.image(index)), int(self._pictures.labels[index])


def scoring_batches(
    pictures: Pictures,
    *,
    preprocessing: Preprocessing,
    image_size: tuple[int, int],
    runtime: Runtime,
    batch_size: int,
    processes: int,
) -> Callable[[], Iterator[Batch]]:
    """A function that goes through all images once, in their order.

    Args:
        pictures: With the channels of the preprocessing.
        preprocessing: What images go through.
        image_size: Height and width of the network's input.
        runtime: Where batches are needed.
        batch_size: Images at once.
        processes: That read images.

    Raises:
        DataError: The memory is too small; later, an image cannot be read.
    """
    if preprocessing.crop_share is None:
        images = pictures.in_memory(image_size)
        loaded = load(images, preprocessing.normalisation, runtime=runtime)
        return partial(_parts, loaded, batch_size)
    loader = create_loader(
        _Plain(pictures),
        input_size=(len(preprocessing.mean), *image_size),
        batch_size=batch_size,
        interpolation="bicubic",
        crop_pct=preprocessing.crop_share,
        mean=preprocessing.mean,
        std=preprocessing.std,
        num_workers=processes,
        device=runtime.device,
        persistent_workers=False,
    )
    return partial(iter, loader)


def _parts(data: LoadedSet, size: int) -> Iterator[Batch]:
    for first in range(0, len(data.labels), size):
        yield batch(data, torch.arange(first, min(first + size, len(data.labels))))


class Mixer:
    """Changes batches in place, by Python's, numpy's and torch's random numbers."""

    def __init__(self, changes: FullAugmentation, *, classes: int, runtime: Runtime) -> None:
        """A mixer.

        Args:
            changes: Which, and how strong.
            classes: K.
            runtime: Where the batches are.
        """
        self._erase = (
            RandomErasing(probability=changes.erasing, mode="pixel", device=runtime.device)
            if changes.erasing
            else None
        )
        self._mix = (
            Mixup(
                mixup_alpha=changes.mixup,
                cutmix_alpha=changes.cutmix,
                prob=changes.mix,
                label_smoothing=changes.label_smoothing,
                num_classes=classes,
            )
            if changes.mixes
            else None
        )

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W), and labels (B,), or (B, K) where they are mixed."""
        if self._erase is not None:
            images = self._erase(images)
        if self._mix is not None:
            images, labels = self._mix(images, labels)
        return images, labels


def mend_posterize(transform: Any) -> None:
    """Let `posterize` keep 0 bits, which is black, where Pillow 12 and later raise.

    `rand-m9-mstd0.5-inc1` asks for it whenever it draws a magnitude of 10: one image in 700, so
    that a training by the paper's recipe would end within its first steps.
    """
    for operation in _operations(transform):
        if operation.aug_fn is auto_augment.posterize:
            operation.aug_fn = _posterize


def _posterize(image: Image.Image, bits: int, **options: Any) -> Image.Image:
    if bits < 1:
        return Image.new(image.mode, image.size)
    posterized: Image.Image = auto_augment.posterize(image, bits, **options)
    return posterized


def _operations(part: Any) -> Iterator[Any]:
    if hasattr(part, "aug_fn"):
        yield part
    for inner in (*_listed(part, "transforms"), *_listed(part, "ops"), *_listed(part, "policy")):
        yield from _operations(inner)
    if isinstance(part, list | tuple):
        for inner in part:
            yield from _operations(inner)


def _listed(part: Any, name: str) -> list[Any]:
    found = getattr(part, name, None)
    return list(found) if isinstance(found, list | tuple) else []
