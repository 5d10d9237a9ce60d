import io
import subprocess
import sys
import threading
from typing import ClassVar

import pytest
from rich.console import Console

from spach_nas.cli.replay_view import search_words
from spach_nas.cli.status_line import Doing, Steps
from spach_nas.replay.strategies import Strategy


def text_of(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_without_a_terminal_each_step_is_a_line() -> None:
    console = Console(file=io.StringIO(), width=20)
    with Steps(console, long_s=0.0).shown() as steps:
        steps("loading [PyTorch] for a while")
        steps.update("is for terminals")
        steps("reading")
    assert text_of(console) == "loading [PyTorch] for a while ...\nreading ...\n"


class HeldTimer(threading.Timer):
    """Waits until a test says that its time has come."""

    started: ClassVar[list["HeldTimer"]] = []

    def start(self) -> None:
        self.started.append(self)

    def fire(self) -> None:
        if not self.finished.is_set():  # it was not cancelled
            self.function(*self.args)


def test_without_a_terminal_only_a_long_step_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "Timer", HeldTimer)
    console = Console(file=io.StringIO(), width=80)
    with Steps(console, long_s=1e6).shown() as steps:
        steps("loading PyTorch")
        steps("reading")
        for timer in HeldTimer.started:
            timer.fire()
        steps("counting")
    HeldTimer.started[-1].fire()
    assert text_of(console) == "reading ...\n"


def test_on_a_terminal_nothing_of_the_steps_stays() -> None:
    console = Console(file=io.StringIO(), width=40, force_terminal=True, _environ={"TERM": "xterm"})
    with Steps(console, long_s=0.0).shown() as steps:
        steps("loading PyTorch")
    shown = text_of(console)
    assert "loading PyTorch ..." in shown
    assert shown.endswith("\x1b[2K"), "the last thing is to erase the line"


def test_a_line_fits_and_tells_how_long_it_takes() -> None:
    console = Console(file=io.StringIO(), width=30)
    doing = Doing("reading the images of a data set")
    console.print(doing)
    doing.begin("reading")
    doing.since -= 12.0
    console.print(doing)
    first, second = text_of(console).splitlines()
    assert len(first) == 30 and first.endswith("…")
    assert second.endswith(" reading ... 12 s")


def test_what_is_there_first_imports_nothing_that_takes_long() -> None:
    code = (
        "import sys, spach_nas.cli.status_line\n"
        "print(sorted({'torch', 'ray', 'numpy', 'pydantic', 'optuna'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_replay_says_how_far_it_is() -> None:
    chosen = [Strategy(sampler="random"), Strategy(sampler="tpe")]
    assert search_words(0, 0.0, chosen=chosen, seeds=5) == f"{chosen[0]} (1 of 2), search 1 of 10"
    words = f"{chosen[1]} (2 of 2), search 3 of 10, about 40s left"
    assert search_words(12, 60.0, chosen=chosen, seeds=5) == words
