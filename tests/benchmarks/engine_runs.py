"""Whole searches to be timed: by the engine, by a bare loop, and by stock parts of Ray Tune."""

import concurrent.futures
import itertools
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
import yaml
from ray import cloudpickle, tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.cost.closed_form import Cost, cost
from spach_nas.data import DataSplits
from spach_nas.evaluators import ProxyEvaluator
from spach_nas.samplers.feasible_sampler import distributions
from spach_nas.search.plan import Plan, plan_search
from spach_nas.search.ray.runner import ray_session, run_study
from spach_nas.search.run import prepare_folder
from spach_nas.space.scaling import DataShape, scale
from spach_nas.study.driver import StudyDriver
from spach_nas.study.records import Record

# Workers do not see this folder.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
# The space and the budget of Hybrid-MS-S+: one in a hundred of the architectures is feasible.
SEARCH = {
    "study": "timed",
    "space": "spach_ms",
    "limits": {"min_macs": "11.7G", "max_macs": "12.3G", "max_params": "63.2M"},
    "data": {"name": "fashion-mini", "validation": 0.2},
    "proxy": {"image_size": 32, "patch_size": 2, "width_scale": 0.125},
}


def planned(folder: Path, **sections: object) -> Plan:
    """A search of `SEARCH` with more sections."""
    path = folder / "timed.yaml"
    path.write_text(yaml.safe_dump({**SEARCH, **sections}, sort_keys=False))
    return plan_search(path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamped:
    """An evaluator that writes down when it ran in which process.

    Attributes:
        inner: What it calls.
        folder: A file for each process: trial, begin and end, in seconds since 1970.
    """

    inner: ProxyEvaluator
    folder: Path

    def __call__(
        self, request: EvaluationRequest, data: DataSplits, checkpoint: bytes | None = None
    ) -> Evaluation:
        began = time.time()
        evaluation = self.inner(request, data, checkpoint=checkpoint)
        with (self.folder / str(os.getpid())).open("a") as file:
            file.write(f"{request.trial} {began} {time.time()}\n")
        return evaluation


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """One evaluation; seconds since 1970."""

    trial: int
    began: float
    ended: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A finished search.

    Attributes:
        records: Of the study.
        requests: By trial; of one rung.
        spans: Evaluations of each worker in order.
        seconds: Of the wall, Ray's start and end included.
    """

    records: tuple[Record, ...]
    requests: dict[int, EvaluationRequest]
    spans: tuple[tuple[Span, ...], ...]
    seconds: float

    @property
    def search_seconds(self) -> float:
        """From the begin of the first evaluation to the end of the last."""
        spans = [span for worker in self.spans for span in worker]
        return max(span.ended for span in spans) - min(span.began for span in spans)

    @property
    def training_seconds(self) -> float:
        """In the evaluator, summed over workers."""
        return sum(span.ended - span.began for worker in self.spans for span in worker)

    @property
    def gaps(self) -> list[float]:
        """Seconds between one evaluation of a worker and its next."""
        return [
            following.began - before.ended
            for worker in self.spans
            for before, following in itertools.pairwise(worker)
        ]


@dataclass(kw_only=True)
class _Noting:
    """A study that keeps what it was asked for."""

    study: StudyDriver
    requests: dict[int, EvaluationRequest] = field(default_factory=dict)

    def next(self) -> object:
        asked = self.study.next()
        if isinstance(asked, EvaluationRequest):
            self.requests[asked.trial] = asked
        return asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self.study, name)


def run_engine(plan: Plan, folder: Path) -> Run:
    """Search as the command does, but for the report."""
    began = time.perf_counter()
    prepare_folder(plan, folder)
    stamps = folder / "stamps"
    stamps.mkdir()
    study = StudyDriver(
        plan.config,
        folder=folder,
        data=plan.preprocessing.data_shape,
        feasible=plan.feasible,
        records=(),
    )
    noting = _Noting(study=study)
    evaluator = Stamped(inner=evaluator_of(plan), folder=stamps)
    study.begin()
    with ray_session(plan.config.resources):
        run_study(
            noting,  # type: ignore[arg-type]
            evaluator,
            data=plan.splits,
            on_record=lambda record: None,
        )
    study.close()
    return Run(
        records=tuple(study.records),
        requests=noting.requests,
        spans=tuple(_read_spans(path) for path in sorted(stamps.iterdir())),
        seconds=time.perf_counter() - began,
    )


def evaluator_of(plan: Plan) -> ProxyEvaluator:
    return ProxyEvaluator(settings=plan.config.training, threads=plan.config.resources.threads)


def _read_spans(path: Path) -> tuple[Span, ...]:
    rows = [line.split() for line in path.read_text().splitlines()]
    return tuple(Span(trial=int(a), began=float(b), ended=float(c)) for a, b, c in rows)


def bare_loops(plan: Plan, workers: Sequence[Sequence[EvaluationRequest]]) -> list[list[float]]:
    """Seconds of each request in a plain loop, one process for each worker, side by side."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(len(workers), mp_context=context) as pool:
        barrier = context.Manager().Barrier(len(workers))
        jobs = [
            pool.submit(
                _loop, evaluator_of(plan), list(requests), data=dict(plan.splits), barrier=barrier
            )
            for requests in workers
        ]
        return [job.result() for job in jobs]


def _loop(
    evaluator: ProxyEvaluator,
    requests: list[EvaluationRequest],
    *,
    data: dict[tuple[int, int], DataSplits],
    barrier: Any,
) -> list[float]:
    seconds = []
    # As warm as a worker of Ray after its first evaluation.
    evaluator(requests[0], data[requests[0].fidelity.image_size])
    barrier.wait()
    for request in requests:
        began = time.perf_counter()
        evaluator(request, data[request.fidelity.image_size])
        seconds.append(time.perf_counter() - began)
    return seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class StockRun:
    """A search by stock parts.

    Attributes:
        trained: Cost of the target and epochs of each trial that was trained.
        seconds: Of the wall, Ray's start and end included.
    """

    trained: tuple[tuple[Cost, int], ...]
    seconds: float


def run_stock(plan: Plan, folder: Path) -> StockRun:
    """`OptunaSearch` and `ASHAScheduler` as their documentation has them, with the same rungs."""
    began = time.perf_counter()
    config = plan.config
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with ray_session(config.resources):
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(
                    _stock_trial,
                    settings=config,
                    images=plan.images,
                    shape=plan.preprocessing.data_shape,
                ),
                {"cpu": config.resources.cpus_per_trial},
            ),
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(
                    space=distributions(config.space),
                    metric=["accuracy", "macs"],
                    mode=["max", "min"],
                    sampler=optuna.samplers.NSGAIISampler(
                        population_size=config.search.startup_trials, seed=config.search.seed
                    ),
                ),
                scheduler=ASHAScheduler(
                    time_attr="epochs",
                    metric="accuracy",
                    mode="max",
                    grace_period=config.fidelities[0].epochs,
                    max_t=config.fidelity.epochs,
                    reduction_factor=config.rungs.reduction,
                ),
                num_samples=config.search.trials,
                max_concurrent_trials=config.resources.max_concurrent,
            ),
            run_config=tune.RunConfig(storage_path=str(folder), name="stock", verbose=0),
        )
        results = tuner.fit()
        metrics = [result.metrics for result in results if "epochs" in (result.metrics or {})]
    trained = tuple((Cost(**each["cost"]), int(each["epochs"])) for each in metrics)
    return StockRun(trained=trained, seconds=time.perf_counter() - began)


def _stock_trial(
    config: dict[str, Any], settings: SearchConfig, images: DataSplits, shape: DataShape
) -> None:
    target, checkpoint = settings.space.decode(config), None
    evaluator = ProxyEvaluator(settings=settings.training, threads=settings.resources.threads)
    for rung, fidelity in enumerate(settings.fidelities):
        request = EvaluationRequest(
            trial=0,
            architecture=target,
            proxy=scale(target, settings.proxy_at(rung), shape),
            fidelity=fidelity,
            seed=settings.search.seed,
            course=settings.course(rung),
        )
        parent = None if checkpoint is None else Path("in memory")
        evaluation = evaluator(replace(request, parent=parent), images, checkpoint=checkpoint)
        checkpoint = evaluation.weights
        figures = cost(target)
        tune.report(
            {
                "accuracy": evaluation.scores["accuracy"],
                "macs": figures.macs,
                "epochs": fidelity.epochs,
                "cost": figures._asdict(),
            }
        )


def by_worker(run: Run) -> list[list[EvaluationRequest]]:
    """Requests of each worker in order."""
    found: dict[int, list[EvaluationRequest]] = defaultdict(list)
    for number, worker in enumerate(run.spans):
        found[number] += [run.requests[span.trial] for span in worker]
    return list(found.values())
