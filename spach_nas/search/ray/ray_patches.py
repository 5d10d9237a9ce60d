"""Patches of Ray's private names, without which searches end early or print what nobody wants.

Each does nothing in a release that lacks the name.
"""

import contextlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

_LOSSES = (RayActorError, OutOfMemoryError, NodeDiedError, WorkerCrashedError)
_TUNE = ("ray.air.execution._internal.actor_manager", "ray.tune.execution.tune_controller")


def mend_ray() -> None:
    """Make Tune outlive Ray's memory monitor, and Ray print and start less; may be called again."""
    # Tune holds a RayActorError alone for a lost actor. Any other error, as of an actor that was
    # ended because memory ran low, ends Tune with all its trials.
    for name in _TUNE:
        _replace(name, "RayActorError", RayActorError, _LOSSES)
    # Ten lines for each lost worker on standard output, whatever the logging level.
    _replace("ray._private.worker", "print_to_stdstream", None, _print_nothing)
    _mend_dashboard()


def _replace(module: str, name: str, expected: object, value: object) -> None:
    with contextlib.suppress(ImportError):
        found = import_module(module)
        current = getattr(found, name, None)
        if current is not None and (expected is None or current is expected):
            setattr(found, name, value)


def _print_nothing(*_: object, **__: object) -> None:
    pass


def _mend_dashboard() -> None:
    """Start no process of the dashboard where none is wanted; Ray starts it without its pages.

    It takes 90 MB and more than a second, and looks for a port from 8265 on.
    """
    with contextlib.suppress(ImportError, AttributeError):
        node = import_module("ray._private.node").Node
        start: Callable[..., None] = node.start_api_server
        if getattr(start, "mended", False):
            return

        def start_if_wanted(self: Any, *, include_dashboard: bool | None, **others: Any) -> None:
            if include_dashboard is False:
                self._webui_url = ""
            else:
                start(self, include_dashboard=include_dashboard, **others)

        start_if_wanted.mended = True  # type: ignore[attr-defined]
        node.start_api_server = start_if_wanted


@contextlib.contextmanager
def fewer_processes() -> Iterator[None]:
    """Start neither the log monitor nor the autoscaler with a Ray of this machine alone.

    One sends what workers print to the driver, which is switched off, the other asks a cloud for
    more machines. Together they take 120 MB and two seconds of a processor.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, AttributeError):
            node = import_module("ray._private.node").Node
            for name in ("start_log_monitor", "start_monitor"):
                stack.callback(setattr, node, name, getattr(node, name))
                setattr(node, name, _start_nothing)
        yield


def _start_nothing(self: object) -> None:
    pass
