"""Patches of Ray's internals, without which searches end early, print too much or start slowly.

Each does nothing in a release of Ray that lacks what it patches.
"""

import contextlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

_LOSSES = (RayActorError, OutOfMemoryError, NodeDiedError, WorkerCrashedError)
_TUNE = ("ray.air.execution._internal.actor_manager", "ray.tune.execution.tune_controller")


def mend_ray() -> None:
    """Let Tune survive Ray's memory monitor, and Ray print and start less; may be called again."""
    # Tune takes only a RayActorError for a lost actor. Any other error, such as that of an actor
    # ended because memory ran low, ends Tune with all its trials.
    for name in _TUNE:
        _replace(name, "RayActorError", RayActorError, _LOSSES)
    # It prints ten lines per lost worker on standard output, whatever the logging level.
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
    """Start no process of the dashboard if it is switched off; Ray would start it without pages.

    It takes 90 MB and more than a second, and looks for a free port from 8265 on.
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

    One sends the output of workers to the driver, which is switched off, the other requests
    machines from a cloud. Together they take 120 MB and two seconds of processor time.
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
