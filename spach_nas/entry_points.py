"""Installed plugins: packages that declare modules under a group of entry points."""

from functools import cache
from importlib.metadata import entry_points

from spach_nas.errors import PluginError, SpachNasError, one_line


@cache
def load_installed(group: str) -> None:
    """Import the modules that installed packages declare under a group, once.

    Raises:
        PluginError: A module cannot be imported.
    """
    for entry_point in entry_points(group=group):
        try:
            entry_point.load()
        except SpachNasError as problem:
            raise PluginError(f"plugin {entry_point.value} (installed): {problem}") from None
        # A script without `if __name__ == "__main__"` would silently end the user's command.
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
