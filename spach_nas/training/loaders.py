"""Batches of a training: from files through timm's loader, or from images in memory.

The random changes of an image depend on the seed, the epoch and its position in the epoch's order,
not on the process that reads it. So a training that continues in the middle of an epoch, or with
another number of loader processes or workers, sees the same pixels.

Sources of the changes of whole batches: random erasing, Zhong et al. 2017, arXiv:1708.04896; Mixup,
Zhang et al. 2017, arXiv:1710.09412; CutMix, Yun et al. 2019, arXiv:1905.04899; all timm's.

Letters: B images of a part, C channels, H and W height and width, K classes.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from PIL import Image
from timm.data import auto_augment, create_loader
from timm.data.distributed_sampler import RepeatAugSampler
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler, Sampler

from spach_nas.config.recipe import FullAugmentation, Recipe
from spach_nas.config.training_settings import Augmentation
from spach_nas.data.images import Normalisation
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.data.split_reader import Pictures
from spach_nas.errors import ConfigError
from spach_nas.training.batches import LoadedSet, Moves, batch, draw_moves, in_order, load
from spach_nas.training.device import Runtime
from spach_nas.training.learner import Part, Place
from spach_nas.training.loop import EpochBatches
from spach_nas.training.seeds import derive_seed, seed_everything

Batch = tuple[Tensor, Tensor]


class RecipeBatches:
    """One worker's share of all batches of a training, as its recipe says.

    Attributes:
        steps: Steps of an epoch.
    """

    def __init__(
        self,
        pictures: Pictures,
        recipe: Recipe,
        *,
        image_size: tuple[int, int],
        normalisation: Normalisation,
        place: Place,
        runtime: Runtime,
        processes: int,
    ) -> None:
        """Set up what reads the images.

        Args:
            pictures: What is trained on.
            recipe: Size of a batch, changes of the images, seed.
            image_size: Height and width of the network's input.
            normalisation: Mean and deviation of the pixels.
            place: Which worker this is.
            runtime: Where batches are needed.
            processes: Processes that read images.

        Raises:
            ConfigError: There are fewer images than a batch has.
            DataError: An image cannot be read, or the memory is too small.
        """
        order = _Order(pictures, recipe, place=place)
        self.steps = order.steps
        self._recipe, self._device, self._rank = recipe, runtime.device, place.rank
        self._mix = Mixer(recipe.augmentation, classes=len(pictures.class_names), runtime=runtime)
        self._read: Callable[[int, int], Iterator[Batch]] = (
            _FromMemory(
                load(pictures.in_memory(image_size), normalisation, runtime=runtime),
                recipe,
                order=order,
            )
            if recipe.augmentation.crop == "shifted"
            else _FromFiles(
                pictures,
                recipe,
                order=order,
                image_size=image_size,
                normalisation=normalisation,
                device=runtime.device,
                processes=processes,
            )
        )

    def __call__(self, epoch: int, first_step: int) -> EpochBatches:
        """The batches of an epoch, from a step on."""
        return EpochBatches(
            batches=self._batches(epoch, first_step),
            steps=self.steps,
            first_step=epoch * self.steps,
            images=self._recipe.batch_size,
        )

    def _batches(self, epoch: int, first_step: int) -> Generator[Iterable[Part], None, None]:
        parts = self._read(epoch, first_step)
        for step in range(first_step, self.steps):
            yield self._parts(islice(parts, self._recipe.accumulation), epoch=epoch, step=step)

    def _parts(self, parts: Iterator[Batch], *, epoch: int, step: int) -> Iterator[Part]:
        recipe = self._recipe
        for index, (images, labels) in enumerate(parts):
            # For Mixup, CutMix, erasing, and the paths that the network drops.
            purpose = f"step {step} part {index} worker {self._rank}"
            seed_everything(derive_seed(recipe.seed, epoch, purpose), self._device)
            images, labels = self._mix(images, labels)
            yield Part(
                images=images,
                labels=labels,
                share=1 / recipe.accumulation,
                last=index + 1 == recipe.accumulation,
            )


class _Order:
    """The order of an epoch's images: timm's repeated augmentation, or torch's shuffle."""

    def __init__(self, pictures: Pictures, recipe: Recipe, *, place: Place) -> None:
        self._seed, self._place = recipe.seed, place
        images: Any = pictures  # samplers only need its length
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

    def __call__(self, epoch: int, first_step: int) -> Iterator[tuple[int, int]]:
        """Index of each image, and its position in the order of all workers together."""
        self._sampler.set_epoch(derive_seed(self._seed, epoch, "order") % 2**31)
        for number, index in enumerate(self._sampler):
            if first_step * self._step <= number < self.steps * self._step:
                yield int(index), number * self._place.world + self._place.rank


class _FromMemory:
    # Parts of batches of images in memory, which are shifted and mirrored.

    def __init__(self, data: LoadedSet, recipe: Recipe, *, order: _Order) -> None:
        self._data, self._recipe, self._order = data, recipe, order

    def __call__(self, epoch: int, first_step: int) -> Iterator[Batch]:
        order = list(self._order(epoch, first_step))
        if not order:
            return
        indices, positions = torch.tensor(order).T
        moves = self._moves(epoch).of(positions).on(self._data.device)
        indices = indices.to(self._data.images.device)
        for first in range(0, len(indices), self._order.part):
            part = slice(first, first + self._order.part)
            yield batch(self._data, indices[part], moves.of(part))

    def _moves(self, epoch: int) -> Moves:
        # Drawn for the images of all workers, so that they do not depend on how many there are.
        recipe = self._recipe
        count = self._order.steps * recipe.batch_size
        generator = torch.Generator().manual_seed(derive_seed(recipe.seed, epoch, "moves"))
        shift = Augmentation(crop_padding=recipe.augmentation.shift)
        moves = draw_moves(count, shift, generator=generator)
        flip = torch.rand(count, generator=generator) < recipe.augmentation.flip
        return replace(moves, flip=flip, any=moves.any or recipe.augmentation.flip > 0)


class _FromFiles:
    # Parts of batches of images from files, by timm's loader.

    def __init__(
        self,
        pictures: Pictures,
        recipe: Recipe,
        *,
        order: _Order,
        image_size: tuple[int, int],
        normalisation: Normalisation,
        device: torch.device,
        processes: int,
    ) -> None:
        changes = recipe.augmentation
        self._loader = create_loader(
            _Images(pictures),
            input_size=(len(normalisation.mean), *image_size),
            batch_size=order.part,
            is_training=True,
            scale=changes.crop_scale,
            hflip=changes.flip,
            color_jitter=changes.color_jitter,
            auto_augment=changes.rand_augment,
            interpolation=changes.interpolation,
            mean=normalisation.mean,
            std=normalisation.std,
            num_workers=processes,
            device=device,
            pin_memory=device.type == "cuda",
        )
        mend_posterize(self._loader.dataset.transform)
        self._sampler = _SeededOrder(order, recipe.seed)
        # create_loader offers no argument for a sampler.
        self._loader.loader.batch_sampler.sampler = self._sampler

    def __call__(self, epoch: int, first_step: int) -> Iterator[Batch]:
        self._sampler.epoch, self._sampler.first_step = epoch, first_step
        for images, labels in self._loader:
            yield images.contiguous(memory_format=torch.channels_last), labels


class _Images(Dataset[Any]):
    """Images for timm's loader, which sets `transform`; an index may come with a seed."""

    transform: Any = None

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, item: int | tuple[int, int]) -> tuple[Any, int]:
        index, seed = item if isinstance(item, tuple) else (item, None)
        if seed is not None:
            seed_everything(seed)
        return self.transform(self._pictures.image(index)), int(self._pictures.labels[index])


class _SeededOrder(Sampler[Any]):
    def __init__(self, order: _Order, seed: int) -> None:
        self._order, self._seed = order, seed
        self.epoch = self.first_step = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        seed = derive_seed(self._seed, self.epoch, "images")
        for index, position in self._order(self.epoch, self.first_step):
            # Far apart for neighbours, and cheaper than a derived seed for each image.
            yield index, (seed + position * 0x9E3779B97F4A7C15) % 2**63

    def __len__(self) -> int:
        return self._order.steps * self._order.part


def scoring_batches(
    pictures: Pictures,
    *,
    preprocessing: Preprocessing,
    image_size: tuple[int, int],
    runtime: Runtime,
    batch_size: int,
    processes: int,
) -> Callable[[], Iterator[Batch]]:
    """A function that iterates over all images once, in their order.

    Args:
        pictures: Images with as many channels as the preprocessing.
        preprocessing: What is done to each image.
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
        return partial(in_order, loaded, batch_size)
    loader = create_loader(
        _Images(pictures),
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


class Mixer:
    """Changes batches in place, with the global random numbers of Python, numpy and torch."""

    def __init__(self, changes: FullAugmentation, *, classes: int, runtime: Runtime) -> None:
        """Set up the changes that the recipe turns on.

        Args:
            changes: The changes and their strength.
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
    """Let `posterize` keep 0 bits, which gives black; Pillow raises from version 12 on.

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
