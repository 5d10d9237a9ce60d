"""A choice in a search space: a scalar (no choice), a list, or a range."""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator

from spach_nas.units import Real, Whole

_RANGE_KEYS = {"from", "to", "step"}
_MOST_VALUES = 1000
T = TypeVar("T")


def _as_sequence(value: Any) -> Any:
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("is an empty choice; expected at least one value")
        return tuple(value)
    if isinstance(value, dict):
        return _as_range(value)
    return (value,)


def _as_range(value: dict[Any, Any]) -> tuple[int, ...]:
    low, high, step = value.get("from"), value.get("to"), value.get("step", 1)
    whole = all(isinstance(part, int) and not isinstance(part, bool) for part in (low, high, step))
    if not set(value) <= _RANGE_KEYS or not whole:
        raise ValueError(f"{value!r}; expected a value, a list, or {{from: 2, to: 6, step: 1}}")
    if step < 1 or low > high:  # type: ignore[operator]
        raise ValueError(f"{value!r} is an empty choice; expected from <= to and step >= 1")
    if (high - low) // step >= _MOST_VALUES:  # type: ignore[operator]
        raise ValueError(f"{value!r}; expected at most {_MOST_VALUES} values")
    return tuple(range(low, high + 1, step))  # type: ignore[operator, arg-type]


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    repeated = [value for i, value in enumerate(values) if value in values[:i]]
    if repeated:
        raise ValueError(f"{repeated[0]!r} stands twice; expected distinct values")
    return values


def _positive(values: tuple[float, ...]) -> tuple[float, ...]:
    for value in values:
        if value <= 0:
            raise ValueError(f"{value!r}; expected more than 0")
    return values


def _not_negative(values: tuple[int, ...]) -> tuple[int, ...]:
    for value in values:
        if value < 0:
            raise ValueError(f"{value!r}; expected 0 or more")
    return values


_Listed = BeforeValidator(_as_sequence)
_Distinct = AfterValidator(_distinct)
# Annotations that make a tuple type accept what a choice may be written as.
listed = (_Distinct, _Listed)
Names = Annotated[tuple[str, ...], *listed]
Flags = Annotated[tuple[bool, ...], *listed]
Counts = Annotated[tuple[Whole, ...], AfterValidator(_positive), *listed]
CountsFromZero = Annotated[tuple[Whole, ...], AfterValidator(_not_negative), *listed]
Ratios = Annotated[tuple[Real, ...], AfterValidator(_positive), *listed]
