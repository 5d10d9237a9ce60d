"""What tests of full-size trainings share: a tiny network, a folder of images, a quick recipe."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from spach_nas.full_size.run_folder import EpochLine, read_curve
from spach_nas.full_size.training_plan import TrainingPlan, TrainingRequest, plan_training
from spach_nas.space.architecture import Architecture, Stage

CLASSES = ("ant", "bee", "cat")
# Everything that is random is on.
STREAMED = (
    "epochs=3",
    "batch_size=8",
    "schedule.warmup_epochs=1",
    "optimizer.learning_rate_batch=null",
    "optimizer.learning_rate=0.01",
    "augmentation.repeats=2",
    "drop_path=0.3",
    "ema.decay=0.9",
    "evaluation.batch_size=5",
    "data.loader_processes=0",
    "resources.address=here",
    "resources.cpus_per_worker=1",
)
HELD = (
    "epochs=3",
    "batch_size=8",
    "augmentation.mixup=0.8",
    "augmentation.erasing=0.5",
    "image_size=16",
    "resources.cpus_per_worker=1",
)


def tiny(*, mixer: str = "attention", channels: int = 3, size: int = 16) -> Architecture:
    """A network of two stages for three classes, whose cost is nothing."""
    return Architecture(
        stem="conv1",
        patch_size=4,
        stages=(
            Stage(mixers=("conv",), width=8, heads=2, expansion_ratio=2),
            Stage(mixers=("conv", mixer), width=16, heads=2, expansion_ratio=2),
        ),
        image_size=(size, size),
        in_channels=channels,
        num_classes=len(CLASSES),
    )


def write_architecture(folder: Path, architecture: Architecture | None = None) -> Path:
    path = folder / "tiny.yaml"
    path.write_text((architecture or tiny()).to_yaml(), encoding="utf-8")
    return path


def write_images(
    root: Path, *, splits: Sequence[str] = ("train", "val"), counts: Sequence[int] = (9, 4)
) -> Path:
    """Oblong images of noise around a colour of their class, of several sizes and formats."""
    generator = np.random.default_rng(5)
    for split, count in zip(splits, counts, strict=True):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                shape = (20 + number, 26, 3)
                noise = generator.integers(0, 120, shape)
                noise[..., label] += 100
                suffix = "jpg" if number % 2 else "png"
                picture = Image.fromarray(noise.astype(np.uint8))
                picture.save(folder / f"{number}.{suffix}")
    return root


def plan_in(
    folder: Path,
    *changes: str,
    data: str | Path | None = None,
    recipe: str = "spach",
    resume: bool = False,
    init: str | None = None,
    architecture: Architecture | None = None,
) -> TrainingPlan:
    """A plan of a run in `folder / run` on images that are made where there are none."""
    if data is None:
        data = folder / "images"
        if not data.exists():
            write_images(data)
    source = write_architecture(folder, architecture)
    base = STREAMED if recipe == "spach" else HELD
    return plan_training(
        TrainingRequest(
            source=str(source),
            data=str(data),
            recipe=recipe,
            out=folder / "run",
            resume=resume,
            init=init,
            changes=(*base, *changes),
        )
    )


def curve_figures(folder: Path) -> list[EpochLine]:
    """The curve without what a clock measured."""
    return [replace(line, images_per_s=0.0, seconds=0.0) for line in read_curve(folder)]
