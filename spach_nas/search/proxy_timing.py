"""A few training steps of a few proxies, timed on this machine as the search would train them.

Timings are kept in the user's cache folder, a file for each protocol. Nothing depends on them: what
cannot be written or read is timed again.
"""

import contextlib
import hashlib
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import torch

from spach_nas.config.evaluation import Evaluation, EvaluationRequest, Fidelity
from spach_nas.config.plugins import restore
from spach_nas.config.search_settings import Resources
from spach_nas.config.training_settings import TrainingSettings
from spach_nas.cost.closed_form import cost
from spach_nas.data import DataSplits
from spach_nas.data.images import ImageSet
from spach_nas.errors import SpachNasError, StudyError, one_line
from spach_nas.evaluators import ProxyEvaluator
from spach_nas.evaluators.interface import Evaluator, evaluator_of
from spach_nas.files import replace_text
from spach_nas.machine import cores
from spach_nas.search.estimate import Timed, TimeEstimate, estimate_search
from spach_nas.search.plan import Plan
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import MixerSpec, plugin_mixers
from spach_nas.space.scaling import scale
from spach_nas.study.requests import make_request
from spach_nas.training import choose_runtime
from spach_nas.training import threads as cpu_threads
from spach_nas.version import __version__

# Proxies at these places of the range of their MACs, the most telling first: time may run out.
PLACES = (0.5, 0.05, 0.95, 0.25, 0.75)
_MOST_STEPS = 16
# Of one thread of a slow processor: a first step cannot be broken off.
_SLOWEST_MACS = 10e9
_VALIDATED = 256
_SAMPLED = 400
_SCORED = 3  # the first one warms up
_ROUNDS = 3
# Kept timings age: clocks, neighbours and libraries of a machine change.
_DAYS = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Care:
    """How much time a timing may take.

    Attributes:
        seconds: After these, no other proxy is timed, and none more closely.
        places: Number of places in the range of MACs, the most telling first.
        timed_seconds: Of the steps of one proxy that are measured together.
        step_seconds: A step that is likely to take longer is timed on fewer images.
    """

    seconds: float
    places: int
    timed_seconds: float
    step_seconds: float


THOROUGH = Care(seconds=15.0, places=5, timed_seconds=0.3, step_seconds=2.0)
# Before a search: less than 5 s in all.
QUICK = Care(seconds=2.5, places=3, timed_seconds=0.2, step_seconds=0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """All that a timing needs of a search; small, so that it may go to another process.

    Attributes:
        images: The first ones of either part.
        proxies: Target and proxy, the most telling first.
        mixers: Those that do not come with this package.
        care: How long it may take.
    """

    settings: TrainingSettings
    threads: int
    seed: int
    images: DataSplits
    proxies: tuple[tuple[Architecture, Architecture], ...]
    mixers: tuple[MixerSpec, ...]
    care: Care


def time_search(plan: Plan, *, seed: int = 0, care: Care = THOROUGH) -> TimeEstimate:
    """Train a few proxies for a few steps, and extrapolate to the whole search.

    Args:
        plan: The search.
        seed: Of the targets that stand for the candidates.
        care: How long it may take. With `QUICK`, what was kept of an earlier timing of the same
            protocol on this machine is as good.

    Raises:
        StudyError: No proxy can be trained.
        ConfigError: This machine lacks the device that the settings ask for.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    device = choose_runtime(device=plan.config.training.device).device.type
    targets = plan.feasible.samples(_SAMPLED, seed)
    concurrent = trials_at_once(plan.config.resources, device=device)
    timed: tuple[Timed, ...] = ()
    slowdown = 1.0
    if any(choice.spec.trains for choice in plan.config.evaluators):
        protocol = _protocol(plan, device=device, concurrent=concurrent)
        found = kept_timing(protocol) if care is QUICK else None
        if found is None:
            found = measure_proxies(
                make_bench(plan, targets, care=care), device=device, concurrent=concurrent
            )
            # What else runs now may be gone the next time.
            if load <= cores():
                keep_timing(protocol, *found)
        timed, slowdown = found
    return estimate_search(
        plan,
        targets,
        timed,
        device=device,
        concurrent=concurrent,
        scored=time_scores(plan, targets, device=device),
        slowdown=slowdown,
        load=load,
    )


def time_scores(plan: Plan, targets: Sequence[Architecture], *, device: str) -> dict[int, float]:
    """Seconds of one evaluation at each rung that neither trains nor needs a preparation."""
    found = {}
    for rung, choice in enumerate(plan.config.evaluators):
        if choice.spec.trains or choice.spec.prepare is not None:
            continue
        evaluator = evaluator_of(plan.config, choice, folder=Path())
        images = plan.splits[plan.config.fidelities[rung].image_size]
        shape = plan.preprocessing.data_shape
        requests = [
            make_request(plan.config, target, trial=trial, rung=rung, data=shape)
            for trial, target in enumerate(targets[:_SCORED])
        ]
        mixers = tuple(plugin_mixers(plan.config.mixers))
        given = (evaluator, requests, images, mixers)
        if device == "cpu":
            found[rung] = _score_seconds(*given)
            continue
        # As for trainings: in another process.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found[rung] = pool.submit(_score_seconds, *given).result()
    return found


def _score_seconds(
    evaluator: Evaluator,
    requests: Sequence[EvaluationRequest],
    images: DataSplits,
    mixers: Sequence[MixerSpec],
) -> float:
    restore(mixers)
    return statistics.median(evaluator(request, images).seconds for request in requests)


def measure_proxies(
    bench: Bench, *, device: str, concurrent: int
) -> tuple[tuple[Timed, ...], float]:
    """Times of the proxies, and how much longer each takes when others are trained next to it."""
    if device == "cpu":
        return time_proxies(bench), side_by_side(concurrent, threads=bench.threads)
    # In another process, since this one would hold a part of the device until the search ends.
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(time_proxies, bench).result(), 1.0
    except SpachNasError:
        raise
    # A device that is lost or taken, a process that is killed: the search reports it better.
    except Exception as problem:
        raise StudyError(f"no step can be timed: {one_line(problem, named=True)}") from problem


def _protocol(plan: Plan, *, device: str, concurrent: int) -> tuple[object, ...]:
    """Everything that the time for an image depends on, except this machine."""
    config, found = plan.config, device
    if device == "cuda":
        found = torch.cuda.get_device_name()
    training = replace(config.training, epochs=1, data_share=1.0, seed=None)
    shape = (plan.preprocessing.data_shape, config.image_size)
    return (
        *(config.space, config.limits, config.proxy_limits, config.proxy, training, shape),
        *(config.resources.threads, concurrent, found, torch.__version__),
    )


def side_by_side(count: int, *, threads: int) -> float:
    """How many times longer the same work takes on `count` threads at once than on one.

    Cores share caches, memory and, as two threads of one core, units. The work is what a block
    does, large enough for Python's own lock not to count.

    Args:
        count: Of trainings at once.
        threads: Of each.
    """
    if count < 2:
        return 1.0
    with cpu_threads(threads), ThreadPoolExecutor(count) as pool:
        _work(Barrier(1))
        # The best of some, in turn: what else the machine does adds to either.
        alone, together = math.inf, math.inf
        for _ in range(_ROUNDS):
            alone = min(alone, _work(Barrier(1)))
            barrier = Barrier(count)
            together = min(together, statistics.median(pool.map(_work, [barrier] * count)))
    return min(max(1.0, together / alone), float(count))


def _work(barrier: Barrier) -> float:
    """Median seconds of a small channel MLP, forward and backward."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2048, 64, generator=generator)
    into = torch.randn(64, 192, generator=generator, requires_grad=True)
    out = torch.randn(192, 64, generator=generator, requires_grad=True)
    seconds = []
    barrier.wait()
    for _ in range(5):
        started = time.perf_counter()
        loss = (torch.nn.functional.gelu(tokens @ into) @ out).square().mean()
        torch.autograd.grad(loss, (into, out))
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def trials_at_once(resources: Resources, *, device: str) -> int:
    """How many trials this machine alone trains side by side, by cores and GPUs."""
    slots = cores() / resources.cpus_per_trial
    gpus = resources.gpus_per_trial
    if device == "cuda" and gpus != 0:
        slots = min(slots, torch.cuda.device_count() / (1.0 if gpus == "auto" else gpus))
    return max(1, min(int(slots), resources.max_concurrent or int(slots)))


def make_bench(plan: Plan, targets: Sequence[Architecture], *, care: Care) -> Bench:
    """What is timed: proxies at some places of the range of their MACs."""
    config, images = plan.config, plan.images
    data = plan.preprocessing.data_shape
    proxies = {scale(target, config.proxy, data): target for target in targets}
    ordered = sorted(proxies, key=lambda proxy: cost(proxy).macs)
    places = PLACES[: care.places]
    chosen = dict.fromkeys(ordered[round(place * (len(ordered) - 1))] for place in places)
    return Bench(
        # A network is compiled once for a whole training.
        settings=replace(config.training, compile=False),
        threads=config.resources.threads,
        seed=config.training_seed,
        images=DataSplits(
            train=_first(images.train, _MOST_STEPS * config.training.batch_size),
            validation=_first(images.validation, _VALIDATED),
            normalisation=images.normalisation,
        ),
        proxies=tuple((proxies[proxy], proxy) for proxy in chosen),
        mixers=tuple(plugin_mixers(config.mixers)),
        care=care,
    )


def _first(images: ImageSet, count: int) -> ImageSet:
    return images.take(np.arange(min(count, len(images))))


def time_proxies(bench: Bench) -> tuple[Timed, ...]:
    """One proxy after the other, until the time for it is spent."""
    restore(bench.mixers)
    until = time.perf_counter() + bench.care.seconds
    found: list[Timed] = []
    for target, proxy in bench.proxies:
        if not found or time.perf_counter() < until:
            found.append(_time(bench, target, proxy, until=until))
    return tuple(sorted(found, key=lambda item: item.macs))


def _time(bench: Bench, target: Architecture, proxy: Architecture, *, until: float) -> Timed:
    """Seconds for an image, by what an epoch takes longer for more steps or more validation.

    A difference, since an epoch of few steps is mostly overhead.
    """
    macs, care = cost(proxy).macs, bench.care
    size = images_of_a_step(bench, macs)
    fidelity = Fidelity(epochs=1, image_size=proxy.image_size, data_share=1.0)
    request = EvaluationRequest(
        trial=0, architecture=target, proxy=proxy, fidelity=fidelity, seed=bench.seed
    )
    train = partial(_train, bench, request, size=size)
    first = train(steps=1, validated=1, epochs=3)
    if first.state == "failed":
        return Timed(
            macs=macs,
            train_seconds=0.0,
            validate_seconds=0.0,
            build_seconds=0.0,
            failure=first.reason,
        )
    step = shortest = _epoch_seconds(first)
    room = min(_MOST_STEPS, len(bench.images.train) // size) - 1
    more = min(max(1, int(care.timed_seconds / shortest)), room)
    if more >= 1:
        longer = _epoch_seconds(train(steps=1 + more, validated=1, epochs=3))
        # Another process may have got in between.
        step = min(max(longer - shortest, 0.0) / more or shortest, shortest)
    # Without time to measure it: the forward pass is a third of a step.
    validate_seconds = step / size / 3
    if time.perf_counter() < until:
        validated = len(bench.images.validation)
        longer = _epoch_seconds(train(steps=1, validated=validated, epochs=3))
        validate_seconds = max(longer - shortest, 0.0) / max(1, validated - 1)
    return Timed(
        macs=macs,
        train_seconds=step / size,
        validate_seconds=validate_seconds,
        build_seconds=first.seconds - sum(epoch.seconds for epoch in first.curve),
    )


def _epoch_seconds(evaluation: Evaluation) -> float:
    """Of an epoch; the first one sets up kernels and memory."""
    return statistics.median(epoch.seconds for epoch in evaluation.curve[1:])


def images_of_a_step(bench: Bench, macs: int) -> int:
    """Those of a batch; on a CPU as many as it trains in some time, for a proxy that is large."""
    size = min(bench.settings.batch_size, len(bench.images.train))
    if choose_runtime(device=bench.settings.device).device.type != "cpu":
        return size
    # Forward and backward are three times the forward pass.
    rate = _SLOWEST_MACS * bench.threads / 3
    return max(1, min(size, int(bench.care.step_seconds * rate / macs)))


def _train(
    bench: Bench,
    request: EvaluationRequest,
    *,
    size: int,
    steps: int,
    validated: int,
    epochs: int,
) -> Evaluation:
    """What the search would do with the first images; the first epoch is to warm up."""
    images = bench.images
    some = replace(
        images,
        train=_first(images.train, steps * size),
        validation=_first(images.validation, validated),
    )
    evaluator = ProxyEvaluator(
        settings=replace(bench.settings, batch_size=size, teacher=None),
        threads=bench.threads,
    )
    fidelity = replace(request.fidelity, epochs=epochs)
    return evaluator(replace(request, fidelity=fidelity), some)


def cache_folder() -> Path:
    """Of this package, for this user; it need not exist."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if Path(named).is_absolute():
        base = Path(named)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "spach-nas"


def kept_timing(protocol: object) -> tuple[tuple[Timed, ...], float] | None:
    """What was timed and the slowdown side by side; None where there is none, or it is old.

    Args:
        protocol: Of the trainings and the device; its text names the file.
    """
    with contextlib.suppress(OSError, RuntimeError, ValueError, TypeError, KeyError):
        plain = json.loads(_file(protocol).read_text(encoding="utf-8"))
        age = time.time() - float(plain["time"])
        timed = tuple(Timed(**item) for item in plain["timed"])
        if timed and 0 <= age < _DAYS * 86400 and all(map(_is_sound, timed)):
            return timed, max(1.0, float(plain["slowdown"]))
    return None


def keep_timing(protocol: object, timed: Sequence[Timed], slowdown: float) -> None:
    """Keep it, where that is possible."""
    plain: dict[str, Any] = {
        "time": time.time(),
        "timed": [asdict(item) for item in timed],
        "slowdown": slowdown,
    }
    with contextlib.suppress(OSError, RuntimeError):
        path = _file(protocol)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(plain))


def _file(protocol: object) -> Path:
    machine = (platform.node(), platform.machine(), _processor(), os.cpu_count(), __version__)
    key = hashlib.sha256(repr((machine, protocol)).encode()).hexdigest()[:16]
    return cache_folder() / "timings" / f"{key}.json"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line
    return platform.processor()


def _is_sound(timed: Timed) -> bool:
    return (
        timed.failure is None
        and timed.macs > 0
        and 0 < timed.train_seconds < 1e6
        and 0 <= timed.validate_seconds < 1e6
        and 0 <= timed.build_seconds < 1e6
    )
