import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from conftest import run_main
from documents import DOCS, blocks
from search_tools import evaluate, write_search
from spach_nas.config import plugins
from spach_nas.config.evaluation import EvaluationRequest
from spach_nas.config.logger_registry import LOGGERS, LoggerSpec, register_logger
from spach_nas.config.plugins import load_plugins
from spach_nas.errors import ConfigError, PluginError
from spach_nas.search import loggers, run
from spach_nas.search.loggers import (
    LogEntry,
    Loggers,
    MLflow,
    TensorBoard,
    WandB,
    check_packages,
    has_wandb_key,
    record_entries,
)
from spach_nas.study.driver import StudyDriver
from spach_nas.study.ending import resume_command
from spach_nas.study.journal import read_journal
from spach_nas.study.results import open_study
from study_factory import make_record


class Recorder:
    """A logger that keeps what it is told."""

    def __init__(self, *, fails_at: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._fails_at = fails_at

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if call[0] == self._fails_at:
            raise ConnectionError("no network\nat all")

    def begin(self, study: str, folder: Path) -> None:
        self._note("begin", study, folder)

    def log(self, entry: LogEntry) -> None:
        self._note("log", entry)

    def end(self) -> None:
        self._note("end")


def told(recorder: Recorder, kind: str) -> list[tuple[Any, ...]]:
    return [call[1:] for call in recorder.calls if call[0] == kind]


def test_a_logger_gets_every_record_as_a_run_with_its_epochs(tmp_path: Path) -> None:
    recorder = Recorder()
    group = Loggers({"own": lambda: recorder}, study="small", folder=tmp_path)
    good, bad = make_record(4, 0.75, rung=1), make_record(5, None)
    group.record(good)
    group.record(bad)
    group.close()
    assert recorder.calls[0] == ("begin", "small", tmp_path / "logs" / "own")
    assert [call[0] for call in recorder.calls[1:]] == ["log"] * (len(good.curve) + 1) + ["end"]
    entries = [entry for (entry,) in told(recorder, "log")]
    own = [entry for entry in entries if entry.run == "trial-4-rung-1"]
    assert [entry.figures["accuracy"] for entry in own] == [e.accuracy for e in good.curve]
    assert [entry.epoch for entry in own] == [1, 2, 3, 4, 5, 6]
    assert [entry.state for entry in own] == ["running"] * 5 + ["complete"]
    assert own[-1].figures["seconds"] == pytest.approx(sum(e.seconds for e in good.curve))
    assert own[0].figures["target_macs"] == good.target_cost.macs
    assert own[0].params["stage4_mixers"] == ",".join(good.architecture.stages[3].mixers)
    assert own[0].params["rung"] == 1
    assert json.loads(json.dumps(own[0].params)) == own[0].params, "plain values alone"
    assert (entries[-1].run, entries[-1].state) == ("trial-5-rung-0", "failed")
    again = Loggers({}, study="small", folder=tmp_path)
    assert again.run_id("trial-4-rung-1") != own[0].run_id, "a resumed search has other runs"


@pytest.mark.parametrize("moment", ["begin", "log", "end"])
def test_a_logger_that_fails_is_left_out_with_one_warning(tmp_path: Path, moment: str) -> None:
    broken, sound = Recorder(fails_at=moment), Recorder()
    makers = {"broken": lambda: broken, "sound": lambda: sound}
    group = Loggers(makers, study="small", folder=tmp_path)
    for trial in range(3):
        group.record(make_record(trial, 0.5))
    group.close()
    ends = [entry.state for (entry,) in told(sound, "log") if entry.state != "running"]
    assert ends == ["complete"] * 3
    assert len(told(broken, moment)) == 1
    (line,) = read_journal(tmp_path)
    assert line["event"] == "warning"
    assert line["reason"] == "callbacks: broken: left out after ConnectionError: no network at all"


def test_the_search_does_not_wait_for_a_logger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers, "PATIENCE", 0.01)
    gate = threading.Event()

    class Slow(Recorder):
        def begin(self, study: str, folder: Path) -> None:
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


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches that make up their scores, without Ray and without a report."""

    def run_study(study: StudyDriver, *_: Any, on_record: Any, **__: Any) -> None:
        while isinstance(request := study.next(), EvaluationRequest):
            on_record(study.tell(request, evaluate(request)))

    monkeypatch.setattr(run, "ray_session", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(run, "run_study", run_study)
    monkeypatch.setattr(run, "finish", lambda _: None)


def test_a_search_hands_its_records_to_a_logger_of_the_caller(tmp_path: Path, no_ray: None) -> None:
    recorder = Recorder()
    path, folder = write_search(tmp_path, search__trials=2), tmp_path / "study"
    study = run.search(path, out=folder, loggers={"mine": lambda: recorder})
    assert [entry.run for (entry,) in told(recorder, "log")] == ["trial-0-rung-0", "trial-1-rung-0"]
    assert len(study.records) == 2
    assert recorder.calls[-1] == ("end",)


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the module of the documentation that registers a logger."""
    monkeypatch.setattr(LOGGERS, "known", dict(LOGGERS))
    monkeypatch.setattr(plugins, "brought_in", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "my_loggers", sys)
    monkeypatch.delitem(sys.modules, "my_loggers")
    monkeypatch.chdir(tmp_path)
    text = next(item.text for item in blocks(DOCS / "search.md") if item.file == "my_loggers.py")
    (tmp_path / "my_loggers.py").write_text(text)
    return tmp_path


def test_the_logger_of_a_plugin_is_named_in_the_yaml(
    lines: Path, no_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = write_search(lines, search__trials=1, callbacks=["lines"]), lines / "study"
    with pytest.raises(ConfigError, match=r"callbacks\[0\]: 'lines'; expected .* or wandb, or one"):
        run.search(path, out=folder)
    load_plugins(["my_loggers"])
    run.search(path, out=folder)
    text = (folder / "logs" / "lines" / "lines.txt").read_text()
    assert text.startswith("trial-0-rung-0 1 {")
    assert resume_command(folder).endswith(" --resume --plugin my_loggers")
    del LOGGERS.known["lines"]
    with pytest.raises(PluginError, match="for 'logger lines'; expected --plugin my_loggers"):
        open_study(folder)


def test_a_class_that_is_nowhere_stops_a_search_before_its_folder_is_made(lines: Path) -> None:
    register_logger(LoggerSpec(name="lost", factory="my_loggers:Nowhere"))
    path, folder = write_search(lines, callbacks=["lost"]), lines / "study"
    with pytest.raises(PluginError, match="logger 'lost': 'my_loggers:Nowhere' cannot be imported"):
        run.search(path, out=folder)
    assert not folder.exists()


def test_without_loggers_nothing_is_started(tmp_path: Path) -> None:
    before = threading.active_count()
    group = Loggers({}, study="small", folder=tmp_path)
    group.record(make_record(0, 0.5))
    assert threading.active_count() == before
    group.close()
    assert not (tmp_path / "logs").exists()


def test_tensorboard_gets_curves_and_parameters(tmp_path: Path) -> None:
    group = Loggers({"tensorboard": TensorBoard}, study="small", folder=tmp_path)
    record = make_record(7, 0.8)
    group.record(record)
    group.record(make_record(8, None))
    group.log(LogEntry(run="open", run_id="open-1", params={"seed": 1}, epoch=1, figures={"a": 2}))
    group.close()
    assert read_journal(tmp_path) == ()
    folder = tmp_path / "logs" / "tensorboard" / "trial-7-rung-0"
    events = list(_events(folder))
    curve = [
        (event.step, item.simple_value)
        for event in events
        for item in event.summary.value
        if item.tag == "accuracy"
    ]
    expected = [(step, pytest.approx(e.accuracy)) for step, e in enumerate(record.curve, 1)]
    assert curve == expected
    tags = {item.tag for event in events for item in event.summary.value}
    assert {"loss", "target_macs", "_hparams_/session_start_info"} <= tags
    for name in ("trial-8-rung-0", "open"):
        last = list(_events(tmp_path / "logs" / "tensorboard" / name))[-1]
        assert last.summary.value[0].tag == "_hparams_/session_end_info", "it is closed"


def _events(folder: Path) -> Iterator[Event]:
    (path,) = folder.glob("events.out.tfevents.*")
    data = path.read_bytes()
    place = 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 8], "little")
        yield Event.FromString(data[place + 12 : place + 12 + size])
        place += 16 + size


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_package_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    package = {"tensorboard": "tensorboardX"}.get(name, name)
    with pytest.raises(ConfigError) as caught:
        check_packages([name], key="callbacks")
    assert str(caught.value) == (
        f"callbacks: {name}: needs the package {package}; expected `pip install {package}`"
    )
    check_packages([], key="callbacks")


def test_a_missing_package_stops_a_search_before_its_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    path = write_search(tmp_path, callbacks=["wandb", "mlflow"])
    code, lines = run_main("search", str(path), "--out", str(tmp_path / "study"))
    assert (code, len(lines)) == (2, 2)
    assert all(line.startswith(f"{path}: callbacks: ") for line in lines)
    assert not (tmp_path / "study").exists()


class Calls:
    """Stands for a package that is not installed here, and keeps what is called."""

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._answers = answers or {}

    def __getattr__(self, name: str) -> Any:
        def call(*positional: Any, **named: Any) -> Any:
            self.calls.append((name, positional, named))
            return self._answers.get(name)

        return call

    def of(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [call[1:] for call in self.calls if call[0] == name]


class Fake:
    """A value with any attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Calls:
    client = Calls({"create_experiment": "7", "create_run": Fake(info=Fake(run_id="r"))})
    client.uri = None

    def make(*, tracking_uri: str) -> Calls:
        client.uri = tracking_uri
        return client

    module, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    module.__dict__.update(MlflowClient=make)
    entities.__dict__.update(
        Metric=lambda *values: (values[0], values[1], values[3]), Param=lambda *pair: pair
    )
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return client


def test_mlflow_gets_a_run_for_each_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow: Calls
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "logs" / "mlflow"
    logger, record = MLflow(), make_record(7, 0.8)
    logger.begin("small", folder)
    assert mlflow.uri == f"sqlite:///{folder / 'mlflow.db'}"
    assert folder.is_dir()
    for entry in (
        *record_entries(record, run_id="a"),
        *record_entries(make_record(8, None), run_id="b"),
    ):
        logger.log(entry)
    logger.end()
    assert mlflow.of("create_run") == [
        (("7",), {"run_name": name}) for name in ("trial-7-rung-0", "trial-8-rung-0")
    ]
    batches = [named for _, named in mlflow.of("log_batch")]
    assert ("accuracy", record.curve[1].accuracy, 2) in batches[1]["metrics"]
    assert ("arch_id", record.arch_id) in batches[0]["params"]
    assert batches[1]["params"] == []
    states = [named["status"] for _, named in mlflow.of("set_terminated")]
    assert states == ["FINISHED", "FAILED"]


def test_mlflow_writes_to_the_server_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow: Calls
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    MLflow().begin("small", tmp_path / "logs")
    assert mlflow.uri == "http://server:5000"
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(("said", "mode"), [("", "offline"), ("online", "online")])
def test_weights_and_biases_stays_offline_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, mode: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", said)
    monkeypatch.delenv("WANDB_PROJECT_NAME", raising=False)
    monkeypatch.setattr(loggers, "has_wandb_key", lambda: False)
    run = Calls()
    wandb = Calls({"init": run})
    monkeypatch.setitem(sys.modules, "wandb", wandb)  # type: ignore[arg-type]
    logger = WandB()
    logger.begin("small", tmp_path)
    for entry in record_entries(make_record(7, 0.8), run_id="trial-7-x"):
        logger.log(entry)
    ((_, named),) = wandb.of("init")
    assert (named["project"], named["group"], named["id"]) == ("small", "small", "trial-7-x")
    assert named["mode"] == mode
    assert [named["step"] for _, named in run.of("log")] == list(
        range(1, 1 + len(make_record(7, 0.8).curve))
    )
    assert run.of("finish") == [((), {"exit_code": 0})]


def test_weights_and_biases_goes_online_only_with_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    netrc.touch(mode=0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert not has_wandb_key()
    netrc.write_text("machine api.wandb.ai login user password secret\n")
    assert has_wandb_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_wandb_key()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert has_wandb_key()
