"""How choices are written in a search space: a scalar (no choice), a list, or a range."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from spach_nas.space.mixers import OptionValue, get_mixer, mixer_names, option_values
from spach_nas.units import Real, Whole
from spach_nas.validation import Written

_RANGE_KEYS = {"from", "to", "step"}
# A range such as {from: 1, to: 1e9} is a typing error, and would fill the memory.
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
    # Whole numbers only: the last value of 0.1, 0.2 ... 0.5 would depend on rounding.
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
        raise ValueError(f"{repeated[0]!r} is repeated; expected distinct values")
    return values


def _each(expected: str, legal: Callable[[float], bool]) -> AfterValidator:
    def check(values: tuple[float, ...]) -> tuple[float, ...]:
        for value in values:
            if not legal(value):
                raise ValueError(f"{value!r}; expected {expected}")
        return values

    return AfterValidator(check)


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        get_mixer(name)
    return names


def _as_options(value: Any) -> Any:
    """Values by name as sorted pairs, which are hashable and equal in any order of the file."""
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
        # The name of the option is not part of the key that pydantic reports.
        try:
            values = _distinct(_as_sequence(choices))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        pairs += [(name, tuple(_as_options({name: item})[0][1] for item in values))]
    return tuple(sorted(pairs))


_WHOLE: dict[str, Any] = {"type": "integer"}
_RANGE: dict[str, Any] = {
    "title": "range of whole numbers, both ends included",
    "type": "object",
    "properties": {
        "from": _WHOLE,
        "to": _WHOLE,
        "step": {"type": "integer", "minimum": 1, "default": 1},
    },
    "required": ["from", "to"],
    "additionalProperties": False,
}


def one_of_names(names: Sequence[str]) -> dict[str, Any]:
    """The JSON Schema of a text that is one of these names."""
    return {"type": "string", "enum": list(names)}


def choice_schema(item: dict[str, Any], name: str) -> dict[str, Any]:
    """The JSON Schema of one value, a list, or for whole numbers a range."""
    several = {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}
    ranges = [_RANGE] if item["type"] in ("integer", "number") else []
    return {"title": f"choice of {name}", "anyOf": [item, several, *ranges]}


def _options_schema() -> dict[str, Any]:
    return {
        "title": "choices by name",
        "type": "object",
        "properties": {
            name: choice_schema(
                {"type": ["number", "string", "boolean"], "enum": list(values)}, "values"
            )
            for name, values in option_values().items()
        },
        "additionalProperties": False,
    }


def _shortest(values: tuple[T, ...]) -> T | list[T]:
    return values[0] if len(values) == 1 else list(values)


def _numbers(name: str, bounds: Mapping[str, float]) -> WithJsonSchema:
    kind = "integer" if name.startswith("whole") else "number"
    return WithJsonSchema(choice_schema({"type": kind, **bounds}, name))


# Makes a tuple type accept every way to write a choice, and write it as short as possible.
listed = (
    AfterValidator(_distinct),
    BeforeValidator(_as_sequence),
    PlainSerializer(_shortest, when_used="json"),
)
_ABOVE_0 = _each("more than 0", lambda value: value > 0)
# The arrangements of a layout are tabulated: their number grows with the square of the depth.
MOST_BLOCKS = 200
Names = Annotated[
    tuple[str, ...],
    AfterValidator(_known),
    *listed,
    Written(lambda: choice_schema(one_of_names(mixer_names()), "mixers")),
]
Flags = Annotated[
    tuple[bool, ...],
    *listed,
    WithJsonSchema(choice_schema({"type": "boolean"}, "true and false")),
]
Counts = Annotated[
    tuple[Whole, ...], _ABOVE_0, *listed, _numbers("whole numbers above 0", {"exclusiveMinimum": 0})
]
Depths = Annotated[
    tuple[Whole, ...],
    _each(f"at most {MOST_BLOCKS}", lambda value: value <= MOST_BLOCKS),
    _ABOVE_0,
    *listed,
    _numbers(f"whole numbers from 1 to {MOST_BLOCKS}", {"minimum": 1, "maximum": MOST_BLOCKS}),
]
CountsFromZero = Annotated[
    tuple[Whole, ...],
    _each("at least 0", lambda value: value >= 0),
    *listed,
    _numbers("whole numbers from 0", {"minimum": 0}),
]
Ratios = Annotated[
    tuple[Real, ...], _ABOVE_0, *listed, _numbers("numbers above 0", {"exclusiveMinimum": 0})
]
Options = Annotated[tuple[tuple[str, OptionValue], ...], BeforeValidator(_as_options)]
OptionChoices = Annotated[
    tuple[tuple[str, tuple[OptionValue, ...]], ...],
    BeforeValidator(_as_option_choices),
    PlainSerializer(
        lambda pairs: {name: _shortest(values) for name, values in pairs}, when_used="json"
    ),
    Written(_options_schema),
]
