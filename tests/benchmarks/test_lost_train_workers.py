"""Workers of Ray Train that are killed, or that find a mistake, in whole runs of `spach-nas train`.

Off by default, since Ray, its controller and each worker take seconds to start;
`pytest -m benchmark tests/benchmarks/test_lost_train_workers.py` takes a minute at most.
"""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import pytest

from conftest import run_main
from full_tools import STREAMED, curve_figures, plan_in, write_architecture, write_images
from spach_nas.cli import training_view as session
from spach_nas.config.search_settings import Resources
from spach_nas.full_size import ray_train
from spach_nas.full_size.training_run import run_training
from spach_nas.search.ray.session import ray_session
from spach_nas.training.checkpoint import LAST

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(600),
    # Ray Train sets up a data library of its own, which is not used, by deprecated options.
    pytest.mark.filterwarnings("ignore:.use_:DeprecationWarning"),
]
CHANGES = (*STREAMED, "checkpoint_steps=1", "resources.address=local", "resources.max_failures=3")
TITLE = b"RayTrainWorker"


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    """Ray on this machine, started once for all trainings here."""
    # Beside other work on this machine, workers at Ray's own niceness of 15 would hardly start.
    with (
        mock.patch.dict(os.environ, {"RAY_worker_niceness": "0"}),
        ray_session(Resources(address="local")),
        mock.patch.object(ray_train, "ray_session", lambda *_: nullcontext()),
    ):
        yield


def title_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def parent_of(process: int) -> int:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def workers() -> set[int]:
    """Processes of Ray Train's workers that descend from this one, without their own children."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        process = ancestor = int(path.name)
        if TITLE not in title_of(process) or TITLE in title_of(parent_of(process)):
            continue
        while ancestor not in (0, os.getpid()):
            ancestor = parent_of(ancestor)
        if ancestor:
            found.add(process)
    return found


@contextmanager
def watched(*, kill_at: Path | None = None) -> Iterator[list[int]]:
    """The workers that come to life, in order; the first is killed once a file is there."""
    seen: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            seen.extend(sorted(workers() - set(seen)))
            if seen and kill_at is not None:
                break
        while kill_at is not None and not kill_at.exists() and not ended.wait(0.001):
            pass
        if seen and kill_at is not None:
            os.kill(seen[0], signal.SIGKILL)
        while not ended.wait(0.1):
            seen.extend(sorted(workers() - set(seen)))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def arguments(folder: Path, data: Path) -> list[str]:
    changes = [part for change in CHANGES for part in ("--set", change)]
    source = write_architecture(folder)
    return ["train", str(source), "--data", str(data), "--out", str(folder / "run"), *changes]


def test_a_killed_worker_is_replaced_and_the_curve_is_that_of_an_uninterrupted_run(
    tmp_path: Path,
) -> None:
    data = write_images(tmp_path / "images")
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    run_training(plan_in(here, "checkpoint_steps=1", data=data))
    with watched(kill_at=there / "run" / LAST) as seen:
        assert run_main(*arguments(there, data)) == (0, [])
    assert len(seen) == 2, "one was killed, one took its place"
    assert len(curve_figures(here / "run")) == 3
    assert curve_figures(there / "run") == curve_figures(here / "run")


def test_a_mistake_that_a_worker_finds_ends_the_training_at_once(tmp_path: Path) -> None:
    data = write_images(tmp_path / "images")
    train = session.run_training

    def without_validation(*arguments: object) -> object:
        shutil.rmtree(data / "val")  # after all checks
        return train(*arguments)  # type: ignore[arg-type]

    with mock.patch.object(session, "run_training", without_validation), watched() as seen:
        code, errors = run_main(*arguments(tmp_path, data))
    assert code == 2
    assert len(errors) == 1 and "images: has no val/ or validation/ next to train/" in errors[0]
    assert len(seen) == 1, "nobody tried again"
