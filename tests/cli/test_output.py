"""A command outlives whoever reads its output."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spach_nas.cli.output import interrupt_on_hangup

# More than a pipe and the buffers before it hold.
LINES = 9_000
WRITER = f"""
import sys, subprocess
from pathlib import Path
from spach_nas.cli.output import open_closed_streams, outlive_readers
open_closed_streams()
outlive_readers()
for stream in (sys.stdout, sys.stderr):
    for number in range({LINES}):
        print(f"line {{number}} é", file=stream)
print("now", flush=True)
subprocess.run([sys.executable, "-c", "print('a child')"], check=True)
Path(sys.argv[1]).write_text("finished")
"""


def run_writer(done: Path, *, unbuffered: str = "", **streams: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-c", WRITER, str(done)]
    return subprocess.Popen(command, env=environment, **streams)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_reader_that_leaves_does_not_end_the_writer(tmp_path: Path, unbuffered: str) -> None:
    writer = run_writer(
        tmp_path / "done",
        unbuffered=unbuffered,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline().decode() == "line 0 é\n"
    writer.stdout.close()
    assert writer.wait(60) == 0
    assert (tmp_path / "done").read_text() == "finished"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_nor_does_a_full_disk(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        assert run_writer(tmp_path / "done", stdout=full, stderr=full).wait(60) == 0
    assert (tmp_path / "done").read_text() == "finished"


@pytest.mark.skipif(os.name == "nt", reason="POSIX shells close streams")
@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)], ids=["stdout", "all"])
def test_nor_do_closed_streams(tmp_path: Path, closed: tuple[int, ...]) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    writer = run_writer(tmp_path / "done", preexec_fn=close, stderr=subprocess.DEVNULL)
    assert writer.wait(60) == 0
    # Nothing that a child prints lands in a file that took the place of a closed stream.
    assert (tmp_path / "done").read_text() == "finished"


def test_what_is_read_is_whole(tmp_path: Path) -> None:
    writer = run_writer(tmp_path / "done", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    output = writer.communicate(timeout=60)[0].decode().splitlines()
    assert output == [*(f"line {number} é" for number in range(LINES)), "now", "a child"]


@pytest.fixture
def on_hangup() -> Iterator[Callable[[object], object]]:
    """Sets what a hang-up does; it is as before in the end."""
    before = signal.getsignal(signal.SIGHUP)
    yield lambda handler: signal.signal(signal.SIGHUP, handler)  # type: ignore[misc]
    signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no hang-up")
def test_a_hangup_is_ctrl_c_once(on_hangup: Callable[[object], object]) -> None:
    on_hangup(signal.SIG_DFL)
    interrupt_on_hangup()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGHUP)  # the shell tells it, too


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no hang-up")
def test_nohup_stays_nohup(on_hangup: Callable[[object], object]) -> None:
    on_hangup(signal.SIG_IGN)
    interrupt_on_hangup()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("utf-8", b"\xe9 \xc3\xa9 \xe2\x80\xa6"), ("ascii", b"\xe9 \\xe9 \\u2026")],
)
def test_what_cannot_be_printed_is_printed_otherwise(encoding: str, printed: bytes) -> None:
    # A name of the byte E9, which is no UTF-8, then text.
    code = (
        "from spach_nas.cli.output import outlive_readers; outlive_readers(); "
        "print('\\udce9', '\\xe9', '\\u2026', end='')"
    )
    environment = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (done.stdout, done.stderr) == (printed, b"")
