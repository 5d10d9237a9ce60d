import json
from datetime import UTC, datetime
from pathlib import Path

from spach_nas.study.journal import LOG_JSONL, Journal, read_journal


def test_each_event_is_a_line_of_json_with_its_time(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    Journal(tmp_path).write("begun", {"trials": 3})
    Journal(tmp_path).write("asked", {"trial": 0, "rung": 1, "folder": tmp_path})
    first, second = (json.loads(line) for line in (tmp_path / LOG_JSONL).read_text().splitlines())
    assert (first["event"], first["trials"]) == ("begun", 3)
    assert second["folder"] == str(tmp_path)
    time = datetime.fromisoformat(second["time"])
    assert -1 < (time - before).total_seconds() < 60
    assert time.utcoffset() is not None
    assert read_journal(tmp_path) == (first, second)


def test_a_torn_line_takes_no_other_with_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write("begun")
    with (tmp_path / LOG_JSONL).open("a") as file:
        file.write('{"event": "ask')
    journal.write("ended")
    assert [line["event"] for line in read_journal(tmp_path)] == ["begun", "ended"]


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / LOG_JSONL).write_bytes(
        b'{"event": "begun"}\n\xff\xfe\n[1]\n{"event": 3}\n\n{"a": 1}\n{"event": "ended"}'
    )
    assert [line["event"] for line in read_journal(tmp_path)] == ["begun", "ended"]


def test_a_journal_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / LOG_JSONL).mkdir()
    Journal(tmp_path).write("begun")
    assert read_journal(tmp_path) == ()
    assert read_journal(tmp_path / "nowhere") == ()
