"""Trainings at full size: they go on exactly, keep what they should, and share batches evenly."""

import errno
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from effort import slow, with_slow
from full_tools import CLASSES, curve_figures, plan_in, tiny, write_images
from network_tools import images, randomise, zoo
from spach_nas import files, load_model
from spach_nas.errors import BundleError, StudyError
from spach_nas.export import verify
from spach_nas.full_size.run_folder import read_curve
from spach_nas.full_size.training_plan import TrainingPlan
from spach_nas.full_size.training_run import prepare, run_training
from spach_nas.full_size.worker import make_training, train_worker
from spach_nas.networks import build
from spach_nas.training import loaders
from spach_nas.training.checkpoint import BEST, LAST, load_state
from spach_nas.training.learner import Place
from spach_nas.training.schedule import learning_rate

RECIPES = ("spach", "short")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["spach_nas.full_size.worker"])  # imported once for all workers


class StoppedError(Exception):
    """A fault in the middle of an epoch."""


def stop_at(epoch: int, step: int) -> object:
    def on_step(now_epoch: int, now_step: int) -> None:
        if (now_epoch, now_step) == (epoch, step):
            raise StoppedError

    return on_step


def start(plan: TrainingPlan, **options: object) -> None:
    prepare(plan)
    train_worker(plan.job, data=plan.data, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("every", "optimizer"),
    with_slow([("null", "adamw"), ("1", "adamw"), ("1", "muon")], ("1", "adamw")),
    ids=["epochs", "steps", "muon"],
)
def test_a_training_goes_on_as_one_that_was_never_stopped(
    tmp_path: Path, recipe: str, every: str, optimizer: str
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    data = write_images(tmp_path / "images")
    changes = (f"checkpoint_steps={every}", f"optimizer.name={optimizer}")
    start(plan_in(whole, *changes, data=data, recipe=recipe))
    plan = plan_in(cut, *changes, data=data, recipe=recipe)
    with pytest.raises(StoppedError):
        start(plan, on_step=stop_at(1, 1))
    again = plan_in(cut, *changes, data=data, recipe=recipe, resume=True)
    assert load_state(cut / "run" / LAST)[1].step == (1 if every == "1" else 0)
    start(again)
    assert len(curve_figures(whole / "run")) == 3
    assert curve_figures(cut / "run") == curve_figures(whole / "run")
    one, other = (load_state(folder / "run" / LAST)[0] for folder in (whole, cut))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def _train(plan: TrainingPlan) -> None:
    train_worker(plan.job, threads=1)


@slow
def test_a_killed_worker_leaves_all_that_the_next_one_needs(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    data = write_images(tmp_path / "images")
    change = ("checkpoint_steps=1", "epochs=5")
    start(plan_in(whole, *change, data=data))
    plan = plan_in(cut, *change, data=data)
    prepare(plan)
    worker = CONTEXT.Process(target=_train, args=(plan,))
    worker.start()
    while worker.is_alive() and not (cut / "run" / LAST).exists():
        time.sleep(0.001)
    worker.kill()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    assert load_state(cut / "run" / LAST)[1].epoch < 5
    _train(plan)
    assert curve_figures(cut / "run") == curve_figures(whole / "run")


def test_a_training_does_not_depend_on_who_reads_the_images(tmp_path: Path) -> None:
    data = write_images(tmp_path / "images")
    curves = []
    for processes in (0, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        start(plan_in(folder, f"data.loader_processes={processes}", "epochs=2", data=data))
        curves.append(curve_figures(folder / "run"))
    assert curves[0] == curves[1]


def test_seeds_and_augmentation_change_the_curve(tmp_path: Path) -> None:
    data = write_images(tmp_path / "images")
    curves = []
    for number, change in enumerate(("seed=0", "seed=1", "augmentation.rand_augment=null")):
        folder = tmp_path / str(number)
        folder.mkdir()
        start(plan_in(folder, change, "epochs=2", data=data))
        curves.append([line.loss for line in curve_figures(folder / "run")])
    assert curves[0] != curves[1]
    assert curves[0] != curves[2]


def test_every_step_draws_afresh(tmp_path: Path) -> None:
    seeds: list[int] = []
    real = loaders.seed_everything

    def noted(seed: int, device: torch.device | None = None) -> None:
        seeds.append(seed)
        real(seed, device)

    with mock.patch.object(loaders, "seed_everything", noted):
        start(plan_in(tmp_path, "accumulation=2"))
    # Each image has one, and each part of a batch.
    assert len(seeds) == 3 * 3 * (8 + 2)
    assert len(set(seeds)) == len(seeds)


def test_a_file_is_changed_by_renaming_alone(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"old")
    before, seen = path.stat().st_ino, []
    with mock.patch.object(files.os, "fsync", lambda _: seen.append(path.read_bytes())):
        files.write_durably(path, b"new")
    # The data first, then the folder that names it.
    assert seen == [b"old", b"new"]
    assert path.stat().st_ino != before
    assert [item.name for item in tmp_path.iterdir()] == ["state"]


def test_a_finished_run_is_a_bundle_with_the_best_weights(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, recipe="short")
    bundle = run_training(plan)
    network = load_model(bundle)
    assert network.architecture == tiny()
    curve = read_curve(tmp_path / "run")
    best = max(line.best_top1 or 0 for line in curve)
    tensors, position = load_state(tmp_path / "run" / BEST)
    assert position.best is not None
    assert position.best.top1 == best
    state = network.state_dict()
    assert all(torch.equal(tensors[f"network.{name}"], state[name]) for name in state)
    assert not verify(bundle).problems
    card = (bundle / "README.md").read_text(encoding="utf-8")
    assert all(f"{line.loss:.4f}" in card for line in curve)
    assert all(word in card for word in (*CLASSES, "mixup: 0.8", "`images`"))
    assert run_training(plan_in(tmp_path, recipe="short", resume=True)) == bundle


def test_the_last_weights_are_the_averaged_ones(tmp_path: Path) -> None:
    bundle = run_training(plan_in(tmp_path, "final=last", "data.validation=0"))
    tensors, _ = load_state(tmp_path / "run" / LAST)
    state = load_file(bundle / "model.safetensors")
    assert all(torch.equal(tensors[f"ema.{name}"], state[name]) for name in state)
    assert all(line.top1 is None for line in read_curve(tmp_path / "run"))


def test_a_full_disk_leaves_the_last_checkpoint_good(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    real = os.fsync

    def full_at_third(file: int, *, calls: list[int] = []) -> None:  # noqa: B006
        calls.append(file)
        if len(calls) > 9:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file)

    with (
        mock.patch.object(files.os, "fsync", full_at_third),
        pytest.raises(StudyError, match=r"No space left.*--resume"),
    ):
        start(plan)
    _, position = load_state(tmp_path / "run" / LAST)
    assert position.epoch >= 1
    assert not list((tmp_path / "run").glob("*.tmp"))
    start(plan_in(tmp_path, resume=True))
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    start(plan_in(fresh, data=tmp_path / "images"))
    assert curve_figures(tmp_path / "run") == curve_figures(fresh / "run")


@pytest.mark.parametrize("damage", ["flip", "cut", "pickle"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    start(plan_in(tmp_path, "epochs=2"))
    path = tmp_path / "run" / LAST
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-5] ^= 1
    elif damage == "cut":
        del data[-100:]
    else:
        torch.save({"network": torch.zeros(1)}, path)
        data = bytearray(path.read_bytes())
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"last\.safetensors: is damaged"):
        start(plan_in(tmp_path, "epochs=2", resume=True))


def test_a_run_that_measured_its_format_is_resumed_in_that_one(tmp_path: Path) -> None:
    prepare(plan_in(tmp_path))
    run = tmp_path / "run"
    text = (run / "run.json").read_text(encoding="utf-8")
    text = text.replace('"precision": "auto"', '"precision": "faster"')
    (run / "run.json").write_text(text, encoding="utf-8")
    (run / "precision.txt").write_text("bf16", encoding="ascii")
    with pytest.raises(StudyError, match=r"recipe\.precision: 'fp32'; expected 'bf16'"):
        plan_in(tmp_path, "precision=fp32", resume=True)
    assert plan_in(tmp_path, "precision=bf16", resume=True).resumed


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, "optimizer.learning_rate=1e12", "schedule.warmup_epochs=0")
    with pytest.raises(StudyError, match=r"not finite after epoch \d; expected a lower"):
        run_training(plan)
    assert not (tmp_path / "run" / "bundle").exists()


def test_only_matrices_decay_and_the_rate_follows_the_paper(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, "optimizer.learning_rate=1e-3", "epochs=6")
    prepare(plan)
    training = make_training(plan.job, plan.data, place=Place())
    learner = training.learner
    names = {id(value): name for name, value in learner.network.named_parameters()}
    for group in learner.optimizer.param_groups:
        for value in group["params"]:
            exempt = value.ndim == 1 or names[id(value)].endswith("gamma_1")
            assert group["weight_decay"] == (0.0 if exempt else 0.05)
    steps = training.batches(0, 0).steps
    rates = [learning_rate(training.schedule, number) for number in range(6 * steps + 1)]
    expected = [
        1e-6 + (1e-3 - 1e-6) * n / steps
        if n < steps
        else 1e-5 + (1e-3 - 1e-5) * (1 + np.cos(np.pi * n / (6 * steps))) / 2
        for n in range(6 * steps + 1)
    ]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


@pytest.mark.parametrize("recipe", with_slow(RECIPES, "short"))
def test_parts_of_a_batch_add_up_to_the_whole(tmp_path: Path, recipe: str) -> None:
    quiet = (
        "drop_path=0",
        "augmentation.mixup=0",
        "augmentation.cutmix=0",
        "augmentation.erasing=0",
    )
    data = write_images(tmp_path / "images")
    losses = []
    for parts in (1, 4):
        folder = tmp_path / str(parts)
        folder.mkdir()
        start(plan_in(folder, f"accumulation={parts}", *quiet, data=data, recipe=recipe))
        losses.append([line.loss for line in curve_figures(folder / "run")])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def _join_group(rank: int, port: int) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)


def run_two(target: Callable[..., None], argument: object) -> None:
    """Run a function as two workers of one group."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    workers = [CONTEXT.Process(target=target, args=(rank, port, argument)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]


SHARED = zoo()["hybrid_shared"]


def _average(rank: int, port: int, out: Path) -> None:
    torch.set_num_threads(1)
    _join_group(rank, port)
    network = build(SHARED)
    randomise(network, seed=rank)  # rank 0 wins
    parallel = torch.nn.parallel.DistributedDataParallel(network)
    parallel(images(SHARED, batch=4)[rank::2]).square().sum().backward()
    if rank == 0:
        torch.save({name: p.grad for name, p in network.named_parameters()}, out)
    torch.distributed.destroy_process_group()


@slow
def test_two_processes_average_the_gradients(tmp_path: Path) -> None:
    run_two(_average, tmp_path / "grads.pt")
    found = torch.load(tmp_path / "grads.pt", weights_only=True)
    network = build(SHARED)
    randomise(network)
    (network(images(SHARED, batch=4)).square().sum() / 2).backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-4)


def _join(rank: int, port: int, plan: TrainingPlan) -> None:
    _join_group(rank, port)
    train_worker(plan.job, place=Place(rank=rank, world=2), threads=1)
    torch.distributed.destroy_process_group()


@slow
def test_two_workers_compute_what_one_does(tmp_path: Path) -> None:
    quiet = (
        "drop_path=0",
        "augmentation.mixup=0",
        "augmentation.cutmix=0",
        "augmentation.erasing=0",
    )
    change = ("augmentation.repeats=1", "checkpoint_steps=2", *quiet)
    data = write_images(tmp_path / "images", counts=(12, 5))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    start(plan_in(tmp_path / "one", *change, data=data))
    plan = plan_in(tmp_path / "two", *change, data=data)
    prepare(plan)
    run_two(_join, plan)
    one, two = (curve_figures(tmp_path / name / "run") for name in ("one", "two"))
    assert len(one) == len(two) == 3
    for name in ("loss", "top1", "top5", "validation_loss", "ema_top1"):
        pairs = [[getattr(line, name) for line in lines] for lines in (one, two)]
        np.testing.assert_allclose(pairs[0], pairs[1], rtol=2e-5)
