"""The tutorials, done as a reader does them: every file written, every command run."""

import doctest
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from documents import DOCS, blocks

# Each trains for half a minute or so; the limits only end what hangs.
pytestmark = [pytest.mark.tutorial, pytest.mark.timeout(900)]

TUTORIALS = (
    *("tutorial_data", "tutorial_space", "own_mixer", "tutorial_report"),
    *("tutorial_dense", "tutorial_device"),
)
COMMANDS = {"bash": ["bash", "-euo", "pipefail", "-s"], "python": [sys.executable, "-"]}
CHECKER = doctest.OutputChecker()
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "COLUMNS": "100",
    "LC_ALL": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",  # of the libraries; those of the package fail the suite
}


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_does_what_it_says(name: str, tmp_path: Path) -> None:
    printed, done = ("", ""), 0
    for block in blocks(DOCS / f"{name}.md"):
        where = f"{name}.md:{block.line}"
        if block.file:
            (tmp_path / block.file).write_text(block.text)
        elif block.language in COMMANDS:
            printed = _run(block.language, block.text, folder=tmp_path, where=where)
            done += 1
        elif block.language == "text":
            # The result, or what a command complains of.
            same = [CHECKER.check_output(block.text, text, FLAGS) for text in printed]
            assert any(same), f"{where} says\n{block.text}\nbut printed is\n{''.join(printed)}"
    assert done >= 2, "commands that were run"


def _run(language: str, text: str, *, folder: Path, where: str) -> tuple[str, str]:
    process = subprocess.Popen(
        COMMANDS[language],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, complaints = process.communicate(text, timeout=400)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with its search, which would go on
        raise
    assert process.returncode == 0, f"{where}\n{printed}{complaints}"
    return printed, complaints
