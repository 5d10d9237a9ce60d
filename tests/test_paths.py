"""Names of files and folders are data."""

import subprocess
from pathlib import Path

import pytest

from spach_nas.errors import DataError, StudyError
from spach_nas.paths import check_text, command_line, shown
from spach_nas.search.loggers import MLflow

NAMES = [
    "plain",
    "two words",
    "lr?=1",
    "a&b;c",
    "it's",
    '"quoted"',
    "$HOME",
    "#",
    "*",
    "-x",
    "é",
    "~",
]


@pytest.mark.parametrize("name", [*NAMES, "x" * 200])
def test_a_shell_reads_back_what_a_command_names(name: str) -> None:
    line = command_line("export", Path(name), "--out", name)
    printed = subprocess.run(
        ["sh", "-c", line.replace("spach-nas", "printf '%s\\n'", 1)],
        capture_output=True,
        text=True,
        check=True,
    )
    word, path, option, out = printed.stdout.splitlines()
    assert (word, option, out) == ("export", "--out", name)
    assert Path(path) == Path(name)
    assert not path.startswith("-")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (b"caf\xe9", r"^here: the name b'caf\\xe9' is not UTF-8; expected"),
        (b"two\nlines", r"^here: the name 'two\\nlines' contains control characters; expected"),
    ],
)
def test_a_name_that_no_text_can_hold_is_refused(name: bytes, message: str) -> None:
    path = Path(name.decode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message):
        check_text(path, what="here", error=DataError)
    shown(path).encode()  # for a page all the same


@pytest.mark.parametrize("name", [*NAMES, "e\u0301", "\u00e9", "日本\u3000", "a\u00a0b"])
def test_any_other_name_is_taken(name: str) -> None:
    check_text(Path(name), what="here", error=DataError)


@pytest.mark.parametrize("name", ["lr?=1", "50%", "a#b"])
def test_mlflow_is_refused_where_its_database_would_lie_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(StudyError, match="would be read as parts of a URL; expected another"):
        MLflow().begin("study", tmp_path / name)
    assert not list(tmp_path.iterdir())
