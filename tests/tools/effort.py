"""What a plain `pytest` leaves for the gate: more cases of a kind, and what takes long."""

from collections.abc import Iterable
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
_all = False
# Of every test whose number of cases depends on the effort.
thorough = pytest.mark.thorough
# Takes seconds, and a plain run tries a cheaper case of its kind.
slow = pytest.mark.slow


def set_effort(expression: str) -> None:
    """Take the effort from `-m`; before any test is imported."""
    global _all
    _all = "thorough" in expression


def some_or_all(some: T, everything: T) -> T:
    """Which of two numbers of examples, or of two lists of cases, this run takes."""
    return everything if _all else some


def with_slow(cases: Iterable[Any], *ones: object) -> list[Any]:
    """Cases for `parametrize`, of which some are slow; a tuple has a value for each name."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=slow)
        if case in ones
        else case
        for case in cases
    ]
