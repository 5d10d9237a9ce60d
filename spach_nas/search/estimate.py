"""Duration and disk space of a whole search, estimated from a few timed proxies.

Time per image is fitted as a line in the proxy's MACs and added up over the trials.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spach_nas.config.search_yaml import SearchConfig
from spach_nas.cost.closed_form import costs
from spach_nas.data.held_out import nested_share
from spach_nas.errors import StudyError
from spach_nas.search.plan import Plan
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import reference_target
from spach_nas.space.scaling import scale
from spach_nas.study.journal import Foreseen
from spach_nas.study.ladder import places

# Measured on two cores: Ray's start and torch's import in each worker; report and best network.
_START_SECONDS, _FINISH_SECONDS = 8.0, 4.0
_TRIAL_SECONDS = 0.1  # Ray's and the study's part of a trial
_WEIGHT_BYTES = 4
_REPORT_BYTES = 5_500_000  # plotly's script is most of it
_RECORD_BYTES, _EPOCH_BYTES, _DATABASE_BYTES = 1_200, 130, 6_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """One proxy that was trained for a few steps.

    Attributes:
        macs: MACs of the proxy.
        train_seconds: Time per image for forward pass, backward pass and step.
        validate_seconds: Time per image for the forward pass.
        build_seconds: Time to build the network.
        failure: Why it could not be trained, with times of 0; None if it could.
    """

    macs: int
    train_seconds: float
    validate_seconds: float
    build_seconds: float
    failure: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RungTime:
    """Effort of the evaluations of one rung.

    Attributes:
        epochs: Epochs in addition to earlier rungs.
        image_size: Height and width of the input.
        evaluations: Number of candidates and paper models that reach the rung.
        images: Number of images that one of them trains on, over its epochs.
        seconds: Mean duration of an evaluation while others run.
    """

    epochs: int
    image_size: tuple[int, int]
    evaluations: int
    images: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeEstimate:
    """Time and disk of a whole search on this machine.

    Attributes:
        seconds: Time from the command to the report.
        limited: Whether `max_duration` ends the search before all trials are done.
        unlimited: The same without `max_duration`.
        cut: Number of evaluations that `max_duration` leaves undone.
        slowdown: Factor by which a training takes longer while others run.
        load: Number of other processes that ran here during the timing.
        start_seconds: Time before and after all trials.
        rungs: Cheapest first.
        scatter: Largest relative deviation of a measured proxy from the fitted line.
        checkpoint_bytes: Mean size of the weights of one proxy.
        disk_bytes: Largest possible size of the folder, with every candidate on the front.
    """

    seconds: float
    limited: bool
    unlimited: float
    cut: int
    device: str
    concurrent: int
    slowdown: float
    load: float
    start_seconds: float
    rungs: tuple[RungTime, ...]
    timed: tuple[Timed, ...]
    scatter: float
    checkpoint_bytes: int
    disk_bytes: int

    @property
    def evaluations(self) -> int:
        """Number of evaluations of all rungs."""
        return sum(rung.evaluations for rung in self.rungs)

    @property
    def foreseen(self) -> Foreseen:
        """The part that a search writes into its journal."""
        return Foreseen(
            seconds=self.seconds,
            evaluation_seconds=tuple(rung.seconds for rung in self.rungs),
            at_once=min(self.concurrent, self.rungs[0].evaluations),
            start_seconds=_START_SECONDS,
            finish_seconds=_FINISH_SECONDS,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """Seconds per image: `fixed + per_mac * macs`."""

    fixed: float
    per_mac: float

    def at(self, macs: float) -> float:
        """Seconds per image for a proxy with these MACs."""
        return self.fixed + self.per_mac * macs


def estimate_search(
    plan: Plan,
    targets: Sequence[Architecture],
    timed: Sequence[Timed],
    *,
    device: str,
    concurrent: int,
    scored: Mapping[int, float] | None = None,
    slowdown: float = 1.0,
    load: float = 0.0,
) -> TimeEstimate:
    """Add up what the trials of a search would take.

    Args:
        plan: The search.
        targets: Feasible ones, drawn uniformly, which stand for the candidates.
        timed: What was measured of trainings; empty where no rung trains.
        device: Where.
        concurrent: Trials at once.
        scored: Seconds of an evaluation at the rungs that train nothing, as far as it was measured.
        slowdown: Of a training by others at the same time, at least 1.
        load: Of the machine by others.

    Raises:
        StudyError: No proxy could be trained.
    """
    config = plan.config
    good = [item for item in timed if item.failure is None]
    if timed and not good:
        raise StudyError(f"no proxy can be trained here: {timed[0].failure}")
    training = validation = Line(fixed=0.0, per_mac=0.0)
    build = 0.0
    if good:
        training = fit_line([(item.macs, item.train_seconds) for item in good])
        validation = fit_line([(item.macs, item.validate_seconds) for item in good])
        build = statistics.median(item.build_seconds for item in good)
    rungs = tuple(
        _rung_time(plan, targets, rung, training, validation, build, slowdown=slowdown)
        if choice.spec.trains
        else _scored_time(plan, rung, (scored or {}).get(rung, 0.0), slowdown=slowdown)
        for rung, choice in enumerate(config.evaluators)
    )
    busy = sum(rung.evaluations * rung.seconds for rung in rungs)
    at_once = min(concurrent, rungs[0].evaluations)
    wall = busy / at_once
    most = config.search.max_duration
    # Ray's start counts. What runs when the time is up is finished: half of it on average.
    left = math.inf if most is None else max(0.0, most - _START_SECONDS)
    checkpoint, disk = _disk(plan, targets, rungs)
    return TimeEstimate(
        seconds=_START_SECONDS + min(left + rungs[0].seconds / 2, wall) + _FINISH_SECONDS,
        limited=wall > left,
        unlimited=_START_SECONDS + wall + _FINISH_SECONDS,
        cut=cut_by(
            left, wall, evaluations=sum(rung.evaluations for rung in rungs), at_once=at_once
        ),
        device=device,
        concurrent=concurrent,
        slowdown=slowdown,
        load=load,
        start_seconds=_START_SECONDS + _FINISH_SECONDS,
        rungs=rungs,
        timed=tuple(timed),
        scatter=max(
            (abs(training.at(item.macs) / item.train_seconds - 1) for item in good), default=0.0
        ),
        checkpoint_bytes=checkpoint,
        disk_bytes=disk,
    )


def cut_by(left: float, wall: float, *, evaluations: int, at_once: int) -> int:
    """Number of evaluations that cannot begin in the time that is left.

    Args:
        left: Seconds until nothing new starts.
        wall: Seconds that all evaluations take.
        evaluations: Their number.
        at_once: Number that begin together.
    """
    if wall <= left:
        return 0
    # Waves of `at_once` evaluations; the one that is running when the time is up is finished.
    waves = math.ceil(evaluations / at_once * left / wall)
    return max(0, evaluations - waves * at_once)


def fit_line(points: Sequence[tuple[int, float]]) -> Line:
    """The line with the least squares of relative errors, without negative coefficients."""
    macs, seconds = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    if not seconds.all():
        return Line(fixed=float(seconds.mean()), per_mac=0.0)
    sides = np.stack([1 / seconds, macs / seconds], axis=1)
    fixed, per_mac = np.linalg.lstsq(sides, np.ones(len(seconds)), rcond=None)[0].tolist()
    if fixed < 0 or len(points) == 1:
        return Line(fixed=0.0, per_mac=float(sides[:, 1].sum() / (sides[:, 1] ** 2).sum()))
    if per_mac < 0:
        return Line(fixed=float(seconds.mean()), per_mac=0.0)
    return Line(fixed=fixed, per_mac=per_mac)


def _rung_time(
    plan: Plan,
    targets: Sequence[Architecture],
    rung: int,
    training: Line,
    validation: Line,
    build: float,
    *,
    slowdown: float,
) -> RungTime:
    config = plan.config
    fidelity, epochs = config.fidelities[rung], added_epochs(config, rung)
    chosen = len(nested_share(plan.images.train.labels, fidelity.data_share))
    size = config.training.batch_size
    images = epochs * max(min(chosen, size), chosen // size * size)
    validated = epochs * len(plan.images.validation)
    trials = candidates_at(config, rung, feasible=plan.feasible.count)
    models = [reference_target(name, config.space.shape) for name in config.paper_models]
    # The mean stands for all candidates; the paper's models are known.
    mean = float(_proxy_costs(plan, targets, rung)[:, 1].mean())
    macs = trials * mean + float(_proxy_costs(plan, models, rung)[:, 1].sum())
    macs /= trials + len(models)
    return RungTime(
        epochs=epochs,
        image_size=fidelity.image_size,
        evaluations=trials + len(models),
        images=images,
        seconds=slowdown * (images * training.at(macs) + validated * validation.at(macs) + build)
        + _TRIAL_SECONDS,
    )


def _scored_time(plan: Plan, rung: int, seconds: float, *, slowdown: float) -> RungTime:
    """Of a rung that trains nothing."""
    candidates = candidates_at(plan.config, rung, feasible=plan.feasible.count)
    return RungTime(
        epochs=0,
        image_size=plan.config.fidelities[rung].image_size,
        evaluations=candidates + len(plan.config.paper_models),
        images=0,
        seconds=slowdown * seconds + _TRIAL_SECONDS,
    )


def added_epochs(config: SearchConfig, rung: int) -> int:
    """Epochs that a rung trains: with the same image size, a promoted candidate continues."""
    before = [fidelity for fidelity in config.course(rung) if fidelity.rung < rung]
    return config.fidelities[rung].epochs - (before[-1].epochs if before else 0)


def candidates_at(config: SearchConfig, rung: int, *, feasible: int | None) -> int:
    """Candidates that reach a rung: one in `reduction` is promoted from each."""
    count = min(config.search.trials, config.search.trials if feasible is None else feasible)
    return places(count, reduction=config.rungs.reduction, rungs=rung + 1)[rung]


def _proxy_costs(
    plan: Plan, targets: Sequence[Architecture], rung: int
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    data = plan.preprocessing.data_shape
    return costs([scale(target, plan.config.proxy_at(rung), data) for target in targets])


def _disk(
    plan: Plan, targets: Sequence[Architecture], rungs: Sequence[RungTime]
) -> tuple[int, int]:
    """Mean bytes of one proxy's weights, and largest possible bytes of the folder."""
    weights = [
        _WEIGHT_BYTES * float(_proxy_costs(plan, targets, rung)[:, 0].mean())
        for rung in range(len(rungs))
    ]
    # Below the top a checkpoint holds AdamW's two moments, too; the best is also exported.
    trains = [choice.spec.trains for choice in plan.config.evaluators]
    kept = sum(
        3 * size * rung.evaluations
        for size, rung, trained in zip(weights[:-1], rungs[:-1], trains[:-1], strict=True)
        if trained
    )
    kept += weights[-1] * (rungs[-1].evaluations + 1) if trains[-1] else 0.0
    some = targets[0]
    line = len(json.dumps(some.to_dict())) + len(json.dumps(plan.config.space.encode(some)))
    records = sum(
        rung.evaluations * (line + _RECORD_BYTES + _EPOCH_BYTES * rung.epochs + _DATABASE_BYTES)
        for rung in rungs
    )
    return round(weights[-1]), round(kept + records + _REPORT_BYTES)
