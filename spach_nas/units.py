"""Reads and prints numbers with units, as in a YAML file: `12.3G`, `63.2M`, `2h`."""

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

_COUNTS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SHOWN = {"G": 1e9, "M": 1e6, "k": 1e3}
_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
# Sizes and factors are smaller, and whole numbers up to it are exact as floats.
_LARGEST = 10**12
_NUMBER = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_SIDE = re.compile(r"\s*[0-9]{1,9}\s*")


def parse_count(value: Any) -> int:
    """A plain count from `12.3G`, `63.2M`, `500k` or a number.

    Raises:
        ValueError: The value has no such form, is negative, or is not a whole number.
    """
    number = _parse(value, _COUNTS, "a count such as 12.3G, 63.2M, 500k or 1000")
    if number != int(number):
        raise ValueError(f"{value!r}; expected a whole number")
    return int(number)


def parse_duration(value: Any) -> float:
    """Seconds from `90s`, `5m`, `2h`, `1d` or a number of seconds.

    Raises:
        ValueError: The value has no such form, or is negative.
    """
    return float(_parse(value, _SECONDS, "a duration such as 90s, 5m, 2h or 1d"))


def parse_latency(value: Any) -> int:
    """Nanoseconds, rounded, from `12ms`, `800us`, `1.5s` or `90000ns`.

    Whole nanoseconds, so that sums of latencies are exact and can be counted like MACs.

    Raises:
        ValueError: The value has no such form, or is negative.
    """
    return round(_parse(value, _NANOSECONDS, "a latency such as 12ms, 800us or 1.5s"))


def parse_size(value: Any) -> tuple[int, int]:
    """Height and width from `32` (a square), `[32, 48]` or `32x48`.

    Raises:
        ValueError: The value has no such form, or is not positive.
    """
    parts = value.lower().split("x") if isinstance(value, str) else value
    parts = list(parts) if isinstance(parts, list | tuple) else [parts]
    sides = [int(part) for part in parts if _SIDE.fullmatch(str(part))]
    if len(sides) != len(parts) or len(sides) not in (1, 2) or min(sides) < 1:
        raise ValueError(f"{value!r}; expected a size such as 32 or 32x48")
    return sides[0], sides[-1]


def format_count(value: float) -> str:
    """A count for display, with up to four digits: `12.18G`, `63.1M`."""
    for unit, factor in _SHOWN.items():
        if abs(value) >= factor:
            return f"{value / factor:.4g}{unit}"
    return f"{value:.4g}"


def format_share(value: float, *, digits: int = 2) -> str:
    """A percentage such as `83.13%`; halves are rounded up, like in the browser's scripts."""
    return f"{value + 1e-12:.{digits}%}"


def common_unit(counts: Iterable[float], *, largest: str) -> tuple[str, float]:
    """The unit for a column of counts, and its factor: `M`, 1e6.

    It is the largest unit, from `largest` down, in which even the smallest count is at least 0.1.
    """
    known = list(counts)
    units = list(_SHOWN)[list(_SHOWN).index(largest) :]
    fitting = (unit for unit in units if min(known, default=0) >= 0.1 * _SHOWN[unit])
    unit = next(fitting, units[-1] if any(known) else largest)
    return unit, _SHOWN[unit]


def format_duration(seconds: float) -> str:
    """A duration for display: `2h 05m`, `3m 20s`, `45s`."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 60}m {whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def format_latency(nanoseconds: float) -> str:
    """A latency for display, with up to four digits: `12.34 ms`, `812.5 us`, `1.204 s`."""
    for unit, factor in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if abs(nanoseconds) >= factor:
            return f"{nanoseconds / factor:.4g} {unit}"
    return f"{nanoseconds:.4g} ns"


def plural(count: int, what: str) -> str:
    """`1 epoch`, `1,000 epochs`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _parse(value: Any, units: dict[str, int], expected: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r}; expected {expected}")
    match = _NUMBER.fullmatch(str(value))
    if match is None or match[2].lower() not in units or math.isinf(float(match[1])):
        raise ValueError(f"{value!r}; expected {expected}")
    # Decimal, because in binary floating point 64.1 * 1000 is not a whole number.
    number = Decimal(match[1]) * units[match[2].lower()]
    if math.isinf(float(number)):
        raise ValueError(f"{value!r}; expected {expected}")
    return number


def _no_flag(value: Any) -> Any:
    # Pydantic would accept true as 1.
    if isinstance(value, bool):
        raise ValueError(f"{value!r}; expected a number")
    return value


def _sensible(value: float) -> float:
    if not abs(value) <= _LARGEST:  # `not <=` also catches NaN
        raise ValueError(f"{value!r}; expected a finite number of at most 1e12")
    return value


Whole = Annotated[int, AfterValidator(_sensible), BeforeValidator(_no_flag)]
Real = Annotated[float, AfterValidator(_sensible), BeforeValidator(_no_flag)]
# Patterns for editors, for numbers with units.
_AMOUNT = r"^\s*[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?\s*"
Count = Annotated[
    int,
    BeforeValidator(parse_count),
    WithJsonSchema(
        {
            "title": "count such as 12.3G, 63.2M, 500k or 1000",
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": f"{_AMOUNT}[kKmMgGtT]?\\s*$",
        }
    ),
]
Latency = Annotated[
    int,
    BeforeValidator(parse_latency),
    WithJsonSchema(
        {
            "title": "latency such as 12ms, 800us or 1.5s",
            "type": "string",
            "pattern": f"{_AMOUNT}([nNuUmM]?[sS])\\s*$",
        }
    ),
]
Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "title": "duration such as 90s, 5m, 2h, 1d or a number of seconds",
            "type": ["number", "string"],
            "pattern": f"{_AMOUNT}([sSmMhHdD]|[mM][iI][nN])?\\s*$",
        }
    ),
]
Size = Annotated[
    tuple[int, int],
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "title": "size such as 32 (a square), [32, 48] or 32x48",
            "type": ["integer", "string", "array"],
            "minimum": 1,
            "pattern": r"^\s*[0-9]{1,9}\s*([xX]\s*[0-9]{1,9}\s*)?$",
            "items": {"type": "integer", "minimum": 1},
            "minItems": 1,
            "maxItems": 2,
        }
    ),
]
