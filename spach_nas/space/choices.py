"""A choice in a search space: a scalar (no choice), a list, or a range."""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator

from spach_nas.space.mixers import OptionValue
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


def _as_options(value: Any) -> Any:
    """Values by name, as sorted pairs: frozen, and equal whatever the order in the file."""
    if isinstance(value, tuple):
        return value
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{value!r}; expected a mapping of options to values")
    for name, item in value.items():
        if not isinstance(item, str | int | float):
            raise ValueError(f"{name}: {item!r}; expected a number, a text, true or false")
    return tuple(sorted(value.items()))


def _as_option_choices(value: Any) -> Any:
    if isinstance(value, tuple):
        return value
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{value!r}; expected a mapping of options to choices")
    pairs = []
    for name, choices in value.items():
        try:
            values = _distinct(_as_sequence(choices))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        pairs += [(name, tuple(_as_options({name: item})[0][1] for item in values))]
    return tuple(sorted(pairs))


_Listed = BeforeValidator(_as_sequence)
_Distinct = AfterValidator(_distinct)
# Annotations that make a tuple type accept what a choice may be written as.
listed = (_Distinct, _Listed)
Names = Annotated[tuple[str, ...], *listed]
Flags = Annotated[tuple[bool, ...], *listed]
Counts = Annotated[tuple[Whole, ...], AfterValidator(_positive), *listed]
CountsFromZero = Annotated[tuple[Whole, ...], AfterValidator(_not_negative), *listed]
Ratios = Annotated[tuple[Real, ...], AfterValidator(_positive), *listed]
Options = Annotated[tuple[tuple[str, OptionValue], ...], BeforeValidator(_as_options)]
OptionChoices = Annotated[
    tuple[tuple[str, tuple[OptionValue, ...]], ...], BeforeValidator(_as_option_choices)
]
