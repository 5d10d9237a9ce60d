"""A registry of named entries, including those of installed packages and of the user."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, Protocol, TypeVar

from spach_nas.errors import PluginError, SpachNasError, did_you_mean, one_line, one_of


class _Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Named)


class Registry(Mapping[str, T], Generic[T]):
    """Entries of one kind by name, in the order of registration.

    As a mapping it holds what is registered so far. Installed packages add entries by entry points
    of the group `spach_nas.mixers`, `spach_nas.samplers` and so on, which name modules. These are
    imported when all names are requested, or a name that is not known without them.

    Attributes:
        kind: What an entry is, in one word: `mixer`.
        known: What is registered so far.
    """

    def __init__(
        self,
        kind: str,
        *,
        error: type[SpachNasError] = PluginError,
        homes: Callable[[T], set[str]] = lambda _: set(),
    ) -> None:
        """An empty registry.

        Args:
            kind: What an entry is, in one word.
            error: Which error to raise for a name that is taken or unknown.
            homes: Returns the modules that an entry refers to.
        """
        self.kind = kind
        self.known: dict[str, T] = {}
        self._error = error
        self._homes = homes

    def __getitem__(self, name: str) -> T:
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)

    def register(self, entry: T) -> None:
        """Make an entry known by its name; the same one may be registered again.

        Raises:
            SpachNasError: Another entry has the name.
        """
        if self.known.setdefault(entry.name, entry) != entry:
            raise self._error(
                f"{self.kind} {entry.name!r} is registered already; expected another name"
            )

    def names(self) -> tuple[str, ...]:
        """All names, including those of installed packages.

        Raises:
            PluginError: A module of an installed package cannot be imported.
        """
        _load_installed(f"spach_nas.{self.kind}s")
        return tuple(self.known)

    def find(self, name: str) -> T:
        """The entry of a name.

        Raises:
            SpachNasError: There is no such entry.
            PluginError: A module of an installed package cannot be imported.
        """
        try:
            return self.known[name]
        except (KeyError, TypeError):  # a list has no hash
            legal = self.names()
        if isinstance(name, str) and name in legal:
            return self.known[name]
        raise self._error(
            f"unknown {self.kind} {name!r}; expected {one_of(legal)}{did_you_mean(name, legal)}"
        )

    def written(self, name: str) -> str:
        """A name as in a YAML, which a plugin may bring in.

        Raises:
            ValueError: There is no such entry.
            PluginError: A module of an installed package cannot be imported.
        """
        if name not in self.known and name not in (names := self.names()):
            raise ValueError(
                f"{name!r}; expected {one_of(names)}, or one that --plugin MODULE brings in"
                f"{did_you_mean(name, names)}"
            )
        return name

    def homes(self) -> set[str]:
        """The modules that the entries refer to."""
        return {home for entry in self.known.values() for home in self._homes(entry)}


def import_named(place: str, *, what: str, error: type[SpachNasError] = PluginError) -> Any:
    """The object that an entry names by a text, so that it is imported only when it is needed.

    Args:
        place: `package.module:name`.
        what: Names the entry in messages.
        error: Which error to raise.

    Raises:
        SpachNasError: As `error`, when it cannot be imported.
    """
    module, _, name = place.partition(":")
    try:
        return getattr(import_module(module), name)
    # SystemExit: a script that ends its process when it is imported.
    except (Exception, SystemExit) as problem:
        raise error(
            f"{what}: {place!r} cannot be imported ({one_line(problem)}); expected "
            "'package.module:name'"
        ) from problem


@cache
def _load_installed(group: str) -> None:
    for entry_point in entry_points(group=group):
        try:
            entry_point.load()
        except SpachNasError as problem:
            raise PluginError(f"plugin {entry_point.value} (installed): {problem}") from None
        except SystemExit as problem:
            raise PluginError(
                f"plugin {entry_point.value} (installed): ends the program when it is imported "
                f"(exit code {problem.code})"
            ) from problem
        except Exception as problem:
            raise PluginError(
                f"plugin {entry_point.value} (installed): cannot be imported: "
                f"{one_line(problem, named=True)}"
            ) from problem
