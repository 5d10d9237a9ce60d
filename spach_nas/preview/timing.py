"""A few training steps of a few proxies, timed on this machine as the search would train them."""

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from spach_nas.architecture import Architecture
from spach_nas.cost import cost
from spach_nas.data import DataSplits
from spach_nas.evaluation import Evaluation, EvaluationRequest, Fidelity
from spach_nas.evaluators import ProxyEvaluator
from spach_nas.machine import cores
from spach_nas.plan import Plan
from spach_nas.preview.estimate import Timed, TimeEstimate, estimate_search
from spach_nas.scaling import scale
from spach_nas.search_settings import Resources
from spach_nas.training import choose_runtime

# Proxies at these places of the range of their MACs, the most telling first: time may run out.
_PLACES = (0.5, 0.05, 0.95, 0.25, 0.75)
_SECONDS = 15.0
_TIMED_SECONDS = 0.3
_MOST_STEPS = 16
_VALIDATED = 256
_SAMPLED = 400


def time_search(plan: Plan, *, seed: int = 0) -> TimeEstimate:
    """Train a few proxies for a few steps, and extrapolate to the whole search.

    Args:
        plan: The search.
        seed: Of the targets that stand for the candidates.

    Raises:
        StudyError: No proxy can be trained.
        ConfigError: This machine lacks the device that the settings ask for.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    device = choose_runtime(device=plan.config.training.device).device.type
    targets = plan.feasible.samples(_SAMPLED, seed)
    return estimate_search(
        plan,
        targets,
        time_proxies(plan, targets),
        device=device,
        concurrent=trials_at_once(plan.config.resources, device=device),
        load=load,
    )


def trials_at_once(resources: Resources, *, device: str) -> int:
    """How many trials this machine alone trains side by side, by cores and GPUs."""
    slots = cores() / resources.cpus_per_trial
    gpus = resources.gpus_per_trial
    if device == "cuda" and gpus != 0:
        slots = min(slots, torch.cuda.device_count() / (1.0 if gpus == "auto" else gpus))
    return max(1, min(int(slots), resources.max_concurrent or int(slots)))


def time_proxies(plan: Plan, targets: Sequence[Architecture]) -> tuple[Timed, ...]:
    """Proxies at some places of the range, until the time for it is spent."""
    started = time.perf_counter()
    data = plan.preprocessing.data_shape
    proxies = {scale(target, plan.config.proxy, data): target for target in targets}
    ordered = sorted(proxies, key=lambda proxy: cost(proxy).macs)
    chosen = dict.fromkeys(ordered[round(place * (len(ordered) - 1))] for place in _PLACES)
    found: list[Timed] = []
    for proxy in chosen:
        if not found or time.perf_counter() - started < _SECONDS:
            found.append(_time(plan, proxies[proxy], proxy))
    return tuple(sorted(found, key=lambda item: item.macs))


def _time(plan: Plan, target: Architecture, proxy: Architecture) -> Timed:
    """Seconds for an image: one step to see how long it takes, then some to be measured."""
    size = min(plan.config.training.batch_size, len(plan.images.train))
    first = _train(plan, target, proxy, steps=1, validated=1, epochs=2)
    macs = cost(proxy).macs
    if first.state == "failed":
        return Timed(
            macs=macs,
            train_seconds=0.0,
            validate_seconds=0.0,
            build_seconds=0.0,
            failure=first.reason,
        )
    step = first.curve[-1].seconds
    steps = min(_MOST_STEPS, int(_TIMED_SECONDS / step), len(plan.images.train) // size)
    if steps >= 1:
        again = _train(plan, target, proxy, steps=steps, validated=1, epochs=4)
        step = statistics.median(epoch.seconds for epoch in again.curve[1:]) / steps
    validated = min(_VALIDATED, len(plan.images.validation))
    both = _train(plan, target, proxy, steps=1, validated=validated, epochs=3)
    validation = statistics.median(epoch.seconds for epoch in both.curve[1:]) - step
    return Timed(
        macs=macs,
        train_seconds=step / size,
        validate_seconds=max(validation, 0.0) / validated,
        build_seconds=first.seconds - sum(epoch.seconds for epoch in first.curve),
    )


def _train(
    plan: Plan,
    target: Architecture,
    proxy: Architecture,
    *,
    steps: int,
    validated: int,
    epochs: int,
) -> Evaluation:
    """What the search would do with the first images; the first epoch is to warm up."""
    config, splits = plan.config, plan.images
    images = min(steps * config.training.batch_size, len(splits.train))
    some = DataSplits(
        train=splits.train.take(np.arange(images)),
        validation=splits.validation.take(np.arange(validated)),
        normalisation=splits.normalisation,
    )
    fidelity = Fidelity(epochs=epochs, image_size=proxy.image_size, data_share=1.0)
    evaluator = ProxyEvaluator(
        settings=replace(config.training, compile=False), threads=config.resources.threads
    )
    request = EvaluationRequest(
        trial=0, architecture=target, proxy=proxy, fidelity=fidelity, seed=config.training_seed
    )
    return evaluator(request, some)
