"""Placement search: which blocks of a trained network should have which mixer.

Every block of the network is changed alone: it gets another mixer, or is left out. After a few
steps of training for that block, the change of the validation loss says what it is worth. Costs are
sums over blocks and the changes of the loss are taken as such, so the best networks inside the
limits are the solutions of a small integer programme. After Gu et al. 2025, "Jet-Nemotron",
arXiv:2508.15884, and Bercovich et al. 2024, "Puzzle", arXiv:2411.19146.

That the changes add up is an assumption: blocks that replace one another are judged too high. So
the networks that it finds are proposals, which a search trains like any other.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import nn

from spach_nas.cost.closed_form import Cost, cost, stage_cost
from spach_nas.cost.limits import Limits
from spach_nas.data import DataSplits
from spach_nas.networks import Spach, aligned, morph
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import ProxyRule, scale_stage
from spach_nas.training import Runtime, predict, score
from spach_nas.training.batches import LoadedSet, batch, load
from spach_nas.training.learner import Learner, Part
from spach_nas.training.optimizer import make_optimizer
from spach_nas.training.seeds import derive_seed

LEFT_OUT = "none"
_BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockChange:
    """A block of the trained network, with one change.

    Attributes:
        stage: From 0.
        number: In the stage, from 0.
        mixer: What it gets; `none` leaves it out.
    """

    stage: int
    number: int
    mixer: str


Scores = Mapping[BlockChange, float]


def block_changes(
    architecture: Architecture, mixers: Sequence[Sequence[str]]
) -> tuple[BlockChange, ...]:
    """Every change of one block, the first block's first.

    Args:
        architecture: Of the trained network.
        mixers: Legal ones of each stage.
    """
    found = []
    for number, (stage, legal) in enumerate(zip(architecture.stages, mixers, strict=True)):
        for block, own in enumerate(stage.mixers):
            choices = [name for name in legal if name != own]
            if stage.depth > 1:
                choices.append(LEFT_OUT)
            found += [BlockChange(stage=number, number=block, mixer=name) for name in choices]
    return tuple(found)


def score_blocks(
    network: Spach,
    splits: DataSplits,
    *,
    changes: Sequence[BlockChange],
    steps: int,
    learning_rate: float,
    seed: int,
    runtime: Runtime,
) -> Iterator[tuple[BlockChange, float]]:
    """The change of the validation loss by each change of one block; lower is better.

    The block alone is trained, or its neighbour where it is left out. What the same steps do to the
    unchanged network is taken off, so that more training does not look like a better mixer.

    Args:
        network: The trained network, on the device of the runtime; it stays as it is.
        splits: Images of its size.
        changes: What to score.
        steps: Of local training, with 64 images each; the same images for all.
        learning_rate: Of the steps, constant.
        seed: Of the images and of new weights.
        runtime: Where to run.
    """
    train = load(splits.train, splits.normalisation, runtime=runtime)
    validation = load(splits.validation, splits.normalisation, runtime=runtime)
    plain: dict[tuple[int, int], float] = {}
    for change in changes:
        place = change.stage, _trained_block(network.architecture, change)
        losses = []
        for changed in (() if place in plain else (copy.deepcopy(network),)) + (
            _changed(network, change, seed=seed),
        ):
            _train_block(
                changed,
                train,
                place=place,
                steps=steps,
                learning_rate=learning_rate,
                seed=seed,
                runtime=runtime,
            )
            losses.append(score(predict(changed, validation, runtime=runtime), validation.labels))
        if place not in plain:
            plain[place] = losses[0]["loss"]
        yield change, losses[-1]["loss"] - plain[place]


def place(
    frame: Architecture,
    scores: Scores,
    *,
    trained: Architecture,
    rule: ProxyRule,
    layouts: Sequence[Sequence[tuple[str, ...]]],
    limits: Limits,
) -> Iterator[Architecture]:
    """Architectures inside the limits, that of the lowest expected loss first.

    Args:
        frame: A target whose proxy has the widths of the trained network; only the mixers of its
            stages change.
        scores: Of every change of one block of the trained network.
        trained: Architecture of the trained network.
        rule: From targets to proxies.
        layouts: Legal mixers of each stage of a target; those of which the proxy has more blocks
            than the trained network are left out.
        limits: On counts.
    """
    options = [
        [
            (stage, _expected(scores, number, own.mixers, small))
            for mixers in dict.fromkeys(legal)
            for stage in (replace(frame.stages[number], mixers=mixers),)
            for small in (scale_stage(stage, rule).mixers,)
            if len(small) <= own.depth
        ]
        for number, (own, legal) in enumerate(zip(trained.stages, layouts, strict=True))
    ]
    if not all(options):
        return
    losses = np.array([loss for legal in options for _, loss in legal])
    costs = np.array(
        [
            stage_cost(stage, resolution)
            for legal, resolution in zip(options, frame.resolutions, strict=True)
            for stage, _ in legal
        ],
        dtype=float,
    )
    first = np.cumsum([0, *map(len, options)])
    belongs = np.zeros((len(options), len(losses)))
    for number, start in enumerate(first[:-1]):
        belongs[number, start : first[number + 1]] = 1
    rules = [LinearConstraint(belongs, 1, 1), *_bounds(frame, costs, limits=limits)]
    while True:
        solution = milp(
            losses, constraints=rules, integrality=np.ones(len(losses)), bounds=Bounds(0, 1)
        )
        if solution.x is None:
            return
        chosen = np.flatnonzero(solution.x > 0.5)
        stages = tuple(
            legal[index - start][0]
            for legal, start, index in zip(options, first[:-1], chosen, strict=True)
        )
        yield replace(frame, stages=stages)
        # At least one stage differs from every solution before.
        taken = np.isin(np.arange(len(losses)), chosen)
        rules.append(LinearConstraint(taken[None], 0, len(options) - 1))


def _expected(scores: Scores, stage: int, before: tuple[str, ...], after: tuple[str, ...]) -> float:
    """The expected change of the loss if a stage gets other mixers."""
    pairs = aligned(before, after)
    kept = {source: mixer for source, mixer in zip(pairs, after, strict=True)}
    total = 0.0
    for number, own in enumerate(before):
        mixer = kept.get(number, LEFT_OUT)
        if mixer != own:
            total += scores[BlockChange(stage=stage, number=number, mixer=mixer)]
    return total


def _bounds(
    architecture: Architecture, costs: np.ndarray, *, limits: Limits
) -> Iterator[LinearConstraint]:
    """What the limits leave to the blocks of all stages together."""
    blocks = Cost(0, 0, 0, 0)
    for stage, resolution in zip(architecture.stages, architecture.resolutions, strict=True):
        blocks = blocks.plus(stage_cost(stage, resolution))
    for name, low, high in limits.bounds:
        index = Cost._fields.index(name)
        rest = cost(architecture)[index] - blocks[index]
        lowest = -np.inf if low is None else low - rest
        highest = np.inf if high is None else high - rest
        yield LinearConstraint(costs[None, :, index], lowest, highest)


def _trained_block(architecture: Architecture, change: BlockChange) -> int:
    """The block that is trained after a change: itself, or a neighbour of one that is left out."""
    if change.mixer != LEFT_OUT:
        return change.number
    return change.number - 1 if change.number else 1


def _changed(network: Spach, change: BlockChange, *, seed: int) -> Spach:
    if change.mixer == LEFT_OUT:
        changed = copy.deepcopy(network)
        silence(_block(changed, change.stage, change.number))
        return changed
    stages = list(network.architecture.stages)
    mixers = list(stages[change.stage].mixers)
    mixers[change.number] = change.mixer
    stages[change.stage] = replace(stages[change.stage], mixers=tuple(mixers))
    return morph(network, replace(network.architecture, stages=tuple(stages)), seed=seed)


@torch.no_grad()
def silence(block: nn.Module) -> None:
    """Make a block hand on its input unchanged."""
    for name, parameter in block.named_parameters():
        if name.startswith(("dwconv.", "mlp.fc2.", "gamma_1")):
            parameter.zero_()


def _block(network: Spach, stage: int, number: int) -> nn.Module:
    return network.get_submodule(f"stages.{stage}.blocks.{number}")


def _train_block(
    network: Spach,
    data: LoadedSet,
    *,
    place: tuple[int, int],
    steps: int,
    learning_rate: float,
    seed: int,
    runtime: Runtime,
) -> None:
    # In evaluation mode: statistics of a BatchNorm must not move, and no path is dropped.
    network.eval().requires_grad_(False)
    block = _block(network, *place).requires_grad_(True)
    learner = Learner(
        network=network,
        model=network,
        optimizer=make_optimizer(block, name="adamw", learning_rate=learning_rate, weight_decay=0),
        runtime=runtime,
    )
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "images"))
    for step in range(steps):
        chosen = torch.randint(len(data.labels), (_BATCH,), generator=generator)
        images, labels = batch(data, chosen)
        learner.step([Part(images=images, labels=labels)], number=step, rate=learning_rate)
