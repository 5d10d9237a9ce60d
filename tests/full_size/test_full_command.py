"""The command `train`: what it shows, how it ends, and what it asks of Ray."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from ray.train import ControllerError, RunConfig, WorkerGroupError
from ray.train.v2._internal.execution.failure_handling import (
    FailureDecision,
    create_failure_policy,
)
from rich.console import Console

from conftest import run_main
from full_tools import HELD, plan_in, tiny, write_architecture, write_images
from spach_nas import load_model
from spach_nas.cli.training_view import TrainingView
from spach_nas.errors import ConfigError, DataError, StudyError
from spach_nas.full_size import ray_train
from spach_nas.full_size.ray_train import Shape, shape_of
from spach_nas.full_size.run_folder import EpochLine, Now, ProgressFile, read_curve, write_curve
from spach_nas.full_size.training_run import run_training
from spach_nas.search.loggers import LogEntry
from spach_nas.study.journal import read_journal


def test_the_command_trains_says_what_it_does_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_architecture(tmp_path, replace(tiny(), num_classes=9))
    root, out = write_images(tmp_path / "images"), tmp_path / "run"
    changes = [part for change in (*HELD, "epochs=2") for part in ("--set", change)]
    arguments = ("train", str(source), "--data", str(root), "--recipe", "short", "--out", str(out))
    with mock.patch("spach_nas.full_size.training_run.train_worker", side_effect=KeyboardInterrupt):
        code, errors = run_main(*arguments, *changes)
    assert (code, errors) == (130, ["stopped; the same command with --resume continues it"])
    capsys.readouterr()
    assert run_main(*arguments, *changes)[0] == 2
    assert run_main(*arguments, *changes, "--resume")[0] == 0
    shown = capsys.readouterr().out
    assert "27 images to train on, 12 to validate, 3 classes" in shown
    assert "the network has 3 classes instead of 9" in shown
    assert all(f"[{n}/2] loss " in shown for n in (1, 2))
    assert "top-1" in shown
    assert load_model(out / "bundle").num_classes == 3
    code, errors = run_main(*arguments, "--resume", "--set", "epoch=3", "--set", "batch_size=x")
    assert code == 2
    assert len(errors) == 2


def test_the_view_shows_epochs_best_and_time_left(tmp_path: Path) -> None:
    lines = [EpochLine(epoch=n + 1, loss=2.0 - n, top1=top1) for n, top1 in enumerate((0.5, 0.25))]
    write_curve(tmp_path, lines)
    ProgressFile(tmp_path).write(
        Now(
            phase="training",
            epochs=9,
            epoch=3,
            steps=40,
            step=10,
            images_per_s=1234.5,
            seconds=60,
            time_left=125,
        )
    )
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(TrainingView(console, tmp_path, title="name on data").render())
    text = [line.rstrip() for line in console.export_text().split("\n")]
    assert text[0] == "name on data"
    assert [line.endswith("best") for line in text[2:4]] == [True, False]
    assert text[-2] == "epoch 3/9, step 10/40, 1,234 images/s, 1m 00s, 2m 05s left"


class Recorder:
    """A logger that keeps what it is told, or fails at the first epoch."""

    def __init__(self, *, fails: bool = False) -> None:
        self.told: list[LogEntry] = []
        self.ended = False
        self._fails = fails

    def begin(self, study: str, folder: Path) -> None: ...

    def log(self, entry: LogEntry) -> None:
        if self._fails:
            raise ConnectionError("no network")
        self.told.append(entry)

    def end(self) -> None:
        self.ended = True


def test_loggers_get_every_epoch_and_one_that_fails_is_left_out(tmp_path: Path) -> None:
    good, bad = Recorder(), Recorder(fails=True)
    makers = {"tensorboard": lambda: good, "mlflow": lambda: bad}
    with (
        mock.patch("spach_nas.full_size.training_run.named_loggers", lambda names: makers),
        mock.patch("spach_nas.full_size.training_plan.check_packages"),
    ):
        run_training(plan_in(tmp_path, "loggers=[tensorboard, mlflow]", recipe="short"))
    curve = read_curve(tmp_path / "run")
    assert [(entry.epoch, entry.figures["loss"]) for entry in good.told] == [
        (line.epoch, line.loss) for line in curve
    ]
    assert (good.ended, bad.told) == (True, [])
    warnings = [line for line in read_journal(tmp_path / "run") if line["event"] == "warning"]
    assert [line["reason"] for line in warnings] == [
        "loggers: mlflow: left out after ConnectionError: no network"
    ]


@pytest.mark.parametrize(
    ("nodes", "changes", "expected"),
    [
        ([{"CPU": 8.0}], {}, (1, 8, 0)),
        ([{"CPU": 8.0}], {"workers": 2}, (2, 4, 0)),
        ([{"CPU": 16.0, "GPU": 4.0}], {}, (4, 4, 1)),
        ([{"CPU": 16.0, "GPU": 4.0}] * 2, {}, (8, 4, 1)),
        ([{"CPU": 16.0, "GPU": 4.0}], {"gpus_per_worker": 0}, (1, 16, 0)),
        ([{"CPU": 4.0}] * 2, {"workers": 4, "cpus_per_worker": 1}, (4, 1, 0)),
    ],
)
def test_workers_share_what_the_machines_have(
    tmp_path: Path,
    nodes: list[Mapping[str, float]],
    changes: dict[str, object],
    expected: tuple[int, int, int],
) -> None:
    changed = ("resources.address=local", "resources.cpus_per_worker=auto", "batch_size=16")
    job = plan_in(tmp_path, *changed).job
    with mock.patch.object(ray_train, "nodes", return_value=nodes):
        shape = shape_of(replace(job.recipe.resources, **changes), job)  # type: ignore[arg-type]
    assert (shape.workers, shape.cpus, shape.gpus) == expected


@pytest.mark.parametrize(
    ("nodes", "changes", "error", "message"),
    [
        ([{"CPU": 2.0}], {"workers": 4, "cpus_per_worker": 1}, StudyError, "at most the 2"),
        ([{"CPU": 9.0, "GPU": 3.0}], {}, ConfigError, "batch_size: 8; expected a multiple of 3"),
    ],
)
def test_workers_that_do_not_fit_are_refused(
    tmp_path: Path,
    nodes: list[Mapping[str, float]],
    changes: dict[str, object],
    error: type[Exception],
    message: str,
) -> None:
    job = plan_in(tmp_path, "resources.address=local").job
    resources = replace(job.recipe.resources, cpus_per_worker="auto")
    with (
        mock.patch.object(ray_train, "nodes", return_value=nodes),
        pytest.raises(error, match=message),
    ):
        shape_of(replace(resources, **changes), job)  # type: ignore[arg-type]


def asked_of_ray(folder: Path, *changes: str) -> RunConfig:
    """How Ray Train is asked to run a training."""
    job = plan_in(folder, "resources.address=local", *changes).job
    with mock.patch.object(ray_train, "TorchTrainer") as trainer:
        ray_train.make_trainer(job, Shape(workers=1, cpus=1, gpus=0), mixers=())
    config: RunConfig = trainer.call_args.kwargs["run_config"]
    return config


def test_a_mistake_that_a_worker_finds_is_told_in_its_own_words_and_never_tried_again(
    tmp_path: Path,
) -> None:
    outer = RuntimeError("outer")
    outer.__cause__ = DataError("a.jpg: is broken")
    config = asked_of_ray(tmp_path)
    (callback,) = config.callbacks
    with pytest.raises(DataError, match=r"^a\.jpg: is broken$") as raised:
        callback.after_exception(None, {0: RuntimeError("lost"), 1: outer})
    ended = ControllerError(raised.value)  # as Ray has it of what a callback raises
    policy = create_failure_policy(config.failure_config)
    assert policy.make_decision(ended) == FailureDecision.RAISE
    told = ray_train.training_error(ended, plan_in(tmp_path).job)
    assert (type(told), str(told)) == (DataError, "a.jpg: is broken")


def test_a_lost_worker_is_replaced_and_told_when_it_is_lost_too_often(tmp_path: Path) -> None:
    failures = {0: RuntimeError("two\nlines")}
    config = asked_of_ray(tmp_path, "resources.max_failures=1")
    (callback,) = config.callbacks
    callback.after_exception(None, failures)
    lost = WorkerGroupError("of Ray", failures)
    policy = create_failure_policy(config.failure_config)
    decisions = [policy.make_decision(lost) for _ in range(2)]
    assert decisions == [FailureDecision.RETRY, FailureDecision.RAISE]
    told = str(ray_train.training_error(lost, plan_in(tmp_path).job))
    assert "the workers were lost too often: RuntimeError: two lines; expected --resume" in told


def test_a_device_that_is_not_there_is_found_before_ray_starts(tmp_path: Path) -> None:
    with (
        mock.patch("torch.cuda.is_available", return_value=False),
        pytest.raises(ConfigError, match="device: cuda; this machine has cpu"),
    ):
        plan_in(tmp_path, "device=cuda", "resources.address=local")
    assert not (tmp_path / "run").exists()
