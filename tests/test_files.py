"""Files that are there completely or not at all."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from spach_nas.files import replace_bytes, replace_text, write_durably


@pytest.mark.parametrize("write", [replace_bytes, write_durably])
def test_a_reader_keeps_the_file_that_it_opened(
    tmp_path: Path, write: Callable[[Path, bytes], None]
) -> None:
    path = tmp_path / "file"
    write(path, b"old")
    with path.open("rb", buffering=0) as reader:
        write(path, b"newer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"newer"
    assert list(tmp_path.iterdir()) == [path]


def test_on_a_full_disk_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    replace_text(path, "é")

    def fill(temporary: Path, data: bytes) -> int:
        temporary.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(temporary))

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match="No space left"):
        replace_text(path, "newer")
    assert path.read_text(encoding="utf-8") == "é"
    assert list(tmp_path.iterdir()) == [path]
