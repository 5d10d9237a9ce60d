"""A Ray of this machine alone starts, or says why it does not; without starting one."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray._private import node, services

from spach_nas.config.search_settings import Resources
from spach_nas.errors import StudyError
from spach_nas.search.ray import ray_paths
from spach_nas.search.ray import session as cluster
from spach_nas.search.ray.ray_patches import fewer_processes, mend_ray
from spach_nas.search.ray.ray_paths import shared_memory, temporary_folder
from spach_nas.search.ray.session import ray_session

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such sockets")
# As Ray names its longest one, with the most digits that a process has.
SOCKET = "/session_2026-11-28_18-52-51_442776_4194304/sockets/plasma_store"


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Where a folder is looked for, by the words before it; to be filled."""
    found: dict[str, Path] = {}
    monkeypatch.setattr(ray_paths, "possible_places", lambda: found.items())
    monkeypatch.setattr(ray_paths, "LONGEST", 200)  # folders of tests have long names
    return found


@posix
def test_a_short_folder_is_chosen_where_the_own_one_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("a" * 60, "é"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv("TMPDIR", str(tmp_path / name))
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        found = temporary_folder()
        assert found is not None and found.is_dir()
        assert tmp_path not in found.parents
        assert len(f"{found}{SOCKET}") <= 103, "the shortest limit, that of macOS"


@posix
def test_the_first_place_that_serves_is_taken(places: dict[str, Path], tmp_path: Path) -> None:
    for name in ("é", "own", "later"):
        (tmp_path / name).mkdir()
    places |= {
        "": tmp_path / "missing",
        "TMPDIR=": tmp_path / "é",
        "RAY_TMPDIR=": tmp_path / "own",
        " ": tmp_path / "later",
    }
    assert temporary_folder() == tmp_path / "own" / "ray"
    # Somebody else's, as on a machine that many share.
    (tmp_path / "own" / "ray").rmdir()
    (tmp_path / "own" / "ray").touch()
    assert temporary_folder() == tmp_path / "own" / f"ray-{os.getuid()}"


@posix
def test_why_no_place_serves_is_told(places: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "é").mkdir()
    places |= {
        "RAY_TMPDIR=": tmp_path / "missing",
        "TMPDIR=": tmp_path / "é",
        "": tmp_path / ("b" * 200),
    }
    with pytest.raises(StudyError) as told:
        temporary_folder()
    assert str(told.value).startswith(
        f"ray: no folder for its sockets: RAY_TMPDIR={tmp_path}/missing: no such file or "
        f"directory; TMPDIR={tmp_path}/é: is not ASCII, which Ray cannot read; "
        f"{tmp_path}/{'b' * 200}: is too long for the names of sockets; expected RAY_TMPDIR"
    )


@pytest.mark.parametrize("there", [True, False], ids=["there", "missing"])
def test_images_lie_in_shared_memory_where_there_is_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: bool
) -> None:
    monkeypatch.setattr(ray_paths.sys, "platform", "linux")
    monkeypatch.setattr(ray_paths, "SHARED_MEMORY", tmp_path if there else tmp_path / "missing")
    options = shared_memory(10**6, temporary=tmp_path)
    assert options["object_store_memory"] == 10**6 + 256 * 2**20
    assert ("_plasma_directory" in options) is not there
    # More than the disk has.
    assert shared_memory(2**60, temporary=tmp_path)["_plasma_directory"] == str(tmp_path)


class FakeRay:
    """Stands for Ray's `init` and `shutdown`; counts them."""

    def __init__(self, problem: Exception | None = None, *, initialized: bool = False) -> None:
        self.problem = problem
        self.initialized = initialized
        self.begun: list[Mapping[str, Any]] = []
        self.ended = 0

    def init(self, **options: Any) -> None:
        self.begun.append(options)
        if self.problem is not None:
            raise self.problem
        self.initialized = True

    def shutdown(self) -> None:
        self.ended += 1
        self.initialized = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeRay":
        monkeypatch.setattr(ray, "init", self.init)
        monkeypatch.setattr(ray, "shutdown", self.shutdown)
        monkeypatch.setattr(ray, "is_initialized", lambda: self.initialized)
        context = SimpleNamespace(gcs_address="127.0.0.1:6379")
        monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
        return self


def test_ray_gets_the_cores_of_this_process_and_no_dashboard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "cores", lambda: 3)
    fake = FakeRay().install(monkeypatch)
    with ray_session(Resources()):
        (options,) = fake.begun
        assert options["num_cpus"] == 3
        assert options["include_dashboard"] is False
        assert not fake.ended
    assert fake.ended == 1


@pytest.mark.parametrize(
    "problem",
    [
        OSError("AF_UNIX path length cannot exceed 107 bytes"),
        Exception("The current node timed out during startup."),
        AssertionError(),
    ],
)
def test_the_cause_is_told_where_ray_does_not_start(
    monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    fake = FakeRay(problem).install(monkeypatch)
    with (
        pytest.raises(StudyError, match=r"^ray: does not start on this machine: ") as told,
        ray_session(Resources()),
    ):
        pytest.fail("it has not started")
    assert f"{type(problem).__name__}{': ' if str(problem) else ''}{problem}" in str(told.value)
    assert "resources.address" not in str(told.value)
    assert fake.ended == 1, "what had started by then"


@pytest.mark.parametrize("address", ["local", "auto", "127.0.0.1:6379"])
def test_a_ray_of_the_process_is_joined_and_left_running(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    fake = FakeRay(initialized=True).install(monkeypatch)
    with ray_session(Resources(address=address)):
        pass
    assert (fake.begun, fake.ended) == ([], 0)


def test_another_cluster_than_that_of_the_process_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FakeRay(initialized=True).install(monkeypatch)
    with (
        pytest.raises(StudyError, match=r"10\.0\.0\.1:1: this process is connected to the Ray at"),
        ray_session(Resources(address="10.0.0.1:1")),
    ):
        pytest.fail("it is another one")


def test_a_second_search_in_a_thread_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay().install(monkeypatch)
    told: list[StudyError] = []

    def second() -> None:
        try:
            with ray_session(Resources()):
                pytest.fail("Ray Tune has one place in a process")
        except StudyError as problem:
            told.append(problem)

    with ray_session(Resources()):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(10)
        assert fake.initialized, "the first one goes on"
    assert "another search or training runs in this process; expected one" in str(told[0])
    with ray_session(Resources()):
        assert len(fake.begun) == 2, "one after the other is no fault"


def test_no_process_of_the_dashboard_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    # A release without it would start one again: this is to be looked at then.
    started: list[object] = []

    def start(*options: object, **_: object) -> tuple[str, None]:
        started.append(options[0])
        return "", None

    monkeypatch.setattr(services, "start_api_server", start)
    mend_ray()
    mend_ray()
    head = SimpleNamespace(
        all_processes={},
        get_log_file_names=lambda *_, **__: ("", ""),
        _ray_params=SimpleNamespace(dashboard_host="", dashboard_port=0, proxy_server_url=""),
        cluster_id=SimpleNamespace(hex=str),
        **dict.fromkeys(["gcs_address", "_node_ip_address", "temp_dir", "_logs_dir"], ""),
        **dict.fromkeys(["_session_dir", "kernel_fate_share", "max_bytes", "backup_count"], ""),
    )
    begin = node.Node.start_api_server
    begin(head, include_dashboard=False, raise_on_failure=False)
    assert started == []
    begin(head, include_dashboard=True, raise_on_failure=False)
    assert started == [True], "whoever wants it has it"


def test_no_log_monitor_and_no_autoscaler_are_started_meanwhile() -> None:
    names = ("start_log_monitor", "start_monitor")
    before = [getattr(node.Node, name) for name in names]
    head = SimpleNamespace()
    with fewer_processes():
        for name in names:
            getattr(node.Node, name)(head)  # would fail for want of everything
    assert [getattr(node.Node, name) for name in names] == before, (
        "a Ray of the user's own has them"
    )
