"""One small real search that many tests look at."""

import atexit
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from filelock import FileLock

from search_tools import write_search
from spach_nas.cli import main

# Several threads for networks this small only get in each other's way: 10 times slower on a busy
# machine. Read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing of the tests is left in the user's cache, and nothing there is read.
if "PYTEST_XDIST_WORKER" not in os.environ:  # which inherit it
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="spach-nas-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A search that ran to its end as a user runs it.

    Attributes:
        yaml: The search YAML.
        folder: The study.
        output: What the command printed.
    """

    yaml: Path
    folder: Path
    output: str


def run_command(
    *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The installed command, as a process of its own."""
    command = [sys.executable, "-m", "spach_nas", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=200)


def run_main(*arguments: str) -> tuple[int, list[str]]:
    """The command in this process, for speed; exit code and lines of standard error."""
    errors = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["spach-nas", *arguments]),
        # What takes long on a slow machine is told on standard error.
        mock.patch("spach_nas.doing.LONG_S", 1e6),
        contextlib.redirect_stderr(errors),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, errors.getvalue().splitlines()


@pytest.fixture(scope="session")
def finished_search(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Six trials on Ray, two at a time; made once for all processes of `-n`. Not to be changed."""
    own = tmp_path_factory.getbasetemp()
    home = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "search"
    output = home / "output.txt"
    with FileLock(f"{home}.lock"):
        if not output.is_file():
            home.mkdir(exist_ok=True)
            path = write_search(home, search__trials=6)
            done = run_command("search", path, cwd=home)
            assert done.returncode == 0, done.stderr
            assert done.stderr == "", "nothing but the result is printed"
            output.write_text(done.stdout, encoding="utf-8")
    return Finished(
        yaml=home / "small.yaml",
        folder=home / "results" / "small",
        output=output.read_text(encoding="utf-8"),
    )
