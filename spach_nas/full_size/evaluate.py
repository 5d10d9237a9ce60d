"""Accuracy of a trained network on a split, class by class, and its speed on this device."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spach_nas.config.recipe import DataOptions, load_recipe
from spach_nas.config.training_settings import Device, Precision
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.data.reader import EvaluationSplit, check_split, default_split
from spach_nas.data.split_reader import Pictures, labelled_as
from spach_nas.errors import BundleError
from spach_nas.export import choose, load_weights
from spach_nas.export.bundle import is_timm_bundle
from spach_nas.export.timm_bundle import read_timm_bundle, timm_normalisation
from spach_nas.full_size.training_plan import data_choice
from spach_nas.latency.timing import SECONDS, conditions, time_calls
from spach_nas.networks import build
from spach_nas.networks.timm_networks import (
    named_timm,
    pretrained_timm,
    timm_config,
)
from spach_nas.space.architecture import Architecture
from spach_nas.space.timm_reference import TimmModel, is_timm
from spach_nas.training import Runtime, choose_runtime, move
from spach_nas.training.device import autocast
from spach_nas.training.loaders import scoring_batches
from spach_nas.training.scoring import Scores, score_batches

_BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassScore:
    """Scores of one class.

    Attributes:
        name: Name of the class.
        images: Number of its images.
        top1: Share of them for which it has the highest logit, in [0, 1]; None without images.
        top5: Share of them for which it is among the five highest; None without images.
    """

    name: str
    images: int
    top1: float | None
    top5: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Speed of the network alone, without reading images.

    Attributes:
        batch_size: Images per batch.
        latency_ms: Median time of a batch, lower is better.
        images_per_s: Images per second at that time, higher is better.
    """

    batch_size: int
    latency_ms: float
    images_per_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationResult:
    """Scores and speed of a network.

    Attributes:
        source: The bundle or study that was evaluated.
        data: The data set.
        split: The split that was scored.
        images: Number of its images.
        top1: Share of images whose class has the highest logit, in [0, 1], higher is better.
        top5: Share of images whose class is among the five highest, higher is better.
        loss: Mean cross-entropy, lower is better.
        classes: Scores of each class of the network.
        device: Device on which it ran.
        precision: `fp32` or `bf16`.
        threads: Threads of the host.
        speeds: Speed for each batch size.
        notes: Remarks on the data for the user.
    """

    source: str
    data: str
    split: str
    images: int
    top1: float
    top5: float
    loss: float
    classes: tuple[ClassScore, ...]
    device: str
    precision: str
    threads: int
    speeds: tuple[Speed, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def evaluate(
    source: str,
    *,
    data: str,
    split: EvaluationSplit | None = None,
    batch_sizes: Sequence[int] = (1, 32),
    options: DataOptions | None = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> EvaluationResult:
    """Evaluate a trained network.

    Args:
        source: A bundle, a study, whose best proxy is taken, or a model of timm as `timm/NAME`,
            with its published weights.
        data: A folder with test/ or val/, or the name of a data set.
        split: Split to score; None: test if there is one, otherwise validation.
        batch_sizes: Batch sizes at which the speed is measured.
        options: How the images are read; None: by the options of the recipe `short`.
        device: Where to run.
        precision: Number format.

    Raises:
        BundleError: There is no such bundle, or it has no weights.
        DataError: The images are missing or broken, or of other classes.
        ConfigError: This machine has no such device.
    """
    runtime = choose_runtime(device=device, precision=precision)
    network, model, preprocessing = _load(source)
    move(network, runtime)
    options = options or load_recipe("short").data
    choice = data_choice(data, options, channels=model.in_channels)
    choice = replace(choice, held_out=preprocessing.held_out)
    split = split or default_split(choice)
    pictures, notes = check_split(choice, split)
    pictures = labelled_as(pictures, preprocessing.class_names, source=source)
    scores = _scores(network, pictures, preprocessing, image_size=model.image_size, runtime=runtime)
    return EvaluationResult(
        source=source,
        data=data,
        split=split,
        images=len(pictures),
        top1=scores.top1,
        top5=scores.top5,
        loss=scores.loss,
        classes=_by_class(preprocessing.class_names, scores),
        device=str(runtime.device),
        precision="bf16" if runtime.bf16 else "fp32",
        threads=torch.get_num_threads(),
        speeds=tuple(_speed(network, model, batch, runtime=runtime) for batch in batch_sizes),
        notes=notes,
    )


def _load(source: str) -> tuple[nn.Module, Architecture | TimmModel, Preprocessing]:
    if is_timm(source):
        model = named_timm(source)
        return pretrained_timm(model), model, _published_preprocessing(model)
    if is_timm_bundle(source):
        return read_timm_bundle(Path(source))
    choice = choose(source)
    if choice.weights is None or choice.preprocessing is None:
        raise BundleError(f"{source}: has no trained weights; expected a bundle with them")
    network = build(choice.architecture)
    load_weights(network, choice.weights, where=source)
    return network, choice.architecture, choice.preprocessing


def _published_preprocessing(model: TimmModel) -> Preprocessing:
    """Of timm's weights, whose classes are ImageNet's, named as the folders of its images are."""
    from timm.data import ImageNetInfo

    config = timm_config(model)
    names = tuple(ImageNetInfo().label_names())
    if model.num_classes != len(names):
        raise BundleError(
            f"{model.label}: its weights know {model.num_classes:,} classes; expected weights of "
            "ImageNet-1k, named by a tag"
        )
    normalisation = timm_normalisation(config, channels=model.in_channels)
    return Preprocessing(
        mean=normalisation.mean,
        std=normalisation.std,
        class_names=names,
        crop_share=config["crop_pct"],
    )


def _scores(
    network: nn.Module,
    pictures: Pictures,
    preprocessing: Preprocessing,
    *,
    image_size: tuple[int, int],
    runtime: Runtime,
) -> Scores:
    batches = scoring_batches(
        pictures,
        preprocessing=preprocessing,
        image_size=image_size,
        runtime=runtime,
        batch_size=_BATCH_SIZE,
        processes=0,
    )
    classes = len(preprocessing.class_names)
    return score_batches(network, batches, classes=classes, runtime=runtime)


def _by_class(names: Sequence[str], scores: Scores) -> tuple[ClassScore, ...]:
    return tuple(
        ClassScore(
            name=name,
            images=images,
            top1=hits1 / images if images else None,
            top5=hits5 / images if images else None,
        )
        for name, images, hits1, hits5 in zip(
            names, scores.images, scores.hits1, scores.hits5, strict=True
        )
    )


def _speed(
    network: nn.Module, model: Architecture | TimmModel, batch: int, *, runtime: Runtime
) -> Speed:
    """Measured by the timer of `latency`, with all threads of torch."""
    shape = (batch, model.in_channels, *model.image_size)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    images = images.to(runtime.device).contiguous(memory_format=torch.channels_last)
    network.eval()
    where = conditions(
        device=runtime.device.type,  # type: ignore[arg-type]
        batch_size=batch,
        threads=torch.get_num_threads(),
        precision="bf16" if runtime.bf16 else "fp32",
    )
    with torch.inference_mode(), autocast(runtime):
        seconds = time_calls(lambda: network(images), where, seconds=SECONDS).median / 1e9
    return Speed(batch_size=batch, latency_ms=1e3 * seconds, images_per_s=batch / seconds)
