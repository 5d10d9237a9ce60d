"""Images a second of `train` beside a bare loop in the style of timm's training script.

Off by default; `pytest -m benchmark tests/benchmarks/test_train_speed.py` takes about ten minutes
and writes `results/benchmarks/train_speed.csv`. Nothing here asserts a time.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from result_tables import write_table
from timm.data import FastCollateMixup, create_loader
from timm.data.dataset import ImageDataset
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor

from spach_nas.full_size.training_plan import TrainingPlan, TrainingRequest, plan_training
from spach_nas.full_size.training_run import prepare
from spach_nas.full_size.worker import make_training
from spach_nas.machine import keep_freed_memory
from spach_nas.networks import build
from spach_nas.training.checkpoint import Position
from spach_nas.training.learner import Place
from spach_nas.training.loaders import mend_posterize
from training_steps import proxy

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(1800),
    # timm's data set leaves the closing of files to Python.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]
ROUNDS = 7
LAYOUTS = ("conv_ms_s", "hybrid_ms_s")
IMAGES = {"files": 1536, "memory": 7200}
Batches = Callable[[], Iterator[tuple[Tensor, Tensor]]]


def write_photos(root: Path) -> Path:
    """JPEG files of the size that photographs in small sets have."""
    generator = np.random.default_rng(0)
    for split, count in (("train", IMAGES["files"]), ("val", 10)):
        for number in range(count):
            folder = root / split / f"class{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            coarse = generator.integers(0, 255, (12, 12, 3)).astype(np.uint8)
            Image.fromarray(coarse).resize((160, 128)).save(folder / f"{number}.jpg")
    return root


def plan(folder: Path, layout: str, kind: str) -> TrainingPlan:
    source = folder / f"{layout}.yaml"
    source.write_text(proxy(layout, width=32, batch=64).architecture.to_yaml(), encoding="utf-8")
    changes = ["epochs=99", "batch_size=64", "resources.address=here", "data.loader_processes=0"]
    if kind == "files":
        changes += ["schedule.warmup_epochs=1", "augmentation.repeats=1", "ema.decay=0.999"]
    else:
        changes += ["augmentation.mixup=0.8"]
    made = plan_training(
        TrainingRequest(
            source=str(source),
            data=str(folder / "photos") if kind == "files" else "fashion-mini",
            recipe="spach" if kind == "files" else "short",
            out=folder / f"{layout}-{kind}",
            changes=[*changes, "data.validation=0" if kind == "memory" else "data.validation=null"],
        )
    )
    prepare(made)
    return made


class Ours:
    """Epochs of `train`, without checkpoints and validation."""

    def __init__(self, made: TrainingPlan) -> None:
        data = made.data
        if made.job.shifted:
            chosen = np.arange(IMAGES["memory"])
            data = type(data)(choice=data.choice, train=data.train.take(chosen), validation=None)
        else:
            data = type(data)(choice=data.choice, train=data.train, validation=None)
        training = make_training(made.job, data, place=Place(), threads=1)
        epoch = training.batches(0, 0)
        self._epochs = training.epochs(Position(), stop=made.job.recipe.epochs)
        self.images = epoch.steps * epoch.images

    def __call__(self) -> None:
        next(self._epochs)


class Bare:
    """The same network, optimizer, schedule, average and augmentation in a loop of a page."""

    def __init__(self, made: TrainingPlan) -> None:
        job = made.job
        recipe, changes = job.recipe, job.recipe.augmentation
        self.network = build(job.architecture, drop_path_rate=recipe.drop_path)
        self.network.to(memory_format=torch.channels_last)
        self.optimizer = create_optimizer_v2(
            self.network, opt="adamw", lr=recipe.peak_rate, weight_decay=0.05, fused=True
        )
        self.scheduler = CosineLRScheduler(
            self.optimizer, t_initial=10_000, warmup_t=100, t_in_epochs=False
        )
        self.ema = ModelEmaV3(self.network, decay=0.999, use_warmup=True)
        self.updates = 0
        mixing = {
            "mixup_alpha": changes.mixup,
            "cutmix_alpha": changes.cutmix,
            "label_smoothing": changes.label_smoothing,
            "num_classes": job.architecture.num_classes,
        }
        if job.shifted:
            self.batches = self._held(
                made, Mixup(**mixing), RandomErasing(changes.erasing, mode="pixel", device="cpu")
            )
            return
        loader = create_loader(
            ImageDataset(
                str(Path(job.data.name) / "train"),
                input_img_mode="RGB" if job.architecture.in_channels == 3 else "L",
            ),
            input_size=(job.architecture.in_channels, *job.architecture.image_size),
            batch_size=recipe.batch_size,
            is_training=True,
            re_prob=changes.erasing,
            re_mode="pixel",
            auto_augment=changes.rand_augment,
            interpolation="bicubic",
            mean=job.normalisation.mean,
            std=job.normalisation.std,
            num_workers=0,
            device=torch.device("cpu"),
            collate_fn=FastCollateMixup(**mixing),
        )
        mend_posterize(loader.dataset.transform)
        self.batches = lambda: iter(loader)

    def _held(self, made: TrainingPlan, mix: Mixup, erase: RandomErasing) -> Batches:
        held = made.data.train.take(np.arange(IMAGES["memory"]))
        images = torch.from_numpy(held.in_memory(made.job.architecture.image_size).images)
        labels, size = torch.from_numpy(held.labels), made.job.recipe.batch_size
        mean, std = (
            torch.tensor(v) for v in (made.job.normalisation.mean, made.job.normalisation.std)
        )

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for indices in torch.randperm(len(images)).split(size):
                pixels = images[indices]
                flipped = torch.where(
                    (torch.rand(len(pixels)) < 0.5)[:, None, None, None], pixels.flip(2), pixels
                )
                top, left = np.random.randint(0, 5, 2)
                shifted = F.pad(flipped, (0, 0, 2, 2, 2, 2))[:, top : top + 32, left : left + 32]
                values = (shifted.float() / 255 - mean) / std
                yield mix(erase(values.permute(0, 3, 1, 2)), labels[indices])

        return batches

    def __call__(self) -> None:
        self.network.train()
        for images, labels in self.batches():
            self.optimizer.zero_grad()
            logits = self.network(images.contiguous(memory_format=torch.channels_last))
            F.cross_entropy(logits, labels).backward()
            self.optimizer.step()
            self.updates += 1
            self.ema.update(self.network, step=self.updates)
            self.scheduler.step_update(self.updates)


def seconds(action: Callable[[], None]) -> float:
    # Of the processor: other programs disturb it less.
    started = time.process_time()
    action()
    return time.process_time() - started


def test_train_beside_a_bare_loop(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()  # for both
    write_photos(tmp_path / "photos")
    rows = []
    for kind in IMAGES:
        for layout in LAYOUTS:
            made = plan(tmp_path, layout, kind)
            ours, bare = Ours(made), Bare(made)
            ours(), bare()
            timed = [(seconds(bare), seconds(ours)) for _ in range(ROUNDS)]
            rows.append(
                {
                    "images_from": kind,
                    "layout": layout,
                    "image": made.job.architecture.image_size[0],
                    "width": 32,
                    "batch": 64,
                    "bare_images_per_s": round(
                        ours.images / statistics.median(b for b, _ in timed), 1
                    ),
                    "train_images_per_s": round(
                        ours.images / statistics.median(o for _, o in timed), 1
                    ),
                    "train_over_bare": round(statistics.median(b / o for b, o in timed), 3),
                }
            )
            print(rows[-1], flush=True)
    write_table("train_speed.csv", rows, test=__file__)
