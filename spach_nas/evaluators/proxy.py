"""Proxy training: build the small copy of a candidate, train it, score it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from safetensors.torch import load
from torch.nn.modules.batchnorm import _BatchNorm

from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.study_files import INITIAL, INITIAL_SUPERNET, TEACHER
from spach_nas.config.training_settings import TrainingSettings
from spach_nas.data import DataSplits
from spach_nas.errors import one_line
from spach_nas.evaluators.heartbeat import Pulse, PulseAddress
from spach_nas.evaluators.interface import EvaluatorSetup, finished
from spach_nas.evaluators.supernet_scores import SharedWeights
from spach_nas.machine import keep_freed_memory
from spach_nas.networks import Spach, build, changes, morph
from spach_nas.training import (
    CheckpointError,
    Origin,
    Runtime,
    TrainingState,
    choose_runtime,
    global_seed,
    move,
    network_weights,
    pack,
    threads,
    train,
    unpack,
)
from spach_nas.training.device import LOST_DEVICE, free_memory
from spach_nas.training.distillation import Teacher
from spach_nas.training.sealed_networks import open_network, open_teacher

# Not every allocator has an exception of its own.
_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "STATUS_ALLOC_FAILED",
    # What torch makes of cuDNN without memory for the workspace of any algorithm.
    "unable to find an engine",
)
# After memory ran out, a batch is trained in so many parts.
_PARTS = 4
# Between two pulses of one training.
PULSE_SECONDS = 1.0
# A worker evaluates many candidates; neither network is changed by them.
_opened_teacher = lru_cache(1)(open_teacher)
_opened_network = lru_cache(1)(open_network)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyEvaluator:
    """Scores a request by training its proxy: `evaluator(request, splits, checkpoint=bytes)`.

    Attributes:
        settings: The protocol, the same for all candidates.
        threads: Threads of the host; more than its cores make a run many times slower.
        pulses: Where to tell how far a training is; None: nowhere.
        initial: A trained network with whose weights new trainings begin, as `seal_network` gave
            it; None: with new weights, or with those of a request's relative.
        shared: A trained supernet, with whose weights they begin instead; None: there is none.
        teacher: The network of `settings.teacher`, sealed; None: there is none.
    """

    settings: TrainingSettings
    threads: int = 1
    pulses: PulseAddress | None = None
    initial: bytes | None = None
    shared: SharedWeights | None = None
    teacher: bytes | None = None

    def __call__(
        self, request: EvaluationRequest, data: DataSplits, checkpoint: bytes | None = None
    ) -> Evaluation:
        """Accuracy and loss on the validation part after the last epoch.

        What a candidate does wrong comes back as a failed evaluation. Where memory runs out, the
        training is repeated once in smaller parts of the same batches.

        Args:
            request: What to train, how long, by which seed.
            data: Images at the size of the fidelity.
            checkpoint: Of the request's parent; the training goes on from it, as if it had never
                stopped. From one that is damaged or of another training nothing is taken: the
                course is trained from its beginning, which gives the same, and the remark says so.

        Raises:
            ConfigError: This machine has no such device.
            torch.AcceleratorError: The device is lost for this process, which has to be restarted.
        """
        runtime = choose_runtime(device=self.settings.device, precision=self.settings.precision)
        keep_freed_memory()
        started = time.perf_counter()
        job = _Job(
            evaluator=self, request=request, data=data, checkpoint=checkpoint, runtime=runtime
        )
        with threads(self.threads):
            evaluation = _evaluate(job)
        return finished(evaluation, started=started, runtime=runtime, threads=self.threads)


def proxy_evaluator(setup: EvaluatorSetup) -> ProxyEvaluator:
    """The evaluator `train`."""
    teacher = setup.config.training.teacher
    return ProxyEvaluator(
        settings=setup.config.training,
        threads=setup.threads,
        pulses=setup.pulses,
        teacher=None if teacher is None else (setup.folder.parent / TEACHER).read_bytes(),
    )


def inherit_evaluator(setup: EvaluatorSetup) -> ProxyEvaluator:
    """The evaluator `inherit`: as `train`, but candidates begin with weights of a trained network.

    That of `init` in the YAML; without it, of the nearest one that the study has trained.
    """
    evaluator, folder, config = proxy_evaluator(setup), setup.folder.parent, setup.config
    if config.init is None:
        return evaluator
    supernet = folder / INITIAL_SUPERNET
    if not supernet.is_file():
        return replace(evaluator, initial=(folder / INITIAL).read_bytes())
    rule = config.proxy_at(config.evaluators.index(setup.choice))
    shared = SharedWeights(space=config.space, rule=rule, contents=supernet.read_bytes())
    return replace(evaluator, shared=shared)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    # All that an attempt needs.
    evaluator: ProxyEvaluator
    request: EvaluationRequest
    data: DataSplits
    checkpoint: bytes | None
    runtime: Runtime

    @property
    def settings(self) -> TrainingSettings:
        return self.evaluator.settings

    @property
    def origin(self) -> Origin:
        return Origin(
            architecture=self.request.proxy.arch_id,
            seed=self.request.seed,
            course=self.request.course or (self.request.fidelity,),
            settings=self.settings,
            images=len(self.data.train),
        )


def _evaluate(job: _Job) -> Evaluation:
    """Train as asked; once more in smaller parts where memory runs out."""
    whole = min(job.settings.batch_size, len(job.data.train))
    asked = job.request.micro_batch
    first = whole if asked is None else min(whole, asked)
    evaluation = _attempt(job, asked)
    if evaluation is not None:
        return evaluation
    tried, smaller = f"batches of {first}", max(1, first // _PARTS)
    if smaller < first:
        evaluation = _attempt(job, smaller, remark="after it ran out of memory")
        if evaluation is not None:
            return evaluation
        tried = f"{tried}, and of {smaller}"
    reason = f"out of memory on {job.runtime.device.type} with {tried}"
    return Evaluation(state="failed", reason=reason)


def _attempt(job: _Job, micro_batch: int | None, *, remark: str = "") -> Evaluation | None:
    """A failed evaluation for what a candidate does wrong; None when memory ran out."""
    try:
        return _train(job, micro_batch, remark=remark)
    except LOST_DEVICE:
        raise
    # A mixer of a user's may raise anything.
    except Exception as problem:
        out_of_memory = _is_out_of_memory(problem)
        reason = one_line(problem, named=True)
    # Only here: before, the problem held the frames that hold the tensors.
    free_memory()
    return None if out_of_memory else Evaluation(state="failed", reason=reason)


def _train(job: _Job, micro_batch: int | None, *, remark: str) -> Evaluation:
    request, settings, origin = job.request, job.settings, job.origin
    with global_seed(request.seed, job.runtime):
        network = move(build(request.proxy, drop_path_rate=settings.drop_path_rate), job.runtime)
    start, refused = _start(job, network)
    run = train(
        network,
        job.data,
        settings=settings,
        fidelity=request.fidelity,
        seed=request.seed,
        runtime=job.runtime,
        course=origin.course,
        start=start,
        micro_batch=micro_batch,
        teacher=_teacher(job),
        tell=_teller(job, first=0 if start is None else start.epochs),
    )
    if run.diverged:
        return Evaluation(state="failed", curve=run.curve, reason=run.diverged)
    smaller = ""
    if micro_batch is not None and micro_batch < settings.batch_size:
        smaller = f"trained in batches of {micro_batch} at most {remark}".rstrip()
        if any(isinstance(module, _BatchNorm) for module in network.modules()):
            smaller += ", from which BatchNorm took its statistics"
    return Evaluation(
        state="complete",
        scores=run.scores,
        curve=run.curve,
        validation_images=len(job.data.validation),
        weights=pack(network, state=run.state, origin=origin),
        remark="; ".join(filter(None, [refused, smaller])) or None,
    )


def _teacher(job: _Job) -> Teacher | None:
    settings = job.settings.teacher
    if settings is None:
        return None
    assert job.evaluator.teacher is not None, "a search keeps its teacher"
    return _opened_teacher(
        job.evaluator.teacher,
        student=job.data.normalisation,
        temperature=settings.temperature,
        share=settings.share,
        runtime=job.runtime,
    )


def _teller(job: _Job, *, first: int) -> Callable[[float, int], None]:
    """Tells how far the training is, at its start and then every second."""
    if job.evaluator.pulses is None:
        return lambda *_: None
    address, request = job.evaluator.pulses, job.request
    began = told = time.perf_counter()
    trained = 0

    def tell(epochs: float, images: int) -> None:
        nonlocal told, trained
        now = time.perf_counter()
        trained += images
        if images and now - told < PULSE_SECONDS:
            return
        told = now
        address.send(
            Pulse(
                trial=request.trial,
                rung=request.fidelity.rung,
                epochs=epochs,
                first=first,
                last=request.fidelity.epochs,
                images_per_second=trained / (now - began) if images else 0.0,
            )
        )

    return tell


def _start(job: _Job, network: Spach) -> tuple[TrainingState | None, str]:
    """Fill the network; where its training begins, and what is unusual about that."""
    request = job.request
    try:
        if request.relative is not None and job.checkpoint is not None:
            relative = build(request.relative.proxy)
            relative.load_state_dict(load(network_weights(job.checkpoint)))
            return None, _inherit(job, network, relative, of=f"trial {request.relative.trial}")
        if job.checkpoint is not None:
            epochs = request.fidelity.epochs
            return unpack(job.checkpoint, network=network, origin=job.origin, epochs=epochs), ""
    except CheckpointError as problem:
        refused = f"trained from the start: its checkpoint {problem}"
    else:
        refused = ""
    if job.evaluator.shared is not None:
        network.load_state_dict(job.evaluator.shared.extract(request.proxy).state_dict())
        inherited = "begins with its share of the weights of the initial supernet"
        return None, "; ".join(filter(None, [refused, inherited]))
    if job.evaluator.initial is not None:
        initial = _opened_network(job.evaluator.initial)
        inherited = _inherit(job, network, initial, of="the initial network")
        return None, "; ".join(filter(None, [refused, inherited]))
    return None, refused


def _inherit(job: _Job, network: Spach, relative: Spach, *, of: str) -> str:
    """Begin with the weights of another network, as far as there is a morphism."""
    steps = changes(relative.architecture, network.architecture)
    morphed = morph(relative, network.architecture, seed=job.request.seed)
    network.load_state_dict(morphed.state_dict())
    rough = sum(not step.exact for step in steps)
    said = f"begins with the weights of {of}"
    return f"{said}, {rough} of {len(steps)} changes approximate" if steps else said


def _is_out_of_memory(problem: Exception) -> bool:
    """Whether a problem means that the device or the host has no memory left."""
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(problem, RuntimeError) and any(sign in str(problem) for sign in _SIGNS)
