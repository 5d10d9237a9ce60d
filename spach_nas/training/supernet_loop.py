"""Training of a supernet: each step trains a few subnets on their shared weights.

All that is drawn at random depends on the seed and the step alone, so a training that goes on from
its file goes exactly as the uninterrupted one. A weight that none of a step's subnets uses has no
gradient, and is neither decayed nor moved. A weight of which some use a part is moved as a whole.

Sources: Guo et al. 2020, arXiv:1904.00420 (single path, uniform); Yu et al. 2020, arXiv:2003.11142
(sandwich rule and in-place distillation).
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from spach_nas.config.evaluation import Fidelity
from spach_nas.config.supernet_settings import SupernetSettings
from spach_nas.config.training_settings import TrainingSettings
from spach_nas.cost.closed_form import cost
from spach_nas.data import DataSplits
from spach_nas.errors import BundleError
from spach_nas.files import write_durably
from spach_nas.networks.supernet import Supernet, recalibrate
from spach_nas.space.architecture import Architecture
from spach_nas.training.batches import LoadedSet, batch, draw_moves, load
from spach_nas.training.checkpoint import (
    NETWORK,
    OPTIMIZER,
    CheckpointError,
    seal,
    unseal,
    with_prefix,
)
from spach_nas.training.device import Runtime, autocast
from spach_nas.training.learner import Place, parts_of
from spach_nas.training.loop import over_workers
from spach_nas.training.optimizer import make_optimizer, optimizer_state, restore_optimizer
from spach_nas.training.schedule import Leg, Schedule, learning_rate, make_legs, make_schedule
from spach_nas.training.scoring import BATCH, predict, score
from spach_nas.training.seeds import derive_seed, global_seed

# A proxy of the space, by a seed.
Draw = Callable[[int], Architecture]
# Told after each step: how many are done, and of how many.
Tell = Callable[[int, int], None]

WINDOW = 200
MOST_ROLLBACKS = 4
_CALIBRATION_IMAGES = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where the training of a supernet stands.

    Attributes:
        step: Steps done.
        rollbacks: How often it went back; each halves the learning rate.
        losses: Mean training loss of each window of steps, over all its subnets.
        seconds: Duration so far.
    """

    step: int = 0
    rollbacks: int = 0
    losses: tuple[float, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SupernetResult:
    """What came of the training of a supernet.

    Attributes:
        standing: At its end.
        diverged: Why it ended early; None for one that reached its end.
    """

    standing: Standing
    diverged: str | None = None


def train_supernet(
    supernet: Supernet,
    splits: DataSplits,
    *,
    draw: Draw,
    settings: SupernetSettings,
    protocol: TrainingSettings,
    seed: int,
    runtime: Runtime,
    ends: Sequence[Architecture] = (),
    file: Path | None = None,
    place: Place | None = None,
    micro_batch: int | None = None,
    window: int = WINDOW,
    tell: Tell = lambda *_: None,
    stopped: Callable[[], bool] = lambda: False,
) -> SupernetResult:
    """Train a supernet in place.

    Where the loss is no longer finite, or worse than its best by half of what guessing costs, the
    training goes back to the start of the window and repeats it at half the learning rate.

    Args:
        supernet: On the device of the runtime, with the initial weights of the seed.
        splits: What to train on.
        draw: Uniform over the feasible proxies.
        settings: What is trained in a step, and how long.
        protocol: Everything else; its `epochs` is not read.
        seed: Of paths, order of images, augmentation and dropped paths.
        runtime: Where to run.
        ends: The largest and the smallest proxy, which each step of a sandwich trains.
        file: Where to keep what it needs to go on, and from where it goes on; None: nowhere.
        place: Which of the workers this is that share every batch; None: the only one. All draw the
            same subnets, read the file, and get the result; worker 0 writes the file.
        micro_batch: Most images at once in memory.
        window: Steps between two looks at the loss, and two writings of the file.
        tell: Told how far it is.
        stopped: Whether to end early, at the last window that was finished.

    Raises:
        BundleError: The file is damaged, or of another space or training.
    """
    height, width = splits.train.images.shape[1:3]
    (leg,) = make_legs(
        [
            Fidelity(
                epochs=settings.epochs,
                image_size=(height, width),
                data_share=protocol.data_share,
            )
        ],
        splits.train.labels,
        batch_size=protocol.batch_size,
    )
    total = leg.steps * settings.epochs
    run = _Run(
        supernet=supernet,
        data=load(splits.train, splits.normalisation, runtime=runtime),
        leg=leg,
        draw=draw,
        ends=tuple(ends) if settings.paths == "sandwich" else (),
        settings=settings,
        protocol=protocol,
        schedule=make_schedule(
            peak=protocol.learning_rate, steps=total, warmup_share=protocol.warmup_share
        ),
        seed=seed,
        runtime=runtime,
        place=place or Place(),
        micro_batch=micro_batch,
    )
    origin = _origin(run, images=len(splits.train))
    standing = Standing()
    kept = _snapshot(run, _optimizer(run, {}))
    if file is not None and file.exists():
        kept, info = _read(file.read_bytes(), origin, where=file)
        standing = _standing(info)
    optimizer = _restore(run, kept)
    guessing = math.log(supernet.data.num_classes)
    epoch, order = -1, leg.chosen
    while standing.step < total:
        started = time.perf_counter()
        stop = min((standing.step // window + 1) * window, total)
        losses = []
        supernet.train()
        for step in range(standing.step, stop):
            if step // leg.steps != epoch:
                epoch = step // leg.steps
                order = _order(run, epoch)
            first = step % leg.steps * protocol.batch_size
            chosen = order[first : first + protocol.batch_size]
            losses.append(_step(run, optimizer, step, chosen, factor=0.5**standing.rollbacks))
            tell(step + 1, total)
            if _is_stopped(run, stopped()):
                return SupernetResult(standing=standing)
        loss = float(_mean_over_workers(run, torch.stack(losses).mean()))
        if not loss < min((guessing, *standing.losses)) + 0.5 * guessing:
            standing = replace(standing, rollbacks=standing.rollbacks + 1)
            if standing.rollbacks > MOST_ROLLBACKS:
                reason = f"the loss was {loss:.3g} after step {stop}, also at smaller steps"
                return SupernetResult(standing=standing, diverged=reason)
            optimizer = _restore(run, kept)
            continue
        standing = replace(
            standing,
            step=stop,
            losses=(*standing.losses, loss),
            seconds=standing.seconds + time.perf_counter() - started,
        )
        kept = _snapshot(run, optimizer)
        if file is not None and run.place.rank == 0:
            write_durably(file, seal(kept, {"origin": origin, "standing": asdict(standing)}))
    return SupernetResult(standing=standing)


def kept_standing(file: Path) -> Standing:
    """Where the training is that wrote a file."""
    return _standing(_read(file.read_bytes(), {}, where=file)[1])


def _standing(info: Mapping[str, Any]) -> Standing:
    return Standing(**{**info["standing"], "losses": tuple(info["standing"]["losses"])})


def shared_weights(file: Path) -> bytes:
    """The file of a training without the state of its optimizer.

    Raises:
        BundleError: The file is missing or damaged.
    """
    if not file.is_file():
        raise BundleError(f"{file}: is missing; expected a supernet, which its search trains first")
    tensors, info = _read(file.read_bytes(), {}, where=file)
    return seal({name: value for name, value in tensors.items() if name.startswith(NETWORK)}, info)


def load_supernet(supernet: Supernet, contents: bytes) -> None:
    """Fill a supernet with the weights that a training wrote.

    Args:
        supernet: Of the same space.
        contents: Of its file, whole or as `shared_weights` gives them.

    Raises:
        BundleError: They are damaged, or of another space.
    """
    tensors, _ = _read(contents, {"space": _space_id(supernet)})
    try:
        supernet.load_state_dict(with_prefix(tensors, NETWORK))
    except RuntimeError:  # a mixer of a user's has changed
        raise BundleError("supernet: has other weights than the mixers of its space") from None


def ends_of(proxies: Iterable[Architecture]) -> tuple[Architecture, Architecture]:
    """The one with the most MACs and the one with the fewest."""
    ordered = sorted(dict.fromkeys(proxies), key=lambda item: (cost(item).macs, item.arch_id))
    return ordered[-1], ordered[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class SubnetScorer:
    """Scores subnets on the validation part with the shared weights.

    Attributes:
        supernet: Trained.
        validation: The images that score.
        calibration: Batches (B, C, H, W) of train images for the statistics of BatchNorm, which
            belong to a width: they are measured again for each subnet that has some.
        runtime: Where to run.
    """

    supernet: Supernet
    validation: LoadedSet
    calibration: Sequence[Tensor]
    runtime: Runtime

    def __call__(self, architecture: Architecture) -> dict[str, float]:
        """`accuracy` and `loss` of a proxy.

        Raises:
            ArchitectureError: It is not in the supernet; the message says by what.
        """
        network = self.supernet.subnet(architecture)
        with autocast(self.runtime):
            recalibrate(network, self.calibration)
        logits = predict(network, self.validation, runtime=self.runtime)
        return score(logits, self.validation.labels)


def make_scorer(
    supernet: Supernet, splits: DataSplits, *, runtime: Runtime, images: int | None = None
) -> SubnetScorer:
    """A scorer on validation images, which takes the same ones every time.

    Args:
        supernet: Trained, on the device of the runtime.
        splits: Those that it was trained on.
        runtime: Where to run.
        images: Most validation images; None: all of them.
    """
    train = load(splits.train, splits.normalisation, runtime=runtime)
    chosen = np.random.default_rng(0).permutation(len(splits.train))[:_CALIBRATION_IMAGES]
    scoring = np.random.default_rng(0).permutation(len(splits.validation))[:images]
    validation = splits.validation.take(np.sort(scoring))
    return SubnetScorer(
        supernet=supernet,
        validation=load(validation, splits.normalisation, runtime=runtime),
        calibration=[
            batch(train, torch.from_numpy(chosen[start : start + BATCH]))[0]
            for start in range(0, len(chosen), BATCH)
        ],
        runtime=runtime,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    # What stays the same over the steps.
    supernet: Supernet
    data: LoadedSet
    leg: Leg
    draw: Draw
    ends: tuple[Architecture, ...]
    settings: SupernetSettings
    protocol: TrainingSettings
    schedule: Schedule
    seed: int
    runtime: Runtime
    place: Place
    micro_batch: int | None


def _step(
    run: _Run,
    optimizer: torch.optim.Optimizer,
    step: int,
    chosen: Tensor,
    *,
    factor: float,
) -> Tensor:
    """One step on some images; returns the mean loss on the labels over subnets and images."""
    optimizer.zero_grad(set_to_none=True)
    images, labels = (part[run.place.rank :: run.place.world] for part in _batch(run, step, chosen))
    losses = []
    dropped = f"dropped paths {run.place.rank or ''}".rstrip()
    with global_seed(derive_seed(run.seed, step, dropped), run.runtime):
        subnets = [
            run.supernet.subnet(path, drop_path_rate=run.protocol.drop_path_rate).train()
            for path in _paths(run, step)
        ]
        for part in parts_of(images, labels, run.micro_batch):
            teacher: Tensor | None = None
            for subnet in subnets:
                with autocast(run.runtime):
                    logits = subnet(part.images)
                logits = logits.float()
                loss = F.cross_entropy(
                    logits, part.labels, label_smoothing=run.protocol.label_smoothing
                )
                share = part.share / len(subnets)
                losses.append(loss.detach() * share)
                if teacher is not None:
                    copied = F.cross_entropy(logits, teacher)
                    loss = torch.lerp(loss, copied, run.settings.distillation)
                elif run.settings.distillation and run.ends:
                    teacher = logits.detach().softmax(1)  # the largest comes first
                (loss * share).backward()  # type: ignore[no-untyped-call]
    if run.place.world > 1:
        _average_gradients(run)
    nn.utils.clip_grad_norm_(run.supernet.parameters(), run.settings.clip_norm)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(run.schedule, step) * factor
    optimizer.step()
    return torch.stack(losses).sum()


def _average_gradients(run: _Run) -> None:
    # By hand: DistributedDataParallel hooks into the forward of one module, and here there are
    # several. All workers draw the same subnets, so the same weights have gradients everywhere.
    gradients = [one.grad for one in run.supernet.parameters() if one.grad is not None]
    together = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(together)
    parts = torch.split(together / run.place.world, [one.numel() for one in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def _mean_over_workers(run: _Run, value: Tensor | float) -> Tensor:
    value = torch.as_tensor(value, dtype=torch.float32, device=run.runtime.device)
    return over_workers(value) / run.place.world if run.place.world > 1 else value


def _is_stopped(run: _Run, here: bool) -> bool:
    """Whether any worker is to end; one that is alone does not wait for its device."""
    return here if run.place.world == 1 else float(_mean_over_workers(run, float(here))) > 0


def _paths(run: _Run, step: int) -> Iterator[Architecture]:
    """The subnets of a step, the largest of a sandwich first."""
    yield from run.ends
    for number in range(run.settings.random_paths if run.ends else 1):
        yield run.draw(derive_seed(run.seed, step, f"path {number}"))


def _order(run: _Run, epoch: int) -> Tensor:
    """Indices of the images of an epoch, in the order in which they are taken."""
    generator = torch.Generator().manual_seed(derive_seed(run.seed, epoch, "images"))
    return run.leg.chosen[torch.randperm(len(run.leg.chosen), generator=generator)]


def _batch(run: _Run, step: int, chosen: Tensor) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(derive_seed(run.seed, step, "moves"))
    moves = draw_moves(len(chosen), run.protocol.augmentation, generator=generator)
    return batch(run.data, chosen, moves.on(run.runtime.device))


def _optimizer(run: _Run, state: Mapping[str, Tensor]) -> torch.optim.Optimizer:
    optimizer = make_optimizer(
        run.supernet,
        name=run.protocol.optimizer,
        learning_rate=run.protocol.learning_rate,
        weight_decay=run.protocol.weight_decay,
    )
    restore_optimizer(optimizer, run.supernet, state=state)
    return optimizer


def _snapshot(run: _Run, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copies of everything that a step changes."""
    tensors = {NETWORK + name: value for name, value in run.supernet.state_dict().items()}
    for name, value in optimizer_state(optimizer, run.supernet).items():
        tensors[OPTIMIZER + name] = value
    return {name: value.detach().clone() for name, value in tensors.items()}


def _restore(run: _Run, kept: Mapping[str, Tensor]) -> torch.optim.Optimizer:
    run.supernet.load_state_dict(with_prefix(kept, NETWORK))
    return _optimizer(run, with_prefix(kept, OPTIMIZER))


def _origin(run: _Run, *, images: int) -> dict[str, Any]:
    """What a file and the training that goes on from it must agree in."""
    protocol, settings = asdict(run.protocol), asdict(run.settings)
    for apart in ("epochs", "device", "compile"):  # which change no weight
        protocol.pop(apart, None)
    for apart in ("images", "workers"):
        del settings[apart]
    return {
        "space": _space_id(run.supernet),
        "settings": settings,
        "protocol": protocol,
        "seed": run.seed,
        "images": images,
    }


def _space_id(supernet: Supernet) -> str:
    text = repr((supernet.space, supernet.rule, supernet.data))
    return hashlib.sha256(text.encode()).hexdigest()


def _read(
    contents: bytes, origin: Mapping[str, Any], *, where: object = "supernet"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file, if it is of this origin."""
    try:
        tensors, info = unseal(contents)
        for name, value in origin.items():
            if info["origin"][name] != value:
                raise CheckpointError(f"is of another {name}")
    except (CheckpointError, KeyError, TypeError) as problem:
        raise BundleError(
            f"{where}: {problem}; expected a supernet of this search, or no file"
        ) from None
    return tensors, info
