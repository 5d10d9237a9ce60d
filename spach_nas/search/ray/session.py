"""Starts Ray on this machine or joins a cluster, and counts what fits on it."""

import contextlib
import logging
import math
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import ray

from spach_nas.config.plugins import shipped_modules
from spach_nas.config.search_settings import Resources
from spach_nas.errors import StudyError, one_line
from spach_nas.evaluators.heartbeat import LOOPBACK
from spach_nas.machine import address_space, cores
from spach_nas.search.ray.ray_patches import fewer_processes, mend_ray
from spach_nas.search.ray.ray_paths import shared_memory, temporary_folder
from spach_nas.space.mixers import MixerSpec
from spach_nas.units import format_count

# Together less than 15 s. Ray itself would try for minutes and print warnings.
_CONNECT_SECONDS = 4.0
ANSWER_SECONDS = 10.0
_PROBE = """
import logging, sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
except Exception as problem:
    print(" ".join(str(problem).split()))
    sys.exit(1)
"""
# Seconds between two counts of the nodes.
_COUNT_SECONDS = 2.0
ADDRESS_SPACE = 7_000_000_000
_KEYS = {"CPU": "cpus_per_trial", "GPU": "gpus_per_trial", "memory": "memory_per_trial"}


# Ray Tune keeps global state, so that two runs in one process would mix.
_ONE_AT_A_TIME = threading.Lock()


@contextlib.contextmanager
def ray_session(
    resources: Resources,
    mixers: Sequence[MixerSpec] = (),
    *,
    evaluators: Sequence[str] = (),
    shared_bytes: int = 0,
) -> Iterator[None]:
    """Start Ray on this machine or join a cluster, and leave it at the end.

    A process that is connected to a Ray already uses that one, and leaves it as it is.

    Args:
        resources: Where Ray runs.
        mixers: Those that do not come with this package; their modules are sent to the workers,
            unless they are installed.
        evaluators: Modules of evaluators that do not come with this package, sent likewise.
        shared_bytes: Of what will be shared by all workers.

    Raises:
        PluginError: The module of a mixer or an evaluator cannot be imported by its name.
        StudyError: The cluster cannot be reached, Ray does not start on this machine, or another
            session is open in this process.
    """
    if not _ONE_AT_A_TIME.acquire(blocking=False):
        raise StudyError(
            "ray: another search or training runs in this process; expected one at a time, or "
            "each in a process of its own"
        )
    try:
        modules = shipped_modules(mixers, evaluators=evaluators)
        if joined := ray.is_initialized():
            _check_joined(resources.address)
        else:
            _begin(resources.address, modules, shared_bytes=shared_bytes)
        try:
            yield
        finally:
            if not joined:
                ray.shutdown()
    finally:
        _ONE_AT_A_TIME.release()


def _begin(address: str, modules: list[ModuleType], *, shared_bytes: int) -> None:
    if address == "local":
        _check_address_space()
        mend_ray()
        temporary = temporary_folder()
        options: dict[str, Any] = {
            "num_cpus": cores(),  # Ray does not see that a process is bound to some cores
            "_temp_dir": None if temporary is None else str(temporary),
            **shared_memory(shared_bytes, temporary=temporary),
        }
    else:
        _check_reachable(address)
        options = {}
    lean = fewer_processes() if address == "local" else contextlib.nullcontext()
    try:
        with _unheard_hangups(), lean:
            ray.init(
                address=address,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                configure_logging=True,
                runtime_env={"py_modules": modules} if modules else None,
                **options,
            )
    except Exception as problem:  # Ray has no base class of what goes wrong
        ray.shutdown()  # what has started by then
        if address == "local":
            raise _not_started(problem, options["_temp_dir"]) from problem
        raise _unreachable(address, one_line(problem)) from None


def _check_address_space() -> None:
    # Ray would abort this process without an explanation. It reserves far more than it uses: 6 GB
    # were too little for a search that took 2 GB of memory, 8 GB were enough.
    limit = address_space()
    if limit is not None and limit < ADDRESS_SPACE:
        raise StudyError(
            f"ulimit -v: {limit / 1e9:.1f} GB of address space; expected at least "
            f"{ADDRESS_SPACE / 1e9:.0f} GB, which Ray reserves but does not use: "
            "`ulimit -v unlimited`"
        )


@contextlib.contextmanager
def _unheard_hangups() -> Iterator[None]:
    """Let Ray's processes ignore hang-ups of the terminal, which the search handles itself."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None:  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {hangup})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _check_joined(address: str) -> None:
    """Check that this process is connected to the Ray that the settings name."""
    joined = ray.get_runtime_context().gcs_address
    if address not in ("local", "auto", joined):
        raise StudyError(
            f"resources.address: {address}: this process is connected to the Ray at {joined}; "
            "expected that one, or ray.shutdown() before the search"
        )


def _not_started(problem: Exception, temporary: str | None) -> StudyError:
    logs = f": {temporary}/session_latest/logs has more" if temporary else ""
    return StudyError(
        f"ray: does not start on this machine: {one_line(problem, named=True)}{logs}; expected "
        "a machine that lets processes listen on its own ports, with free memory and free space; "
        "RAY_TMPDIR names another folder for its files"
    )


def _check_reachable(address: str) -> None:
    if address.startswith("ray://"):
        # Ray Client runs Tune on the head of the cluster, away from the study's folder.
        raise _unreachable(address, "Ray Client is not supported")
    if address != "auto":
        _connect(address)
    command = [sys.executable, "-c", _PROBE, address]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise _unreachable(address, f"no answer of Ray in {ANSWER_SECONDS:.0f} s") from None
    if done.returncode:
        raise _unreachable(address, (done.stdout.splitlines() or ["Ray cannot be started"])[-1])


def _connect(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise _unreachable(address, "no host and port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as problem:
        why = getattr(problem, "strerror", None) or one_line(problem)
        raise _unreachable(address, why) from None


def _unreachable(address: str, why: str) -> StudyError:
    return StudyError(
        f"resources.address: {address}: {why}; expected `local`, or `auto` or host:port of a "
        "running cluster that this machine has joined by `ray start`"
    )


def driver_host(resources: Resources) -> str:
    """The address of this machine for the workers, once Ray is joined."""
    return LOOPBACK if resources.address == "local" else str(ray.util.get_node_ip_address())


def demand(resources: Resources) -> dict[str, float]:
    """Resources of one trial by Ray's names: CPU, GPU, and memory in bytes.

    `auto` is one GPU if a node of the cluster has one.
    """
    gpus = resources.gpus_per_trial
    if gpus == "auto":
        gpus = float(any(node.get("GPU", 0) >= 1 for node in nodes()))
    asked = {"CPU": resources.cpus_per_trial, "GPU": gpus, "memory": resources.memory_per_trial}
    return {name: float(amount) for name, amount in asked.items() if amount}


def nodes() -> list[Mapping[str, float]]:
    """Resources of each node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def fitting(node: Mapping[str, float], asked: Mapping[str, float]) -> int:
    """Trials that fit on one node at once.

    Args:
        node: Resources of the node, by Ray's names.
        asked: Resources of a trial, each more than 0.
    """
    return min(_times(name, node.get(name, 0.0), amount) for name, amount in asked.items())


def _times(name: str, have: float, amount: float) -> int:
    if name == "GPU" and amount > 1 and amount % 1:
        return 0  # Ray gives shares of one GPU, or whole ones
    if name == "GPU" and amount < 1:
        return int(have) * _floor(1 / amount)  # a share is on one GPU
    return _floor(have / amount)


def _floor(value: float) -> int:
    return math.floor(value + 1e-9)  # 1 / 0.1 and the like


def trial_slots(
    resources: Resources,
    asked: Mapping[str, float],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Callable[[], int]:
    """A function that returns how many trials the living nodes can run at once.

    Args:
        resources: May bound the number.
        asked: Resources of a trial.
        clock: Returns seconds; nodes are counted again after a while.

    Raises:
        StudyError: No node has the resources of one trial.
    """
    known = nodes()
    if not any(fitting(node, asked) for node in known):
        raise StudyError(_impossible(known, asked))
    most = resources.max_concurrent
    counted, slots = -math.inf, 0

    def count() -> int:
        nonlocal counted, slots
        if clock() - counted >= _COUNT_SECONDS:
            counted, slots = clock(), sum(fitting(node, asked) for node in nodes())
        return slots if most is None else min(slots, most)

    return count


def _impossible(known: Sequence[Mapping[str, float]], asked: Mapping[str, float]) -> str:
    short = {
        name: max(node.get(name, 0.0) for node in known)
        for name, amount in asked.items()
        if not any(_times(name, node.get(name, 0.0), amount) for node in known)
    }
    mistakes = [
        f"resources.{_KEYS[name]}: {_amount(name, asked[name])} for a trial; expected at most the "
        f"{_amount(name, most)} of the largest node"
        + (", and a share of one or a whole number" if name == "GPU" else "")
        for name, most in short.items()
    ]
    wanted = ", ".join(_amount(name, amount) for name, amount in asked.items())
    return "\n".join(mistakes) or (
        f"resources: {wanted} for a trial; expected what one node has at once"
    )


def _amount(name: str, amount: float) -> str:
    if name == "memory":
        return f"{format_count(amount)}B"
    return f"{amount:g} {name}" + ("s" if amount != 1 else "")
