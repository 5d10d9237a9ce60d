import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from conftest import run_main
from search_tools import write_search
from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.errors import ConfigError
from spach_nas.search.ray import logger_choice, loggers
from spach_nas.search.ray.logger_choice import check_callbacks, make_loggers
from spach_nas.search.ray.loggers import Loggers
from spach_nas.study.journal import read_journal
from study_factory import make_record


class Recorder:
    """A callback that keeps what it is told."""

    def __init__(self, *, fails_at: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._fails_at = fails_at

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if call[0] == self._fails_at:
            raise ConnectionError("no network\nat all")

    def setup(self) -> None:
        self._note("setup")

    def log_trial_start(self, trial: Any) -> None:
        self._note("start", str(trial), dict(trial.config))

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        self._note("result", str(trial), iteration, result)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        self._note("end", str(trial), failed)

    def on_experiment_end(self, trials: list[Any]) -> None:
        self._note("over")


def told(recorder: Recorder, kind: str) -> list[tuple[Any, ...]]:
    return [call[1:] for call in recorder.calls if call[0] == kind]


def config(tmp_path: Path, *names: str) -> SearchConfig:
    return load_config(write_search(tmp_path, callbacks=list(names)))


def test_a_callback_gets_every_record_as_a_trial_with_its_epochs(tmp_path: Path) -> None:
    recorder = Recorder()
    group = Loggers({"own": lambda: recorder}, study="small", folder=tmp_path)
    good, bad = make_record(4, 0.75, rung=1), make_record(5, None)
    group.record(good)
    group.record(bad)
    group.close()
    assert [call[0] for call in recorder.calls] == [
        *("setup", "start"),
        *["result"] * len(good.curve),
        *("end", "start", "result", "end", "over"),
    ]
    assert told(recorder, "end") == [("trial-4-rung-1", False), ("trial-5-rung-0", True)]
    results = [call[2] for call in told(recorder, "result") if call[0] == "trial-4-rung-1"]
    assert [item["accuracy"] for item in results] == [epoch.accuracy for epoch in good.curve]
    assert [item["training_iteration"] for item in results] == [1, 2, 3, 4, 5, 6]
    assert results[-1]["time_total_s"] == pytest.approx(sum(e.seconds for e in good.curve))
    assert results[0]["target_macs"] == good.target_cost.macs
    (_, plain), _ = told(recorder, "start")
    assert plain["stage4_mixers"] == ",".join(good.architecture.stages[3].mixers)
    assert plain["rung"] == 1
    assert json.loads(json.dumps(plain)) == plain, "plain values alone"


@pytest.mark.parametrize("moment", ["setup", "start", "result", "end", "over"])
def test_a_logger_that_fails_is_left_out_with_one_warning(tmp_path: Path, moment: str) -> None:
    broken, sound = Recorder(fails_at=moment), Recorder()
    makers = {"broken": lambda: broken, "sound": lambda: sound}
    group = Loggers(makers, study="small", folder=tmp_path)
    for trial in range(3):
        group.record(make_record(trial, 0.5))
    group.close()
    assert len(told(sound, "end")) == 3
    assert len(told(broken, moment)) == 1
    (line,) = read_journal(tmp_path)
    assert line["event"] == "warning"
    assert line["reason"] == "callbacks: broken: left out after ConnectionError: no network at all"


def test_the_search_does_not_wait_for_a_logger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers, "_PATIENCE", 0.01)
    gate = threading.Event()

    class Slow(Recorder):
        def setup(self) -> None:
            gate.wait(60)

    slow = Slow()
    group = Loggers({"slow": lambda: slow}, study="small", folder=tmp_path)
    group.record(make_record(0, 0.5))
    group.close()
    assert slow.calls == [], "nothing has been waited for"
    assert "not done within" in read_journal(tmp_path)[0]["reason"]
    gate.set()
    _join()


def _join() -> None:
    for thread in threading.enumerate():
        if thread.name == "loggers":
            thread.join(60)


def test_tensorboard_gets_curves_and_parameters(tmp_path: Path) -> None:
    group = make_loggers(config(tmp_path, "tensorboard"), tmp_path)
    record = make_record(7, 0.8)
    group.record(record)
    group.record(make_record(8, None))
    group.close()
    assert read_journal(tmp_path) == ()
    folder = tmp_path / "logs" / "tensorboard" / "trial-7-rung-0"
    events = list(_events(folder))
    curve = [
        (event.step, item.simple_value)
        for event in events
        for item in event.summary.value
        if item.tag == "ray/tune/accuracy"
    ]
    expected = [(step, pytest.approx(e.accuracy)) for step, e in enumerate(record.curve, 1)]
    assert curve == expected
    tags = {item.tag for event in events for item in event.summary.value}
    assert {"ray/tune/loss", "ray/tune/target_macs", "_hparams_/session_start_info"} <= tags
    assert list(_events(tmp_path / "logs" / "tensorboard" / "trial-8-rung-0"))


def _events(folder: Path) -> Iterator[Event]:
    (path,) = folder.glob("events.out.tfevents.*")
    data = path.read_bytes()
    place = 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 8], "little")
        yield Event.FromString(data[place + 12 : place + 12 + size])
        place += 16 + size


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_package_that_is_missing_is_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(logger_choice, "find_spec", lambda _: None)
    package = {"tensorboard": "tensorboardX"}.get(name, name)
    with pytest.raises(ConfigError) as caught:
        make_loggers(config(tmp_path, name), tmp_path)
    assert str(caught.value) == (
        f"callbacks: {name}: needs the package {package}; expected `pip install {package}`"
    )
    check_callbacks(config(tmp_path))


def test_without_callbacks_nothing_is_started(tmp_path: Path) -> None:
    before = threading.active_count()
    group = make_loggers(config(tmp_path), tmp_path)
    group.record(make_record(0, 0.5))
    assert threading.active_count() == before
    group.close()
    assert not (tmp_path / "logs").exists()


def test_weights_and_biases_goes_online_only_with_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    netrc.touch(mode=0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert not logger_choice._has_wandb_key()
    netrc.write_text("machine api.wandb.ai login user password secret\n")
    assert logger_choice._has_wandb_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not logger_choice._has_wandb_key()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert logger_choice._has_wandb_key()


class StandIn:
    """In the place of a callback whose package is not installed here."""

    def __init__(self, **options: Any) -> None:
        self.options = options


def made(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the callback of Ray is made with."""
    module = ModuleType(f"ray.air.integrations.{name}")
    module.__dict__.update(MLflowLoggerCallback=StandIn, WandbLoggerCallback=StandIn)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    options: dict[str, Any] = logger_choice.make_callback(name, "small", folder).options
    return options


def test_mlflow_writes_into_the_study_unless_told_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = tmp_path / "logs" / "mlflow" / "mlflow.db"
    assert made("mlflow", tmp_path, monkeypatch) == {
        "tracking_uri": f"sqlite:///{path}",
        "experiment_name": "small",
    }
    assert path.parent.is_dir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert made("mlflow", tmp_path, monkeypatch)["tracking_uri"] == "http://server:5000"


def test_weights_and_biases_stays_offline_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "")
    monkeypatch.delenv("WANDB_PROJECT_NAME", raising=False)
    monkeypatch.setattr(logger_choice, "_has_wandb_key", lambda: False)
    assert made("wandb", tmp_path, monkeypatch) == {"project": "small", "mode": "offline"}
    assert os.environ["WANDB_MODE"] == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    assert made("wandb", tmp_path, monkeypatch)["mode"] == "online"


def test_a_missing_package_stops_a_search_before_its_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger_choice, "find_spec", lambda _: None)
    path = write_search(tmp_path, callbacks=["wandb", "mlflow"])
    code, lines = run_main("search", str(path), "--out", str(tmp_path / "study"))
    assert (code, len(lines)) == (2, 2)
    assert all(line.startswith(f"{path}: callbacks: ") for line in lines)
    assert not (tmp_path / "study").exists()
