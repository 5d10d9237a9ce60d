"""Files of latency tables: kept whole, and told when they are bad or of something else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from latency_tools import ONE, WHERE, fake_clock, make_table
from small_spaces import SPACES
from spach_nas.config.search_settings import LatencySettings
from spach_nas.errors import LatencyError
from spach_nas.latency.latency_table import (
    PredictedLatency,
    check_agrees,
    check_conditions,
    check_covers,
    read_table,
    write_table,
)
from spach_nas.latency.measuring import Network, measure_table
from spach_nas.latency.parts import part_name, parts_of, space_parts

SPACE = SPACES["global ratio and sharing"]


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    networks = [Network("a name", ONE, False)]
    table = measure_table(space_parts(SPACE), networks, WHERE, clock=fake_clock(factor=1.1))
    write_table(tmp_path / "table.json", table)
    assert read_table(tmp_path / "table.json") == table
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]
    lines = (tmp_path / "table.json").read_text().splitlines()
    assert sum('"median"' in line and '"low"' in line for line in lines) == len(table.parts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", "is damaged; expected a table of latencies"),
        ({"schema": 9}, "schema: 9; expected 1"),
        ({"scale": 0}, "scale: 0.0; expected more than 0"),
        ({"parts": {"a": {"median": -1, "low": 1, "high": 1, "runs": 1}}}, "median: -1.0; expect"),
        ({"parts": None}, "parts: None; expected a"),
        ({"conditions": {}}, "conditions.machine: is missing"),
        ({"colour": 1}, "colour: unknown key"),
    ],
)
def test_a_bad_table_is_told(tmp_path: Path, change: str | dict, message: str) -> None:
    path = tmp_path / "table.json"
    if isinstance(change, str):
        path.write_text(change)
    else:
        plain = json.loads(make_table(list(parts_of(ONE))).to_json())
        path.write_text(json.dumps(plain | change))
    with pytest.raises(LatencyError) as raised:
        read_table(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(LatencyError, match=r"no.json: No such file.*spach-nas latency SEARCH"):
        read_table(tmp_path / "no.json")
    with pytest.raises(LatencyError, match="expected a writable file"):
        write_table(tmp_path / "no" / "table.json", make_table([]))


def test_a_table_of_another_space_is_told() -> None:
    parts = space_parts(SPACE)
    table = make_table(parts[1:])
    check_covers(table, parts[1:], where="t.json")
    with pytest.raises(LatencyError) as raised:
        check_covers(table, parts, where="t.json")
    lead = f"t.json: lacks 1 of the {len(parts)} parts of this search's networks, such as "
    assert str(raised.value).startswith(f"{lead}`{part_name(parts[0])}`")
    with pytest.raises(LatencyError, match=r"t.json: holds no time of `stem stem=conv1 width=4"):
        PredictedLatency(make_table([]), where="t.json").of(ONE)


def test_a_table_of_other_conditions_is_told() -> None:
    table = make_table([])
    check_conditions(table, WHERE, where="t.json")
    other = replace(WHERE, machine="a server", batch_size=8)
    with pytest.raises(LatencyError) as raised:
        check_conditions(table, other, where="t.json")
    assert "machine 'a phone', not 'a server'; batch_size 1, not 8; expected" in str(raised.value)
    path = Path("t.json")
    check_agrees(table, LatencySettings(table=path, device="auto", threads=1), where="t.json")
    with pytest.raises(LatencyError) as raised:
        check_agrees(table, LatencySettings(runtime="onnx", batch_size=2), where="t.json")
    assert str(raised.value).splitlines() == [
        f"latency.{name}: {wanted}, but t.json was measured with {had}; expected that, or another "
        "table"
        for name, wanted, had in (("runtime", "onnx", "eager"), ("batch_size", 2, 1))
    ]
