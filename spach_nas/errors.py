"""Errors that a user can cause. The command prints them without a traceback and exits with 2."""

from collections.abc import Iterable
from difflib import get_close_matches

from spach_nas.foreign_words import meant, note

# A traceback or a state dict in a message may be pages long.
_LONGEST = 500


class SpachNasError(ValueError):
    """A user's mistake: the message names the place, the value and what is legal."""


class ArchitectureError(SpachNasError):
    """An architecture that no network can have."""


class SearchSpaceError(SpachNasError):
    """A search space that is malformed or empty, or an architecture outside it."""


class PluginError(SpachNasError):
    """A user's module that registers nothing, or something that conflicts with others."""


class ConfigError(SpachNasError):
    """Mistakes in a search YAML, one line for each."""


class DataError(SpachNasError):
    """A data set that is unknown, missing or unreadable."""


class StudyError(SpachNasError):
    """A study folder that exists already, is missing or unreadable; a search that cannot run."""


class LatencyError(SpachNasError):
    """A latency that cannot be measured here, or a table of latencies that does not fit."""


class BundleError(SpachNasError):
    """A bundle that is incomplete or unsuitable for what is requested."""


def one_of(names: Iterable[str]) -> str:
    """`conv, attention or mlp`."""
    listed = [str(name) for name in names]
    return " or ".join(filter(None, [", ".join(listed[:-1]), *listed[-1:]]))


def did_you_mean(name: str, legal: Iterable[str]) -> str:
    """`; did you mean 'attention'?` for a typo or another tool's word, otherwise empty."""
    names = [str(item) for item in legal]
    # Known words first: by spelling alone, `lr` would never lead to `learning_rate`.
    found = meant(str(name), names) or next(iter(get_close_matches(str(name), names, n=1)), None)
    if found is None:
        return ""
    said = note(str(name), found)
    return f"; did you mean {found!r}{f' ({said})' if said else ''}?"


def one_line(problem: BaseException, *, named: bool = False, first: bool = False) -> str:
    """The message of another library's error in one line, or its class if the message is empty.

    Args:
        problem: An error that is not ours, whose message may have any form and length.
        named: Whether the class precedes the message: `ImportError: no module ...`.
        first: Whether to keep only the first line, for messages that continue with a traceback or
            advice.
    """
    lines = [line for line in str(problem).splitlines() if line.strip()]
    text = " ".join(" ".join(lines[:1] if first else lines).split())
    name = type(problem).__name__
    line = ": ".join(filter(None, [name if named or not text else "", text]))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
