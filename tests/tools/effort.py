"""How much the tests try that try many of a kind: some as a rule, all with `-m thorough`."""

from typing import TypeVar

import pytest

T = TypeVar("T")
_all = False
# Of every test whose number of cases depends on the effort.
thorough = pytest.mark.thorough


def set_effort(expression: str) -> None:
    """Take the effort from `-m`; before any test is imported."""
    global _all
    _all = "thorough" in expression


def some_or_all(some: T, everything: T) -> T:
    """Which of two numbers of examples, or of two lists of cases, this run takes."""
    return everything if _all else some
