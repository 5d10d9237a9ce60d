"""The evaluator `supernet`: scores a proxy with weights that all proxies of the space share.

The supernet is trained when a search begins, and kept in the study's folder.
"""

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.study_files import SUPERNET_FILE
from spach_nas.config.training_settings import TrainingSettings
from spach_nas.cost.limits import ProxyLimits
from spach_nas.data import DataSplits
from spach_nas.errors import ConfigError, SearchSpaceError, one_line
from spach_nas.evaluators.interface import EvaluatorSetup, Preparation, finished
from spach_nas.feasible import FeasibleSet
from spach_nas.files import replace_text
from spach_nas.networks import Spach
from spach_nas.networks.supernet import Supernet, check_shareable
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import reference_target
from spach_nas.space.scaling import DataShape, ProxyRule, scale, shape_of
from spach_nas.space.search_space import SearchSpace
from spach_nas.training import Runtime, choose_runtime, global_seed, move, threads
from spach_nas.training.device import LOST_DEVICE
from spach_nas.training.learner import Place
from spach_nas.training.supernet_loop import (
    SubnetScorer,
    Tell,
    ends_of,
    kept_standing,
    load_supernet,
    make_scorer,
    shared_weights,
    train_supernet,
)

# Through which several workers and the driver speak.
_PROGRESS, _STOP = "progress", "stop"
# The largest and the smallest of so many draws are the ends of a sandwich.
_DRAWN_FOR_ENDS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class SupernetEvaluator:
    """Scores a request on the validation part, without training.

    Attributes:
        space: The search space, with the channels and classes of the data.
        rule: From targets to the proxies that the supernet holds.
        weights: As `shared_weights` gives them.
        settings: The protocol, for device and number format.
        images: Most validation images.
        threads: Threads of the host.
        made: The scorer, once a worker has made it.
    """

    space: SearchSpace
    rule: ProxyRule
    weights: bytes = field(repr=False)
    settings: TrainingSettings
    images: int
    threads: int = 1
    made: list[SubnetScorer] = field(default_factory=list, repr=False, compare=False)

    def __call__(
        self, request: EvaluationRequest, data: DataSplits, *, checkpoint: bytes | None = None
    ) -> Evaluation:
        """Accuracy and loss on the validation part.

        Args:
            request: What to score; its seed has no effect.
            data: Images at the size of the supernet.
            checkpoint: Has no effect.

        Raises:
            BundleError: The weights are of another space.
            torch.AcceleratorError: The device is lost for this process, which has to be restarted.
        """
        started = time.perf_counter()
        runtime = choose_runtime(device=self.settings.device, precision=self.settings.precision)
        with threads(self.threads):
            if not self.made:
                supernet = new_supernet(self.space, self.rule, data, seed=0, runtime=runtime)
                load_supernet(supernet, self.weights)
                self.made.append(make_scorer(supernet, data, runtime=runtime, images=self.images))
            evaluation = _scored(self.made[0], request.proxy)
        return finished(evaluation, started=started, runtime=runtime, threads=self.threads)


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedWeights:
    """A trained supernet for workers, of which each candidate takes its share.

    Attributes:
        space: The search space.
        rule: From targets to the proxies that the supernet holds.
        contents: As `shared_weights` gives them.
    """

    space: SearchSpace
    rule: ProxyRule
    contents: bytes = field(repr=False)

    def extract(self, proxy: Architecture) -> Spach:
        """A proxy with a copy of its weights.

        Raises:
            ArchitectureError: The supernet does not hold it.
            BundleError: The weights are damaged, or of another supernet.
        """
        with torch.random.fork_rng(devices=()):  # its initial weights are thrown away
            supernet = Supernet(self.space, self.rule, shape_of(proxy))
        load_supernet(supernet, self.contents)
        return supernet.extract(proxy)


def _scored(scorer: SubnetScorer, proxy: Architecture) -> Evaluation:
    """A failed evaluation for what a candidate does wrong."""
    try:
        scores = scorer(proxy)
    except LOST_DEVICE:
        raise
    except Exception as problem:  # a mixer of a user's may raise anything
        return Evaluation(state="failed", reason=one_line(problem, named=True))
    if not math.isfinite(scores["loss"]):
        return Evaluation(state="failed", reason="the loss is not finite")
    images = len(scorer.validation.labels)
    return Evaluation(state="complete", scores=scores, validation_images=images)


def new_supernet(
    space: SearchSpace, rule: ProxyRule, data: DataSplits, *, seed: int, runtime: Runtime
) -> Supernet:
    """An untrained supernet for these data, on the device."""
    shape = DataShape(
        in_channels=data.train.images.shape[-1], num_classes=len(data.train.class_names)
    )
    with global_seed(seed, runtime):
        supernet = Supernet(space, rule, shape)
    move(supernet, runtime)
    return supernet


def check_supernet(setup: EvaluatorSetup) -> None:
    """Whether the supernet of a search holds all its candidates.

    Raises:
        ConfigError: A line for everything that it cannot hold.
    """
    config, mistakes = setup.config, []
    try:
        check_shareable(config.space, _rule(setup))
    except SearchSpaceError as problem:
        mistakes += [f"space: {line}" for line in str(problem).split("\n")]
    mistakes += [
        f"references: {name}: is outside of the space, and so of its supernet; expected the "
        "evaluator train at all levels, or no such reference"
        for name in config.paper_models
        if not config.space.contains(reference_target(name, config.space.shape))
    ]
    workers, batch = setup.options.workers, config.training.batch_size
    if batch % workers:
        mistakes.append(
            f"evaluator.workers: {workers}; expected a divisor of training.batch_size, {batch}"
        )
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def prepare_supernet(preparation: Preparation) -> float:
    """Train the supernet, or go on with it; the seconds that it took.

    Raises:
        ConfigError: Its training diverged.
        BundleError: The study's folder holds another supernet.
    """
    setup = preparation.setup
    splits = preparation.data[_image_size(setup)]

    def tell(step: int, steps: int) -> None:
        preparation.tell(f"training the supernet: step {step:,} of {steps:,}")

    workers = setup.options.workers
    if workers == 1 or preparation.on_workers is None:
        _train(setup, splits, place=Place(), tell=tell, stopped=preparation.stopped)
    else:
        # Workers run in other folders.
        setup = replace(setup, folder=setup.folder.absolute())
        stop, progress = setup.folder / _STOP, setup.folder / _PROGRESS
        for file in (stop, progress):
            file.unlink(missing_ok=True)
        told = ""

        def tick() -> None:
            nonlocal told
            if preparation.stopped():
                stop.touch()
            now = progress.read_text() if progress.exists() else ""
            if now != told:
                told = now
                tell(*map(int, now.split()))

        preparation.on_workers(
            functools.partial(_train_share, setup, splits),
            workers=workers,
            folder=setup.folder,
            tick=tick,
        )
    file = setup.folder / SUPERNET_FILE
    return kept_standing(file).seconds if file.exists() else 0.0


def _train_share(setup: EvaluatorSetup, splits: DataSplits, place: Place) -> None:
    """What each of several workers does; files tell the driver how far it is, and when to stop."""

    def tell(step: int, steps: int) -> None:
        if place.rank == 0:
            replace_text(setup.folder / _PROGRESS, f"{step} {steps}")

    _train(setup, splits, place=place, tell=tell, stopped=(setup.folder / _STOP).exists)


def _train(
    setup: EvaluatorSetup,
    splits: DataSplits,
    *,
    place: Place,
    tell: Tell,
    stopped: Callable[[], bool],
) -> None:
    config = setup.config
    protocol = config.training
    runtime = choose_runtime(device=protocol.device, precision=protocol.precision)
    supernet = new_supernet(
        config.space, _rule(setup), splits, seed=config.training_seed, runtime=runtime
    )
    # Measured limits shift what is trained too little to predict each latency.
    feasible = FeasibleSet(
        config.space,
        config.limits.without_latency,
        proxy=ProxyLimits(limits=config.proxy_limits, rule=config.proxy, data=supernet.data),
    )

    ends = _DRAWN_FOR_ENDS if setup.options.paths == "sandwich" else 0
    drawn = [
        scale(target, supernet.rule, supernet.data)
        for target in feasible.samples(ends, config.training_seed)
    ]

    def tell_some(step: int, steps: int) -> None:
        if step % 20 == 0 or step == steps:
            tell(step, steps)

    with threads(setup.threads):
        result = train_supernet(
            supernet,
            splits,
            draw=lambda seed: scale(feasible.sample(seed), supernet.rule, supernet.data),
            settings=setup.options,
            protocol=protocol,
            seed=config.training_seed,
            runtime=runtime,
            ends=ends_of(drawn) if drawn else (),
            file=setup.folder / SUPERNET_FILE,
            place=place,
            tell=tell_some,
            stopped=stopped,
        )
    if result.diverged is not None:
        raise ConfigError(
            f"evaluator: the supernet diverged: {result.diverged}; expected a smaller "
            "training.learning_rate"
        )


def supernet_evaluator(setup: EvaluatorSetup) -> SupernetEvaluator:
    """The evaluator `supernet`, after `prepare_supernet`."""
    config = setup.config
    return SupernetEvaluator(
        space=config.space,
        rule=_rule(setup),
        weights=shared_weights(setup.folder / SUPERNET_FILE),
        settings=config.training,
        images=setup.options.images,
        threads=setup.threads,
    )


def _rule(setup: EvaluatorSetup) -> ProxyRule:
    return replace(setup.config.proxy, image_size=_image_size(setup))


def _image_size(setup: EvaluatorSetup) -> tuple[int, int]:
    """Of the rung that this evaluator scores; no two have the same evaluator without training."""
    config = setup.config
    rung = config.evaluators.index(setup.choice)
    return config.fidelities[rung].image_size
