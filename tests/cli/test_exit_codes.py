"""What a command prints last and what it returns say the same."""

from pathlib import Path

import pytest

from conftest import run_main
from search_tools import write_search
from spach_nas.cli.doctor import Finding
from spach_nas.errors import StudyError
from spach_nas.export.proof import Verification
from spach_nas.search.plan import plan_search

UNCHECKED = ("onnx: needs the packages onnxruntime",)


@pytest.mark.parametrize(
    ("problems", "unchecked", "flags", "code", "last"),
    [
        ((), (), [], 0, "verified"),
        ((), UNCHECKED, [], 0, "verified, but 1 form cannot be run here"),
        ((), UNCHECKED * 2, [], 0, "verified, but 2 forms cannot be run here"),
        ((), UNCHECKED, ["--strict"], 1, "FAILED: 1 form cannot be run here, and --strict"),
        ((), (), ["--strict"], 0, "verified"),
        (("model.onnx: differs",), (), [], 1, "FAILED"),
        (("model.onnx: differs",), UNCHECKED, ["--strict"], 1, "FAILED"),
    ],
)
def test_verify_returns_what_it_says(
    problems: tuple[str, ...],
    unchecked: tuple[str, ...],
    flags: list[str],
    code: int,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = Verification(bundle="0" * 64, problems=problems, unchecked=unchecked)
    monkeypatch.setattr("spach_nas.export.bundle.read_manifest", lambda folder: {})
    monkeypatch.setattr("spach_nas.export.proof.verify", lambda folder, data, tell: found)
    assert run_main("verify", "bundle", *flags)[0] == code
    assert capsys.readouterr().out.splitlines()[-1].startswith(last)


@pytest.mark.parametrize(("fault", "code"), [(False, 0), (True, 1)])
def test_doctor_returns_what_it_says(
    fault: bool,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = (Finding(name="timm", value="missing", fault=fault), Finding(name="cores", value="2"))
    monkeypatch.setattr("spach_nas.cli.doctor.diagnose", lambda: found)
    assert run_main("doctor")[0] == code
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == ("FAILED: timm" if fault else "everything that a search needs is installed")


@pytest.mark.parametrize(
    "command",
    [
        ("replay", "nowhere", "--out"),
        ("report", "a", "b", "--out"),
        ("latency", "conv_ms_xxs", "--table"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_first(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    for place, reason in ((tmp_path / "no" / "x", "not a folder"), (tmp_path, "is a folder")):
        code, told = run_main(*command, str(place))
        assert code == 2
        assert told[0].startswith(f"{command[-1]} {place}: "), told
        assert reason in told[0]


def test_a_search_that_is_only_looked_at_may_have_a_folder(tmp_path: Path) -> None:
    path, taken = write_search(tmp_path), tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(StudyError, match="exists already"):
        plan_search(path, out=taken)
    assert plan_search(path, out=taken, begins=False).path == path
