"""What a GPU does otherwise than a CPU: formats, layout, memory, speed, shares of it in a search.

Off by default. `pytest -m gpu tests/gpu` takes at most five minutes on one CUDA device and writes
what it measured to `results/gpu/gpu.csv`, or to the file that `SPACH_NAS_GPU_TABLE` names. Nothing
here asserts a time. With `SPACH_NAS_GPU_REHEARSAL=1` all of it runs on a CPU, at a tiny size, and
the table only says that: it shows that these lines run, and nothing about a GPU.
"""

import csv
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from timm.optim import create_optimizer_v2
from torch import nn

from search_tools import write_search
from spach_nas.config.evaluation import Evaluation, EvaluationRequest, Fidelity
from spach_nas.config.training_settings import TrainingSettings
from spach_nas.cost.closed_form import cost
from spach_nas.data import DataSplits, ImageSet
from spach_nas.data.images import measure_normalisation
from spach_nas.evaluators import ProxyEvaluator
from spach_nas.full_size.evaluate import evaluate
from spach_nas.full_size.run_folder import read_curve
from spach_nas.full_size.training_plan import TrainingRequest, plan_training
from spach_nas.full_size.training_run import run_training
from spach_nas.latency.timing import measure_network
from spach_nas.networks import build
from spach_nas.networks.block import Block
from spach_nas.networks.timm_networks import timm_cost
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import get_reference
from spach_nas.space.timm_reference import TimmModel
from spach_nas.study.records import Record, read_records
from spach_nas.training import choose_runtime, move
from training_steps import PROXIES, Case, Trainer, proxy
from training_tools import architecture

REHEARSAL = os.environ.get("SPACH_NAS_GPU_REHEARSAL") == "1"
DEVICE = "cpu" if REHEARSAL else "cuda"
TABLE = Path(__file__).parents[2] / "results" / "gpu" / "gpu.csv"
PRECISIONS = ("fp32", "bf16")

pytestmark = [
    pytest.mark.gpu,
    # Inductor's and Ray's own remarks about a device are no faults of ours.
    pytest.mark.filterwarnings("default"),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much is done.

    Attributes:
        width: Of the first stage of the proxies.
        batch: Images of a step of theirs.
        steps: Steps of an epoch of theirs.
        layouts: Names of the proxies.
        beside: A model of timm of about the cost of a proxy, and the size of its patches.
        whole: A network at full size.
        whole_beside: A model of timm of about its cost.
        image_size: Of these two.
        whole_batch: Images of a step of theirs.
        share: Of a GPU that a trial has in the second search.
    """

    width: int
    batch: int
    steps: int
    layouts: tuple[str, ...]
    beside: tuple[str, Mapping[str, object]]
    whole: Architecture
    whole_beside: str
    image_size: int
    whole_batch: int
    share: float


SIZE = (
    Size(
        width=16,
        batch=8,
        steps=2,
        layouts=("hybrid_ms_s",),
        beside=("test_vit", {"img_size": 32, "patch_size": 8}),
        whole=replace(architecture("attention"), image_size=(32, 32), in_channels=3),
        whole_beside="test_convnext",
        image_size=32,
        whole_batch=4,
        share=0,
    )
    if REHEARSAL
    else Size(
        width=32,
        batch=128,
        steps=20,
        layouts=tuple(PROXIES),
        beside=("convnext_atto", {"patch_size": 2}),
        whole=get_reference("hybrid_ms_xs").architecture,
        whole_beside="convnext_tiny",
        image_size=224,
        whole_batch=64,
        share=0.5,
    )
)


class Table:
    """One row for each figure, written as soon as it is known: a later check may fail."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[tuple[str, str, str, str, str]] = []
        self._device = "rehearsal on a CPU" if REHEARSAL else torch.cuda.get_device_name()
        packages = " ".join(f"{name} {version(name)}" for name in ("torch", "timm", "ray"))
        self._versions = (
            f"spach-nas {version('spach-nas')} {packages} CUDA {torch.version.cuda} "
            f"Python {platform.python_version()}"
        )

    def add(self, check: str, value: float, unit: str) -> None:
        self._rows.append((check, f"{value:.4g}", unit, self._device, self._versions))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("check", "value", "unit", "device", "versions"))
            writer.writerows(self._rows)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    named = os.environ.get("SPACH_NAS_GPU_TABLE")
    if named:
        return Table(Path(named))
    return Table(tmp_path_factory.mktemp("table") / "gpu.csv" if REHEARSAL else TABLE)


def drawn(count: int) -> ImageSet:
    """Images of 32 px in ten classes, each of them a row that is brighter than the noise."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 10
    images = generator.integers(0, 90, (count, 32, 32, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[3 * label : 3 * label + 3] += 120
    return ImageSet(images=images, labels=labels, class_names=tuple("abcdefghij"))


def splits(train: int, validation: int) -> DataSplits:
    data = drawn(train)
    return DataSplits(
        train=data,
        validation=drawn(validation),
        normalisation=measure_normalisation(data.images),
    )


def trained(
    network: Architecture, data: DataSplits, *, epochs: int = 1, **settings: object
) -> Evaluation:
    """As a search trains it."""
    given = {"batch_size": SIZE.batch, "learning_rate": 2e-3, "device": DEVICE} | settings
    evaluator = ProxyEvaluator(settings=TrainingSettings(**given))  # type: ignore[arg-type]
    fidelity = Fidelity(epochs=epochs, image_size=network.image_size, data_share=1.0)
    request = EvaluationRequest(
        trial=0, architecture=network, proxy=network, fidelity=fidelity, seed=0
    )
    return evaluator(request, data)


def cases() -> list[Case]:
    return [proxy(name, width=SIZE.width, batch=SIZE.batch) for name in SIZE.layouts]


def synchronised() -> float:
    """Seconds of the wall when the device has done all that it was given."""
    if not REHEARSAL:
        torch.cuda.synchronize()
    return time.perf_counter()


def rate(step: Callable[[], object], *, images: int, steps: int) -> float:
    """Images per second of steps after three that set up kernels."""
    for _ in range(3):
        step()
    started = synchronised()
    for _ in range(steps):
        step()
    return images * steps / (synchronised() - started)


def timm_trainer(name: str, case: Case, **arguments: object) -> Trainer:
    """Steps of timm's own training script: its model and optimizer, autocast, channels last."""
    shape = case.architecture
    network = timm.create_model(
        name, num_classes=shape.num_classes, in_chans=shape.in_channels, **arguments
    )
    return Trainer(
        case,
        "bf16",
        network=network,
        optimizer=lambda net: create_optimizer_v2(
            net, opt="adamw", lr=1e-3, weight_decay=0.05, fused=True
        ),
        device=DEVICE,
    )


def test_autocast_computes_in_bf16_and_learns_as_in_fp32(table: Table) -> None:
    assert choose_runtime(device=DEVICE).bf16 is (not REHEARSAL)
    data = splits(SIZE.batch * SIZE.steps, 64)
    for case in cases():
        losses = {}
        for precision in PRECISIONS:
            found = trained(case.architecture, data, epochs=2, precision=precision)
            assert found.state == "complete", found.reason
            losses[precision] = found.curve[-1].train_loss
            table.add(f"{case.name} proxy, {precision}: training loss", losses[precision], "nats")
        assert losses["bf16"] == pytest.approx(losses["fp32"], abs=0.25)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_features_stay_channels_last(table: Table, precision: str) -> None:
    case = cases()[-1]
    trainer = Trainer(case, precision, device=DEVICE)
    features, formats = [], set()

    def see(module: nn.Module, arguments: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, Block):
            features.append(output.is_contiguous())
        else:
            formats.add(output.dtype)

    for module in trainer.network.modules():
        if isinstance(module, Block | nn.Linear):
            module.register_forward_hook(see)
    assert trainer.images.is_contiguous(memory_format=torch.channels_last)
    trainer()
    # (B, H, W, C) in the order of memory is channels last.
    table.add(f"{case.name} proxy, {precision}: blocks that keep it", np.mean(features), "share")
    assert all(features)
    assert formats == {torch.bfloat16 if precision == "bf16" else torch.float32}
    kernels = [one.weight for one in trainer.network.modules() if isinstance(one, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels)
    channels_last = rate(trainer, images=case.batch, steps=SIZE.steps)
    trainer.network.to(memory_format=torch.contiguous_format)
    trainer.images = trainer.images.contiguous()
    plain = rate(trainer, images=case.batch, steps=SIZE.steps)
    name = f"{case.name} proxy, {precision}: channels last over channels first"
    table.add(name, channels_last / plain, "times the images/s")


@contextmanager
def memory(limit: int, *, images: int) -> Iterator[None]:
    """As little memory as a number of bytes; in a rehearsal, enough for some images."""
    if REHEARSAL:
        real = F.cross_entropy

        def refuse(logits: torch.Tensor, *others: object, **options: object) -> torch.Tensor:
            if logits.requires_grad and len(logits) > images:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return real(logits, *others, **options)  # type: ignore[arg-type]

        with mock.patch.object(F, "cross_entropy", refuse):
            yield
        return
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties().total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def peak(network: Architecture, data: DataSplits, *, batch: int) -> tuple[int, int]:
    """Most bytes in tensors, and most bytes taken from the device, while it is trained."""
    if not REHEARSAL:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    found = trained(network, data, batch_size=batch)
    assert (found.state, found.remark) == ("complete", None)
    if REHEARSAL:
        return batch, batch
    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()


def test_a_training_without_memory_is_tried_again_in_quarters_and_leaves_none_taken(
    table: Table,
) -> None:
    case = cases()[0]
    batch = 4 * SIZE.batch
    data = splits(batch, 16)
    (_, enough), (needed, _) = (
        peak(case.architecture, data, batch=size) for size in (batch // 4, batch)
    )
    assert enough < needed, "the batch is too small for a limit between the two"
    table.add(f"{case.name} proxy: memory of a batch of {batch}", needed / 2**20, "MiB")
    table.add(f"{case.name} proxy: memory of a batch of {batch // 4}", enough / 2**20, "MiB")
    with memory((enough + needed) // 2, images=batch // 4):
        found = trained(case.architecture, data, batch_size=batch)
    assert found.state == "complete", found.reason
    assert found.remark == f"trained in batches of {batch // 4} at most after it ran out of memory"
    before = 0 if REHEARSAL else torch.cuda.memory_allocated()
    with memory(before + 2**22, images=0):
        found = trained(case.architecture, data, batch_size=batch)
    tried = f"batches of {batch}, and of {batch // 4}"
    assert found.reason == f"out of memory on {DEVICE} with {tried}"
    after = 0 if REHEARSAL else torch.cuda.memory_allocated()
    table.add("memory that a training out of memory leaves taken", (after - before) / 2**20, "MiB")
    assert after <= before
    assert trained(case.architecture, data, batch_size=batch).remark is None


def test_a_compiled_proxy_learns_as_the_plain_one(table: Table) -> None:
    mixers = ("conv",) if REHEARSAL else ("conv", "attention", "mlp")
    network = replace(architecture(*mixers), image_size=(32, 32), num_classes=10)
    data = splits(SIZE.batch * SIZE.steps, 16)
    found = {}
    for compiled in (False, True):
        found[compiled] = trained(network, data, epochs=3, compile=compiled, precision="fp32")
        assert found[compiled].state == "complete", found[compiled].reason
    plain, made = (found[compiled].curve for compiled in (False, True))
    assert made[-1].train_loss == pytest.approx(plain[-1].train_loss, abs=0.1)
    table.add("compile: seconds of the first epoch", made[0].seconds, "s")
    speed = plain[-1].seconds / made[-1].seconds
    table.add("compile: speed of later epochs over eager", speed, "times")


def test_latency_on_the_device(table: Table) -> None:
    network = SIZE.whole
    asked = [
        ("eager", precision, batch) for precision in PRECISIONS for batch in (1, SIZE.whole_batch)
    ]
    # Compiling takes far longer than all the rest.
    asked += [] if REHEARSAL else [("compile", "bf16", 1)]
    for runtime, precision, batch in asked:
        (found,) = measure_network(
            network,
            batch_sizes=(batch,),
            runtimes=(runtime,),
            device=DEVICE,
            precision=precision,
            seconds=0.05 if REHEARSAL else 0.5,
        )
        assert found.timing is not None, found.missing
        assert found.where is not None
        assert found.where.device == DEVICE
        name = f"latency, {runtime}, {precision}, batch {batch}"
        table.add(name, found.timing.median_ms, "ms")
        if runtime == "eager" and not REHEARSAL:
            table.add(f"{name}, between events", by_events(network, batch, precision), "ms")


def by_events(network: Architecture, batch: int, precision: str) -> float:
    """Median ms of a forward pass between two events, which the device itself stamps."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    built = move(build(network), choose_runtime(device="cuda")).eval().to(dtype)
    images = torch.randn(
        batch, network.in_channels, *network.image_size, device="cuda", dtype=dtype
    )
    images = images.contiguous(memory_format=torch.channels_last)
    times = []
    with torch.inference_mode():
        for _ in range(30):
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            built(images)
            last.record()
            last.synchronize()
            times.append(first.elapsed_time(last))
    return statistics.median(times[10:])


def test_images_per_second_of_proxies_beside_plain_loops(table: Table) -> None:
    data = splits(SIZE.batch * SIZE.steps, 16)
    for case in cases():
        found = trained(case.architecture, data, epochs=3, precision="bf16")
        assert found.state == "complete", found.reason
        ours = len(data.train) / min(epoch.seconds for epoch in found.curve[1:])
        plain = rate(Trainer(case, "bf16", device=DEVICE), images=case.batch, steps=SIZE.steps)
        table.add(f"{case.name} proxy: a search's training", ours, "images/s")
        table.add(f"{case.name} proxy: plain loop", plain, "images/s")
        table.add(f"{case.name} proxy: cost", cost(case.architecture).macs / 1e6, "MMACs")
    name, arguments = SIZE.beside
    beside = timm_trainer(name, cases()[0], **arguments)
    speed = rate(beside, images=SIZE.batch, steps=SIZE.steps)
    table.add(f"timm/{name} at 32 px: plain loop", speed, "images/s")


def write_photos(root: Path, *, count: int, side: int) -> Path:
    """JPEG files of two classes."""
    generator = np.random.default_rng(0)
    for split, number in (("train", count), ("val", 8)):
        for index in range(number):
            folder = root / split / f"class{index % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            coarse = generator.integers(0, 255, (12, 12, 3)).astype(np.uint8)
            Image.fromarray(coarse).resize((side, side)).save(folder / f"{index}.jpg")
    return root


def curve_of(source: Path, data: Path, out: Path, *changes: str) -> list[float]:
    """Images/s of the epochs of `train`, by the recipe for images in memory."""
    plan = plan_training(
        TrainingRequest(
            source=str(source),
            data=str(data),
            recipe="short",
            out=out,
            changes=[f"device={DEVICE}", "data.loader_processes=0", *changes],
        )
    )
    bundle = run_training(plan)
    result = evaluate(str(bundle), data=str(data), batch_sizes=(1,), device=DEVICE)
    assert result.device == DEVICE
    assert result.images == 8
    return [line.images_per_s for line in read_curve(out)]


def test_train_beside_plain_loops(table: Table, tmp_path: Path) -> None:
    count = SIZE.whole_batch * (2 if REHEARSAL else 10)
    photos = write_photos(tmp_path / "photos", count=count, side=SIZE.image_size)
    whole = replace(SIZE.whole, num_classes=2)
    source = tmp_path / "whole.yaml"
    source.write_text(whole.to_yaml(), encoding="utf-8")
    batch = f"batch_size={SIZE.whole_batch}"
    found = curve_of(source, photos, tmp_path / "run", "epochs=3", batch, "precision=bf16")
    case = Case(name="whole", architecture=whole, batch=SIZE.whole_batch)
    steps = 2 if REHEARSAL else 20
    plain = rate(Trainer(case, "bf16", device=DEVICE), images=case.batch, steps=steps)
    beside = rate(timm_trainer(SIZE.whole_beside, case), images=case.batch, steps=steps)
    table.add("full size: train", max(found), "images/s")
    table.add("full size: plain loop", plain, "images/s")
    table.add("full size: cost", cost(whole).macs / 1e9, "GMACs")
    table.add(f"timm/{SIZE.whole_beside}: plain loop", beside, "images/s")
    side = (SIZE.image_size, SIZE.image_size)
    model = TimmModel(name=SIZE.whole_beside, image_size=side, in_channels=3, num_classes=2)
    table.add(f"timm/{SIZE.whole_beside}: cost", timm_cost(model).macs / 1e9, "GMACs")


def test_train_by_a_worker_of_ray(table: Table, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", count=32, side=32)
    source = tmp_path / "small.yaml"
    small = replace(architecture("attention"), image_size=(32, 32), in_channels=3, num_classes=2)
    source.write_text(small.to_yaml(), encoding="utf-8")
    changes = ("epochs=2", "batch_size=16", "resources.address=local")
    started = time.perf_counter()
    assert len(curve_of(source, photos, tmp_path / "run", *changes)) == 2
    table.add("train of two epochs by Ray Train", time.perf_counter() - started, "s")


def search_yaml(folder: Path, **changes: object) -> Path:
    """A search on Fashion-MNIST, of which a trial takes seconds."""
    training = {
        "epochs": 2,
        "data_share": 0.02 if REHEARSAL else 0.5,
        "batch_size": 32 if REHEARSAL else 128,
        "device": DEVICE,
    }
    return write_search(folder, training=training, **changes)


def command(path: Path, *options: str) -> "subprocess.Popen[bytes]":
    torch.accelerator.empty_cache()  # what this process holds is not there for the search
    with (path.parent / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "spach_nas", "search", str(path), *options],
            cwd=path.parent,
            stdout=log,
            stderr=log,
        )


def finish(search: "subprocess.Popen[bytes]", folder: Path) -> None:
    assert search.wait(timeout=300) == 0, (folder / "log.txt").read_text(encoding="utf-8")


def sound(records: list[Record], *, trials: int) -> None:
    assert [record.trial for record in records if record.state == "failed"] == []
    assert sorted(record.trial for record in records) == list(range(trials))
    assert all(f", {DEVICE}, " in record.machine for record in records)


def test_a_search_of_twelve_trials_with_latencies_of_the_device(
    table: Table, tmp_path: Path
) -> None:
    latency = {"device": DEVICE}
    path = search_yaml(
        tmp_path,
        objectives={"accuracy": "max", "latency": "min"},
        latency=latency,
        search__trials=12,
    )
    started = time.perf_counter()
    finish(command(path), tmp_path)
    table.add("search of 12 trials, with a table of latencies", time.perf_counter() - started, "s")
    records = read_records(tmp_path / "results" / "small")
    sound(records, trials=12)
    assert all(record.objectives["latency"] > 0 for record in records)
    table.add("its best accuracy", max(one.objectives["accuracy"] for one in records), "top-1")


def together(records: list[Record]) -> int:
    """Most evaluations at one time."""
    ends = [(one.started, 1) for one in records]
    ends += [(one.started + one.seconds, -1) for one in records]
    running, most = 0, 0
    for _, change in sorted(ends):
        running += change
        most = max(most, running)
    return most


def test_two_trials_share_the_device_and_a_killed_search_goes_on(
    table: Table, tmp_path: Path
) -> None:
    resources = {"gpus_per_trial": SIZE.share, "max_concurrent": 2}
    path = search_yaml(tmp_path, resources=resources, search__trials=8)
    folder = tmp_path / "results" / "small"
    started = time.perf_counter()
    search = command(path)
    while len(kept := read_records(folder) if folder.exists() else []) < 3:
        assert search.poll() is None, (tmp_path / "log.txt").read_text(encoding="utf-8")
        time.sleep(0.1)
    search.send_signal(signal.SIGKILL)
    search.wait()
    kept = read_records(folder)
    finish(command(path, "--resume"), tmp_path)
    seconds = time.perf_counter() - started
    records = read_records(folder)
    sound(records, trials=8)
    assert records[: len(kept)] == kept, "what was finished is not done again"
    assert together(records) == 2
    table.add("search of 8 trials, two at once, killed and resumed", seconds, "s")
    table.add("trials at once on one device", together(records), "trials")
