"""Two ways of Ray that a search cannot live with, mended from outside.

Each sets a private name of Ray's, and does nothing in a release that has no such name.
"""

import contextlib
from importlib import import_module

from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

_LOSSES = (RayActorError, OutOfMemoryError, NodeDiedError, WorkerCrashedError)
_TUNE = ("ray.air.execution._internal.actor_manager", "ray.tune.execution.tune_controller")


def mend_ray() -> None:
    """Make Tune outlive Ray's memory monitor, and keep Ray from printing; may be called again."""
    # Tune holds a RayActorError alone for a lost actor. Any other error, as of an actor that was
    # ended because memory ran low, ends Tune with all its trials.
    for name in _TUNE:
        _replace(name, "RayActorError", RayActorError, _LOSSES)
    # Ten lines for each lost worker on standard output, whatever the logging level.
    _replace("ray._private.worker", "print_to_stdstream", None, _print_nothing)


def _replace(module: str, name: str, expected: object, value: object) -> None:
    with contextlib.suppress(ImportError):
        found = import_module(module)
        current = getattr(found, name, None)
        if current is not None and (expected is None or current is expected):
            setattr(found, name, value)


def _print_nothing(*_: object, **__: object) -> None:
    pass
