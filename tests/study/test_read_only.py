"""A study in a folder that cannot be written."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from search_tools import drive, make_study
from spach_nas.errors import StudyError
from spach_nas.files import locked, replace_text, room_needed
from spach_nas.report import page
from spach_nas.report.study import write_study_report
from spach_nas.study.records import read_records

NOBODY = 65534

pytestmark = pytest.mark.skipif(os.name == "nt", reason="has other permissions")


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    """A finished study that this process can read and not write."""
    made = make_study(tmp_path, mirrored=True, search__trials=3)
    drive(made)
    made.close()
    # Others may not enter the folder of the tests.
    home = Path(tempfile.mkdtemp(dir="/tmp"))
    folder = shutil.copytree(made.folder, home / "study")
    home.chmod(0o755)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    administrator = os.geteuid() == 0  # who may write everywhere
    if administrator:
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if administrator:
            os.seteuid(0)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(home)


def test_what_reads_does_and_what_would_write_says_that_it_cannot(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(read_records(study)) == 3
    with closing(sqlite3.connect(study / "study.db")) as mirror:
        numbers = mirror.execute("SELECT number FROM trials ORDER BY 1").fetchall()
    assert numbers == [(0,), (1,), (2,)]
    # To draw a page takes modules that whoever stands for another user may not read.
    monkeypatch.setattr(page, "write_report", lambda folder, **_: replace_text(folder / "x", ""))
    told = r"Permission denied; expected a folder that this user can write to: copy it"
    with pytest.raises(StudyError, match=told):
        write_study_report(study)
    with pytest.raises(StudyError, match=told), room_needed(study), locked(study):
        pytest.fail("nobody can go on there")
