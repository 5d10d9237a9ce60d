import csv
from dataclasses import replace
from pathlib import Path

import pytest

from spach_nas.errors import StudyError
from spach_nas.files import locked
from spach_nas.study.folder import (
    append_to_table,
    checkpoint_file,
    create_folder,
    kept_checkpoints,
    remove_checkpoints,
    remove_if_empty,
    write_checkpoint,
    write_table,
)
from spach_nas.study.records import append_record, read_records
from study_factory import make_record, make_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "a"
    create_folder(folder, texts={"search.yaml": "study: é", "space.yaml": ""})
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_new_study_holds_its_texts_and_no_records(study: Path) -> None:
    assert (study / "search.yaml").read_text(encoding="utf-8") == "study: é"
    assert read_records(study) == ()
    assert rows(study) == []
    assert (study / "checkpoints").is_dir()


def test_an_existing_folder_is_never_overwritten(study: Path) -> None:
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    with pytest.raises(StudyError) as raised:
        create_folder(study, texts={"search.yaml": "other"})
    assert str(raised.value).startswith(f"{study}: exists already and is never overwritten; expec")
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before


def test_an_empty_folder_is_not_taken_either(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="exists already"):
        create_folder(tmp_path, texts={})
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match="Not a directory; expected a writable place"):
        create_folder(tmp_path / "file" / "study", texts={})


def test_the_table_mirrors_the_records(study: Path) -> None:
    records = make_study(4, failed=1)
    for record in records:
        append_record(study / "records.jsonl", record)
        append_to_table(study, record)
    assert read_records(study) == records
    one_by_one = (study / "trials.csv").read_bytes()
    write_table(study, records)
    assert (study / "trials.csv").read_bytes() == one_by_one
    for row, record in zip(rows(study), records, strict=True):
        assert row["trial"] == str(record.trial)
        assert row["arch_id"] == record.arch_id
        assert row["proxy_id"] == record.proxy_id
        assert row["state"] == record.state
        assert row["reference"] == (record.reference or "")
        assert row["architecture"] == str(record.architecture)
        assert row["target_macs"] == str(record.target_cost.macs)
        assert row["proxy_params"] == str(record.proxy_cost.params)
        assert row["reason"] == (record.reason or "")
        figures = record.curve[-1] if record.state == "complete" else None
        assert row["accuracy"] == (str(figures.accuracy) if figures else "")
        assert row["loss"] == (str(figures.loss) if figures else "")


def test_a_failed_trial_has_no_score_in_the_table(study: Path) -> None:
    # It broke off after some epochs.
    write_table(study, [replace(make_record(0, 0.5), state="failed", objectives={})])
    (row,) = rows(study)
    assert (row["accuracy"], row["loss"], row["state"]) == ("", "", "failed")


def test_a_reason_of_several_lines_stays_in_its_row(study: Path) -> None:
    write_table(study, [make_record(0, None, reason='line one\nline "two", three')])
    (row,) = rows(study)
    assert row["reason"] == 'line one\nline "two", three'
    assert row["accuracy"] == ""


def test_a_checkpoint_is_written_whole_or_not_at_all(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(study, ("abc", 2), b"first")

    def torn(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:3])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", torn)
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(study, ("abc", 2), b"second")
    assert checkpoint_file(study, ("abc", 2)).read_bytes() == b"first"


def test_a_checkpoint_is_replaced(study: Path) -> None:
    write_checkpoint(study, ("abc", 2), b"first")
    write_checkpoint(study, ("abc", 2), b"second")
    assert checkpoint_file(study, ("abc", 2)).read_bytes() == b"second"
    assert [path.name for path in (study / "checkpoints").iterdir()] == ["abc-2.safetensors"]


def test_checkpoints_are_found_and_removed(study: Path) -> None:
    keys = {("a", 0), ("a", 1), ("b", 0)}
    for key in keys:
        write_checkpoint(study, key, b"weights")
    assert kept_checkpoints(study) == keys
    remove_checkpoints(study, {("a", 0), ("never written", 7)})
    assert kept_checkpoints(study) == {("a", 1), ("b", 0)}


def test_half_a_folder_is_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str, encoding: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StudyError, match="No space left on device; expected a writable place"):
        create_folder(tmp_path / "a", texts={"search.yaml": ""})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_has_one_search_at_a_time(study: Path) -> None:
    with (
        locked(study),
        pytest.raises(StudyError, match="another search is writing there"),
        locked(study),
    ):
        pass
    with locked(study):
        pass


def test_a_study_without_a_record_is_taken_back(study: Path) -> None:
    remove_if_empty(study)
    assert not study.exists()
    assert study.parent.exists()


def test_a_study_with_a_record_stays(study: Path) -> None:
    append_record(study / "records.jsonl", make_record(0, 0.5))
    remove_if_empty(study)
    assert len(read_records(study)) == 1
