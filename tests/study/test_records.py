import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from spach_nas.config.study_files import RECORDS_FILE
from spach_nas.errors import StudyError
from spach_nas.machine import describe_machine, now
from spach_nas.space.references import get_reference
from spach_nas.study.records import append_record, read_records
from study_factory import make_record, make_study

RECORDS = make_study(5, failed=2)


def write(folder: Path, count: int = len(RECORDS)) -> Path:
    path = folder / RECORDS_FILE
    for record in RECORDS[:count]:
        append_record(path, record)
    return path


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    write(tmp_path)
    assert read_records(tmp_path) == RECORDS


def test_every_kind_of_value_of_an_encoding_comes_back(tmp_path: Path) -> None:
    encoding = {"a": 1, "b": 1.0, "c": True, "d": "conv", "e": 0, "f": False, "g": 2.5}
    record = replace(RECORDS[0], encoding=encoding, reason="é\n\u2028 \"'{")
    append_record(tmp_path / RECORDS_FILE, record)
    (found,) = read_records(tmp_path)
    assert found == record
    assert [type(value) for value in found.encoding.values()] == [
        type(value) for value in encoding.values()
    ]


def test_a_record_is_one_line_of_json(tmp_path: Path) -> None:
    lines = write(tmp_path).read_text().splitlines()
    assert len(lines) == len(RECORDS)
    plain = json.loads(lines[0])
    assert plain["architecture"] == RECORDS[0].architecture.to_dict()
    assert plain["target_cost"]["macs"] == RECORDS[0].target_cost.macs
    assert plain["arch_id"] == RECORDS[0].architecture.arch_id


def test_a_study_without_records_is_empty(tmp_path: Path) -> None:
    (tmp_path / RECORDS_FILE).touch()
    assert read_records(tmp_path) == ()


@pytest.mark.parametrize("left", [1, 30, -1])
def test_a_torn_last_line_is_ignored(tmp_path: Path, left: int) -> None:
    path = write(tmp_path)
    *whole, last = path.read_bytes().splitlines(keepends=True)
    # -1 leaves a line that lacks nothing but its end.
    path.write_bytes(b"".join(whole) + last[:left])
    assert read_records(tmp_path) == RECORDS[:-1]


@pytest.mark.parametrize("tail", [b'{"trial": 3, "arch', b"\0\0\0\0", b"\xff\xfe"])
@pytest.mark.parametrize("before", [0, 2])
def test_the_next_record_takes_a_torn_line_away(tmp_path: Path, tail: bytes, before: int) -> None:
    path = write(tmp_path, before)
    with path.open("ab") as file:
        file.write(tail)
    assert read_records(tmp_path) == RECORDS[:before]
    append_record(path, RECORDS[before])
    assert read_records(tmp_path) == RECORDS[: before + 1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b'{"trial": 3, "arch', "damaged line; expected a JSON object"),
        (b"", "damaged line; expected a JSON object"),
        (b"\xff\xfe\x00", "damaged line; expected a JSON object"),
        (b"[1, 2]", "[1, 2]; expected a mapping of keys to values"),
        (b"{}", "trial: is missing"),
    ],
)
def test_a_damaged_line_in_the_middle_is_told(tmp_path: Path, damage: bytes, message: str) -> None:
    path = write(tmp_path)
    lines = path.read_bytes().split(b"\n")
    lines[2] = damage
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(StudyError) as raised:
        read_records(tmp_path)
    assert str(raised.value).splitlines()[0] == f"{path}:3: {message}"


def test_an_architecture_that_no_network_has_is_told_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    plain = json.loads(path.read_text())
    plain["architecture"]["stages"][1]["heads"] = 7
    path.write_text(path.read_text() + json.dumps(plain) + "\n")
    with pytest.raises(StudyError) as raised:
        read_records(tmp_path)
    assert str(raised.value).startswith(f"{path}:2: architecture.stages[1].width: ")


def test_what_a_later_version_adds_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    plain = json.loads(path.read_text())
    path.write_text(json.dumps({**plain, "new": 3}) + "\n")
    assert read_records(tmp_path) == RECORDS[:1]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused_before_anything_is_written(
    tmp_path: Path, value: float
) -> None:
    path = write(tmp_path, 1)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_record(path, make_record(9, value))
    assert path.read_bytes() == before


def test_a_record_is_on_the_disk_before_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / RECORDS_FILE
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(path.read_bytes()))
    append_record(path, RECORDS[0])
    append_record(path, RECORDS[1])
    assert len(synced) == 2, "each record once"
    assert synced[-1] == path.read_bytes(), "with all that was written"


def test_a_folder_that_is_no_study_is_told(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(StudyError) as raised:
            read_records(folder)
        assert str(raised.value) == (
            f"{folder}: holds no records.jsonl; expected the folder of a study"
        )


def test_the_arch_id_in_a_record_is_that_of_its_architecture() -> None:
    record = make_record(0, 0.5, architecture=get_reference("hybrid_ms_s").architecture)
    assert record.to_dict()["architecture"]["image_size"] == [224, 224]
    assert record.arch_id == record.architecture.arch_id


def test_time_and_machine_are_plain_text() -> None:
    assert now().endswith("+00:00")
    assert describe_machine().endswith(f"{os.cpu_count()} cores")
