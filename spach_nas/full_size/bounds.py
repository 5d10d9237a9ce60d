"""Numbers with a bound, for pydantic: all that are broken in a file are told at once."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator

from spach_nas.units import Real, Whole


def checked(expected: str, inside: Callable[[Any], bool]) -> AfterValidator:
    """A bound on one value; all that are broken in a file are told at once."""

    def check(value: Any) -> Any:
        if not inside(value):
            raise ValueError(f"{value!r}; expected {expected}")
        return value

    return AfterValidator(check)


From1 = Annotated[Whole, checked("at least 1", lambda value: value >= 1)]
From0Whole = Annotated[Whole, checked("0 or more", lambda value: value >= 0)]
From0 = Annotated[Real, checked("0 or more", lambda value: value >= 0)]
Above0 = Annotated[Real, checked("more than 0", lambda value: value > 0)]
Between = Annotated[Real, checked("between 0 and 1", lambda value: 0 < value < 1)]
Share = Annotated[Real, checked("in [0, 1)", lambda value: 0 <= value < 1)]
Chance = Annotated[Real, checked("in [0, 1]", lambda value: 0 <= value <= 1)]
RandAugment = Annotated[
    str,
    checked(
        "a text such as rand-m9-mstd0.5-inc1",
        lambda value: value.split("-")[0] in ("rand", "augmix", "original", "v0", "3a"),
    ),
]
