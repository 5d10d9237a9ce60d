"""The document's search with its own mixers: killed, resumed and interrupted, as users do."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
import torch

import spach_nas
from conftest import run_main
from effort import slow
from network_tools import images, randomise
from own_mixer import blocks, forget, write_example
from spach_nas.report.theme import MIXER_COLOURS, mixer_colour
from spach_nas.study.ending import resume_command

MARK = "SPACH_NAS_TEST"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pooled:
    """The example's search, interrupted after some of its 100 trials.

    Attributes:
        home: Where it ran; `lib` in there has the module of the mixers.
        folder: The study.
        code: With which the command ended.
        output: What it printed.
        errors: What it complained of.
    """

    home: Path
    folder: Path
    code: int
    output: str
    errors: list[str]


def write_pooled(home: Path) -> list[str]:
    """The example with more trials, where only the searching process finds its module; a command.

    The workers have to be sent the module.
    """
    write_example(home)
    text = (home / "pooled.yaml").read_text()
    assert "trials: 4" in text
    # One worker starts sooner than two.
    text = text.replace("trials: 4", "trials: 100") + "resources: {max_concurrent: 1}\n"
    (home / "pooled.yaml").write_text(text)
    (home / "lib").mkdir()
    (home / "my_mixers.py").rename(home / "lib" / "my_mixers.py")
    [command] = [line for line in blocks("bash")[0].splitlines() if "search" in line]
    return command.split()[1:]


def search_until(records: int, *arguments: str, home: Path) -> Pooled:
    """Search in this process, which has imported everything, and interrupt it."""
    folder, output = home / "results" / "pooled", io.StringIO()
    with pytest.MonkeyPatch.context() as changes:
        changes.setenv("RAY_prestart_worker_first_driver", "0")
        forget(changes)
        changes.chdir(home)
        sys.path.append("lib")
        with interrupted_after(records, folder=folder), contextlib.redirect_stdout(output):
            code, errors = run_main(*arguments)
    return Pooled(home=home, folder=folder, code=code, output=output.getvalue(), errors=errors)


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Pooled:
    home = tmp_path_factory.mktemp("pooled")
    return search_until(4, *write_pooled(home), home=home)


def kill_after_a_record(arguments: list[str], *, home: Path) -> list[str]:
    """Start a search, kill it and wait for the end of its workers; the records by then."""
    folder = home / "results" / "pooled"
    code = (
        "import sys\nsys.path.append('lib')\nfrom spach_nas.cli import main\n"
        f"sys.argv = ['spach-nas', *{arguments}]\nmain()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=home,
        stdout=subprocess.DEVNULL,
        env={**os.environ, MARK: str(home)},
    )
    try:
        wait_until(lambda: process.poll() is not None or bool(record_lines(folder)))
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    killed = record_lines(folder)
    wait_until(lambda: not any(map(is_worker, Path("/proc").glob("[0-9]*"))))
    return killed


@contextlib.contextmanager
def interrupted_after(records: int, *, folder: Path) -> Iterator[None]:
    """Ctrl-C once a study has so many records, at the latest at the end."""
    over = threading.Event()

    def interrupt() -> None:
        wait_until(lambda: over.is_set() or len(record_lines(folder)) >= records)
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def record_lines(folder: Path) -> list[str]:
    """Those that are whole."""
    path = folder / "records.jsonl"
    if not path.exists():
        return []
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def is_worker(process: Path) -> bool:
    """Whether a process trains for the search that was killed; only Linux tells.

    Two of Ray's own processes, which wait and use nothing, may stay for a minute.
    """
    try:
        ours = f"{MARK}=".encode() in (process / "environ").read_bytes()
        return ours and b"ImplicitFunc" in (process / "cmdline").read_bytes()
    except OSError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.05)


def assert_interrupted(search: Pooled) -> None:
    """It stopped with what was finished, and said how to go on."""
    assert (search.code, search.errors) == (130, [])
    where = search.folder.relative_to(search.home)
    assert f"100 trials into {where}" in search.output
    assert "Stopped before the budget was spent: " in search.output
    with contextlib.chdir(search.home):
        assert f"To go on: {resume_command(where)}" in search.output
    numbers = [record["trial"] for record in records(search)]
    assert sorted(numbers) == list(range(len(numbers))) and len(numbers) < 100
    assert (search.folder / "report.html").is_file()
    assert (search.folder / "best" / "model.safetensors").is_file()


def test_a_search_ends_at_an_interrupt_with_what_is_finished(pooled: Pooled) -> None:
    assert_interrupted(pooled)


@slow
def test_a_killed_search_leaves_no_worker_goes_on_and_ends_at_an_interrupt(tmp_path: Path) -> None:
    arguments = write_pooled(tmp_path)
    killed = kill_after_a_record(arguments, home=tmp_path)
    again = search_until(len(killed) + 1, *arguments, "--resume", home=tmp_path)
    assert f"resuming after {len(killed)} records" in again.output
    assert_interrupted(again)
    lines = record_lines(again.folder)
    assert lines[: len(killed)] == killed and len(lines) > len(killed)


def test_the_search_uses_the_mixers_on_the_workers(pooled: Pooled) -> None:
    found = records(pooled)
    assert len(found) >= 4
    assert all(record["state"] == "complete" for record in found)
    stages = [stage for record in found for stage in record["architecture"]["stages"]]
    used = {name for stage in stages for name in stage["mixers"]}
    assert {"pool", "shift"} <= used
    assert all(("options" in stage) == ("pool" in stage["mixers"]) for stage in stages)
    sizes = {stage["options"]["pool_size"] for stage in stages if "options" in stage}
    assert len(sizes) > 1
    assert json.loads((pooled.folder / "plugins.json").read_text()) == {
        "pool": "my_mixers",
        "shift": "my_mixers",
    }  # attention and conv come with the package


def records(pooled: Pooled) -> list[dict]:
    # Read as plain data: the mixers are not known in this process.
    return [json.loads(line) for line in record_lines(pooled.folder)]


def test_without_the_plugin_a_study_says_what_is_missing(
    pooled: Pooled, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forget(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for arguments in (["report"], ["export", "--out", str(tmp_path / "bundle")]):
        code, lines = run_main(arguments[0], str(pooled.folder), *arguments[1:])
        assert code == 2
        [line] = lines
        assert line.startswith(f"{pooled.folder}: needs plugins for 'pool', 'shift'")
        assert line.endswith("expected --plugin my_mixers, or in Python import my_mixers")


def test_the_report_shows_the_mixers_in_colours_of_their_own(
    pooled: Pooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(monkeypatch)
    monkeypatch.chdir(pooled.home / "lib")
    page = pooled.folder / "report.html"
    page.unlink()
    assert run_main("report", str(pooled.folder), "--plugin", "my_mixers") == (0, [])
    colours = {mixer_colour(name) for name in ("pool", "shift")}
    assert len(colours) == 2 and colours.isdisjoint(MIXER_COLOURS.values())
    text = page.read_text()
    for name in ("pool", "shift"):
        assert re.search(rf"\b{name}\d", text), "drawn layouts name it"
        assert mixer_colour(name) in text


def test_the_bundle_loads_here_and_in_timm_with_equal_outputs(
    pooled: Pooled, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forget(monkeypatch)
    monkeypatch.chdir(pooled.home / "lib")
    bundle = tmp_path / "bundle"
    # `pool` in the first stage, wherever the search found its best.
    trial = next(
        str(record["trial"])
        for record in records(pooled)
        if "pool" in str(record["architecture"])
        and (pooled.folder / "checkpoints" / f"{record['proxy_id']}-0.safetensors").is_file()
    )
    arguments = (str(pooled.folder), "--out", str(bundle), "--pick", trial, "--plugin", "my_mixers")
    code, told = run_main("export", *arguments, "--formats", "safetensors")
    assert code == 0 and all("samples.npz" in line for line in told)
    card = (bundle / "README.md").read_text()
    assert "import my_mixers" in card
    ours = spach_nas.load_model(bundle)
    theirs = timm.create_model(f"local-dir:{bundle}", pretrained=True).eval()
    for network in (ours, theirs):
        before = {name: value.clone() for name, value in network.state_dict().items()}
        assert torch.equal(before["head.weight"], ours.state_dict()["head.weight"])
        assert before["head.weight"].abs().sum() > 0, "the trained weights"
    x = images(ours.architecture)
    assert torch.equal(ours(x), theirs(x))
    randomise(ours)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours.forward_features(x), theirs.forward_features(x))
    assert run_main("cost", str(bundle / "architecture.yaml"), "--plugin", "my_mixers") == (0, [])
