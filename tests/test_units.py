import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from spach_nas.units import (
    Real,
    Whole,
    common_unit,
    format_count,
    format_duration,
    parse_count,
    parse_duration,
    parse_size,
)

ODD: list[Any] = [True, None, [], {}, [1], "", "x", "é", "G", "1 G G", "-1", -1, "1e999", "1e999G"]
ODD += [math.nan, math.inf, -math.inf, "nan", "inf", "0x10", "1,5G", "1..5G"]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("12.3G", 12_300_000_000),
        ("63.2M", 63_200_000),
        ("0.0001k", None),
        ("500k", 500_000),
        ("500 K", 500_000),
        (" 2t ", 2 * 10**12),
        (".5M", 500_000),
        ("1e3", 1000),
        ("1.5e3k", 1_500_000),
        (1000, 1000),
        (0, 0),
        (1e6, 1_000_000),
        (1.5, None),
        ("1.5", None),
        ("3h", None),
    ],
)
def test_counts_are_read_exactly(text: Any, count: int | None) -> None:
    if count is None:
        with pytest.raises(ValueError, match="expected a"):
            parse_count(text)
    else:
        assert parse_count(text) == count
        assert type(parse_count(text)) is int


@given(st.integers(0, 10**7))
def test_a_count_of_four_decimals_is_exact(tens: int) -> None:
    # In binary, 63.2 * 10**6 is no whole number.
    whole, rest = divmod(tens, 10_000)
    assert parse_count(f"{whole}.{rest:04d}G") == tens * 10**5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("5min", 300), ("2h", 7200), ("1.5 H", 5400), ("1d", 86400), (7, 7)],
)
def test_durations_are_in_seconds(text: Any, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("value", [*ODD, "12M", "1e308d"])
def test_what_is_no_duration_is_refused(value: Any) -> None:
    if value == "12M":  # minutes
        assert parse_duration(value) == 720
        return
    with pytest.raises(ValueError, match="expected a duration such as"):
        parse_duration(value)


@pytest.mark.parametrize("value", ODD)
def test_what_is_no_count_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="expected a count such as"):
        parse_count(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (32, (32, 32)),
        ("32", (32, 32)),
        ("32x48", (32, 48)),
        ("32 X 48", (32, 48)),
        ([32, 48], (32, 48)),
        ((32,), (32, 32)),
        (["32", 48], (32, 48)),
    ],
)
def test_sizes_are_height_and_width(value: Any, size: tuple[int, int]) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize(
    "value",
    [item for item in ODD if item != [1]]
    + [0, "0", [0, 32], 32.0, [32.5, 32], [True, 32], [32, 32, 32], "32x", "32x-1", [[32], 32]]
    + [10**30, [math.inf, 1]],
)
def test_what_is_no_size_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="expected a size such as"):
        parse_size(value)


@pytest.mark.parametrize("kind", [Whole, Real])
@pytest.mark.parametrize("value", [True, False, math.nan, math.inf, -math.inf, "1e999", 10**13])
def test_flags_and_endless_numbers_are_no_numbers(kind: Any, value: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(value)


def test_numbers_may_be_written_as_text() -> None:
    # YAML 1.1 reads 5e-3, without a point, as text.
    assert TypeAdapter(Real).validate_python("5e-3") == 0.005
    assert TypeAdapter(Whole).validate_python(10**12) == 10**12


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12_177_284_096, "12.18G"),
        (63_138_728, "63.14M"),
        (1_000_000, "1M"),
        (1_500, "1.5k"),
        (999, "999"),
        (0, "0"),
        (-2_500_000, "-2.5M"),
    ],
)
def test_counts_are_printed_in_four_digits(value: int, text: str) -> None:
    assert format_count(value) == text


@given(st.integers(1, 10**14))
def test_printed_counts_are_within_half_a_digit(value: int) -> None:
    assert abs(parse_count_of(format_count(value)) - value) <= 5.1e-4 * value


@pytest.mark.parametrize(
    ("counts", "largest", "unit"),
    [
        ([12 * 10**9, 10**8], "G", "G"),
        ([12 * 10**9, 10**8 - 1], "G", "M"),
        ([6_100_000, 999], "G", "k"),
        ([63_000_000_000], "M", "M"),
        ([99, 10**9], "G", "k"),
        ([0, 5], "M", "k"),
        ([], "G", "G"),
        ([0, 0], "M", "M"),
    ],
)
def test_a_column_of_counts_has_a_unit_that_tells_the_smallest_from_nothing(
    counts: list[int], largest: str, unit: str
) -> None:
    factor = {"G": 10**9, "M": 10**6, "k": 10**3}[unit]
    assert common_unit(counts, largest=largest) == (unit, factor)


def parse_count_of(text: str) -> float:
    factor = {"G": 1e9, "M": 1e6, "k": 1e3}.get(text[-1], 1.0)
    return float(text.rstrip("GMk")) * factor


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (200, "3m 20s"),
        (3599.6, "1h 00m"),
        (7503, "2h 05m"),
        (-3, "0s"),
        (100 * 3600, "100h 00m"),
    ],
)
def test_durations_are_printed_in_two_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
