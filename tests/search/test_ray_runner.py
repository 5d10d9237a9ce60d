"""How Ray Tune sees a search, without a cluster where none is needed."""

import copy
import importlib
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.air.execution._internal import actor_manager
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError

from search_tools import evaluate, make_study, write_search
from spach_nas.config.evaluation import EvaluationRequest
from spach_nas.config.search_settings import Resources
from spach_nas.config.search_yaml import load_config
from spach_nas.errors import StudyError
from spach_nas.search import ray as ray_room
from spach_nas.search.ray import session as cluster
from spach_nas.search.ray.ray_patches import mend_ray
from spach_nas.search.ray.runner import stop_on_signals
from spach_nas.search.ray.searcher import FailureStopper, StudySearcher, WorkerTask, loss_reason
from spach_nas.search.ray.session import demand, fitting, ray_session, trial_slots
from spach_nas.study.driver import StudyDriver
from spach_nas.study.records import Record

GIB = 2.0**30


def task_of(suggested: object) -> WorkerTask:
    assert isinstance(suggested, dict)
    return suggested["task"]  # type: ignore[no-any-return]


def searcher_of(
    study: StudyDriver,
    seen: list[Record] | None = None,
    *,
    slots: Callable[[], int] | None = None,
) -> StudySearcher:
    listener = (lambda record: None) if seen is None else seen.append
    return StudySearcher(study, listener, slots=slots, put=lambda data: ("stored", data))


def finish(searcher: StudySearcher, trial_id: str, request: EvaluationRequest) -> None:
    searcher.on_trial_result(trial_id, {"evaluation": evaluate(request)})
    searcher.on_trial_complete(trial_id, {})


def with_parent(study: StudyDriver, parent: Path) -> None:
    """Requests of this study continue from a checkpoint."""
    ask = study.next

    def ask_with_parent() -> object:
        asked = ask()
        return replace(asked, parent=parent) if isinstance(asked, EvaluationRequest) else asked

    study.next = ask_with_parent  # type: ignore[method-assign, assignment]


def test_ray_is_told_to_send_nothing_and_to_leave_signals_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
    }
    for name in wanted:
        monkeypatch.delenv(name, raising=False)
    importlib.reload(ray_room)
    assert {name: os.environ[name] for name in wanted} == wanted


def test_the_adapter_passes_on_what_the_study_says(tmp_path: Path) -> None:
    seen: list[Record] = []
    searcher = searcher_of(make_study(tmp_path, search__trials=1), seen)
    request = task_of(searcher.suggest("a")).request
    assert searcher.suggest("b") is None
    finish(searcher, "a", request)
    assert [record.arch_id for record in seen] == [request.architecture.arch_id]
    assert searcher.suggest("c") == StudySearcher.FINISHED


def test_a_lost_worker_is_asked_again_and_the_reason_told(tmp_path: Path) -> None:
    study, reasons = make_study(tmp_path, search__trials=1), []
    lose = study.lose

    def note(request: EvaluationRequest, reason: str) -> None:
        reasons.append(reason)
        lose(request, reason)

    study.lose = note  # type: ignore[method-assign]
    searcher = searcher_of(study)
    first = task_of(searcher.suggest("a")).request
    searcher.on_trial_complete("a", error=True)
    searcher.explain("a", "its machine burnt down")
    second = task_of(searcher.suggest("b")).request
    searcher.on_trial_complete("b", error=True)  # nobody explains it
    third = task_of(searcher.suggest("c")).request
    assert (first.trial, first.seed) == (second.trial, second.seed) == (third.trial, third.seed)
    assert reasons == ["its machine burnt down", "the worker was lost"]
    assert not study.records


def test_no_more_is_asked_for_than_there_are_slots(tmp_path: Path) -> None:
    free = 2
    searcher = searcher_of(make_study(tmp_path), slots=lambda: free)
    first = task_of(searcher.suggest("a")).request
    assert isinstance(searcher.suggest("b"), dict)
    assert searcher.suggest("c") is None
    finish(searcher, "a", first)
    assert isinstance(searcher.suggest("c"), dict)
    free = 3  # a machine has joined
    assert isinstance(searcher.suggest("d"), dict)


def test_a_checkpoint_travels_as_bytes_until_its_trial_is_over(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    (tmp_path / "parent").write_bytes(b"weights")
    with_parent(study, tmp_path / "parent")
    searcher = searcher_of(study)
    task = task_of(searcher.suggest("a"))
    kept = copy.deepcopy({"task": task})["task"]
    assert kept.checkpoint == ("stored", b"weights")
    finish(searcher, "a", replace(task.request, parent=None))
    assert kept.checkpoint is None


def test_a_worker_does_not_send_a_checkpoint_back(tmp_path: Path) -> None:
    request = task_of(searcher_of(make_study(tmp_path)).suggest("a")).request
    arrived = pickle.loads(pickle.dumps(WorkerTask(request=request, checkpoint="reference")))
    assert (arrived.request, arrived.arrived) == (request, "reference")
    returned = pickle.loads(pickle.dumps(arrived))
    assert (returned.checkpoint, returned.arrived) == (None, None)


def test_a_checkpoint_that_vanished_is_none(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    with_parent(study, tmp_path / "nowhere")
    assert task_of(searcher_of(study).suggest("a")).checkpoint is None


def test_a_failure_to_write_ends_the_search_with_its_own_error(tmp_path: Path) -> None:
    # Tune would take the exception for a failed trial and go on.
    study = make_study(tmp_path)
    full, told = OSError(28, "No space left on device"), []

    def tell(request: EvaluationRequest, evaluation: object) -> Record:
        told.append(request)
        raise full

    study.tell = tell  # type: ignore[method-assign, assignment]
    searcher = searcher_of(study)
    requests = {name: task_of(searcher.suggest(name)).request for name in "ab"}
    for name, request in requests.items():
        finish(searcher, name, request)
    assert searcher.failure is full
    assert len(told) == 1, "after a torn line nothing more may be written"
    assert FailureStopper(searcher).stop_all(), "what runs cannot be kept"
    assert searcher.suggest("c") == StudySearcher.FINISHED


def test_a_failure_to_ask_ends_the_search(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    searcher = searcher_of(study)
    assert not FailureStopper(searcher).stop_all()
    mistake = AssertionError("a mistake of ours")

    def fail() -> None:
        raise mistake

    study.next = fail  # type: ignore[method-assign, assignment]
    assert searcher.suggest("a") == StudySearcher.FINISHED
    assert searcher.failure is mistake


def test_tune_may_pickle_its_searcher(tmp_path: Path) -> None:
    searcher = searcher_of(make_study(tmp_path))
    assert isinstance(pickle.loads(pickle.dumps(searcher)), StudySearcher)


def lost_trial(folder: Path, error: Exception) -> SimpleNamespace:
    """As Tune leaves it: it pickles errors of tasks and actors alone."""
    (folder / "error.txt").write_text(f"Failure # 1\n{error}\n", encoding="utf-8")
    pickled = None
    if isinstance(error, RayTaskError | ActorDiedError):
        pickled = folder / "error.pkl"
        pickled.write_bytes(pickle.dumps(error))
    return SimpleNamespace(error_file=str(folder / "error.txt"), pickled_error_file=pickled)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RayTaskError("train", "Traceback ...", RuntimeError("CUDA error:\nillegal access")),
            "RuntimeError: CUDA error: illegal access",
        ),
        (ActorDiedError(), "ActorDiedError: the worker was lost"),
        (
            OutOfMemoryError("1 worker(s) were killed due to the node running low on memory."),
            "OutOfMemoryError: its machine ran low on memory, and Ray ended the worker",
        ),
        (ValueError("something else"), "the worker was lost"),
    ],
    ids=["evaluator", "killed", "memory", "unknown"],
)
def test_the_reason_of_a_loss_is_one_line(tmp_path: Path, error: Exception, reason: str) -> None:
    assert loss_reason(lost_trial(tmp_path, error)) == reason


def test_tune_takes_a_worker_that_ran_out_of_memory_for_a_lost_one() -> None:
    # Without mending it ends as a whole, with all that runs.
    mend_ray()
    manager = actor_manager.RayActorManager.__new__(actor_manager.RayActorManager)
    manager._failed_actor_ids, told = set(), []
    manager._cleanup_actor = lambda tracked_actor: None
    actor = SimpleNamespace(actor_id=1, _on_error=None)
    task = SimpleNamespace(_tracked_actor=actor, _on_error=lambda *given: told.append(given))
    error = OutOfMemoryError("memory")
    manager._actor_task_failed(task, error)
    assert told == [(actor, error)]


@pytest.mark.parametrize(
    ("node", "asked", "trials"),
    [
        ({"CPU": 8.0}, {"CPU": 1.0}, 8),
        ({"CPU": 8.0}, {"CPU": 3.0}, 2),
        ({"CPU": 0.6}, {"CPU": 0.2}, 3),  # 2.9999999999999996 in floating point
        ({"CPU": 8.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 0.5}, 2),
        ({"CPU": 8.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 0.6}, 2),  # a share lies on one GPU
        ({"CPU": 8.0, "GPU": 4.0}, {"CPU": 1.0, "GPU": 2.0}, 2),
        ({"CPU": 8.0, "GPU": 4.0}, {"CPU": 1.0, "GPU": 1.5}, 0),  # nor does Ray give that
        ({"CPU": 8.0}, {"CPU": 1.0, "GPU": 1.0}, 0),
        ({"CPU": 8.0, "memory": 10 * GIB}, {"CPU": 1.0, "memory": 4 * GIB}, 2),
    ],
)
def test_trials_on_a_node(
    node: Mapping[str, float], asked: Mapping[str, float], trials: int
) -> None:
    assert fitting(node, asked) == trials


@pytest.fixture
def known_nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """What Ray says is there; change it at will."""
    found: list[dict[str, float]] = []
    monkeypatch.setattr(cluster, "nodes", lambda: found)
    return found


def test_slots_add_up_over_nodes_and_follow_their_number(
    known_nodes: list[dict[str, float]],
) -> None:
    known_nodes += [{"CPU": 3.0}, {"CPU": 5.0}]
    now = 0.0
    resources = Resources(cpus_per_trial=2)
    slots = trial_slots(resources, demand(resources), clock=lambda: now)
    assert slots() == 1 + 2, "not (3 + 5) / 2"
    known_nodes += [{"CPU": 4.0}]
    now = 60.0
    assert slots() == 5
    bounded = replace(resources, max_concurrent=2)
    assert trial_slots(bounded, demand(bounded), clock=lambda: now)() == 2


def test_auto_is_a_gpu_where_a_node_has_one(known_nodes: list[dict[str, float]]) -> None:
    known_nodes += [{"CPU": 2.0}]
    assert demand(Resources()) == {"CPU": 1.0}
    known_nodes += [{"CPU": 2.0, "GPU": 1.0}]
    assert demand(Resources()) == {"CPU": 1.0, "GPU": 1.0}
    shares = Resources(cpus_per_trial=0.5, gpus_per_trial=0.25, memory_per_trial=2 * 10**9)
    assert demand(shares) == {"CPU": 0.5, "GPU": 0.25, "memory": 2e9}


@pytest.mark.parametrize(
    ("device", "gpus", "wanted"),
    [("cpu", "auto", {}), ("auto", "auto", {"GPU": 1.0}), ("cuda", 0.5, {"GPU": 0.5})],
)
def test_a_search_on_the_cpu_asks_for_no_gpu(
    known_nodes: list[dict[str, float]],
    tmp_path: Path,
    device: str,
    gpus: str | float,
    wanted: dict[str, float],
) -> None:
    known_nodes += [{"CPU": 2.0, "GPU": 1.0}]
    changes = {"training__device": device, "resources__gpus_per_trial": gpus}
    config = load_config(write_search(tmp_path, **changes))
    assert demand(config.trial_resources) == {"CPU": 1.0, **wanted}


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (
            Resources(gpus_per_trial=2),
            "resources.gpus_per_trial: 2 GPUs for a trial; expected at most the 1 GPU of the "
            "largest node, and a share of one or a whole number",
        ),
        (
            Resources(cpus_per_trial=16, memory_per_trial=5 * 10**9),
            "resources.cpus_per_trial: 16 CPUs for a trial; expected at most the 4 CPUs of the "
            "largest node\nresources.memory_per_trial: 5GB for a trial; expected at most the 2GB "
            "of the largest node",
        ),
        (
            Resources(cpus_per_trial=4, gpus_per_trial=1),
            "resources: 4 CPUs, 1 GPU for a trial; expected what one node has at once",
        ),
    ],
    ids=["gpus", "cpus and memory", "not together"],
)
def test_what_no_node_has_is_told(
    known_nodes: list[dict[str, float]], resources: Resources, message: str
) -> None:
    # Two nodes with a GPU each have no place for a trial that takes two.
    known_nodes += [{"CPU": 4.0, "memory": 2e9}, *[{"CPU": 2.0, "GPU": 1.0, "memory": 1e9}] * 2]
    with pytest.raises(StudyError) as told:
        trial_slots(resources, demand(resources))
    assert str(told.value) == message


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("nonsense", "no host and port"),
        ("127.0.0.1", "no host and port"),
        ("127.0.0.1:1", "Connection refused"),
        ("nowhere.invalid:6379", "(Name|name|Temporary|address)"),
        ("ray://127.0.0.1:10001", "Ray Client is not supported"),
    ],
)
def test_an_address_without_a_cluster_is_told(address: str, why: str) -> None:
    with (
        pytest.raises(StudyError, match=rf"^resources\.address: {address}: .*{why}.*expected `lo"),
        ray_session(Resources(address=address)),
    ):
        pass


def test_a_port_where_no_ray_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        with (
            pytest.raises(StudyError, match=f"{address}: no answer of Ray"),
            ray_session(Resources(address=address)),
        ):
            pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_gently_and_the_second_at_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    study = make_study(tmp_path)
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt), stop_on_signals(study):
        os.kill(os.getpid(), number)
        assert study.stopped
        os.kill(os.getpid(), number)
        threading.Event().wait(5)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no hang-up")
def test_a_terminal_that_hangs_up_stops_gently_however_often_it_is_told(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with stop_on_signals(study):
            os.kill(os.getpid(), signal.SIGHUP)
            assert study.stopped
            os.kill(os.getpid(), signal.SIGHUP)  # by the shell and by the kernel
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with stop_on_signals(study):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, "nohup"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_too_little_address_space_is_told_before_ray_aborts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "address_space", lambda: 6_000_000_000)
    monkeypatch.setattr(cluster.ray, "init", lambda **_: pytest.fail("Ray was started"))
    with (
        pytest.raises(StudyError, match=r"ulimit -v: 6\.0 GB .* expected at least 7 GB"),
        cluster.ray_session(Resources()),
    ):
        pass
