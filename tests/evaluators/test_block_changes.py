"""What each block is worth, and the best layouts by that."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from network_tools import randomise
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.evaluators.block_changes import (
    LEFT_OUT,
    BlockChange,
    Scores,
    block_changes,
    place,
    score_blocks,
)
from spach_nas.networks import Spach, build
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import ProxyRule
from training_tools import CPU, DATA, architecture

HYBRID = architecture("conv", "attention")
MIXERS = [["conv", "mlp"], ["conv", "attention", "mlp"]]
LAYOUTS = [
    [("conv", "conv"), ("mlp", "conv"), ("mlp",), ("conv",), ("conv",) * 3],
    list(itertools.product(MIXERS[1], repeat=2)),
]


def trained(*, silent: tuple[int, int] | None = None) -> Spach:
    network = build(HYBRID)
    randomise(network)
    if silent is not None:
        with torch.no_grad():
            for name, value in network.named_parameters():
                stage, block = silent
                start = f"stages.{stage}.blocks.{block}."
                if name.startswith((f"{start}dwconv", f"{start}mlp.fc2", f"{start}gamma_1")):
                    value.zero_()
    return network


def scored(network: Spach, changes: tuple[BlockChange, ...], *, steps: int) -> Scores:
    return dict(
        score_blocks(
            network, DATA, changes=changes, steps=steps, learning_rate=1e-2, seed=5, runtime=CPU
        )
    )


def test_every_other_choice_of_every_block_is_a_change() -> None:
    changes = block_changes(HYBRID, MIXERS)
    expected = {
        *((0, block, mixer) for block in (0, 1) for mixer in ("mlp", LEFT_OUT)),
        *((1, 0, mixer) for mixer in ("conv", "mlp", LEFT_OUT)),
        *((1, 1, mixer) for mixer in ("attention", "mlp", LEFT_OUT)),
    }
    assert {(item.stage, item.number, item.mixer) for item in changes} == expected
    assert len(changes) == len(expected)


def test_without_a_step_a_change_is_worth_what_it_does_to_the_function() -> None:
    network = trained(silent=(0, 1))
    branch = BlockChange(stage=1, number=1, mixer="mlp")
    silent = BlockChange(stage=0, number=1, mixer=LEFT_OUT)
    loud = BlockChange(stage=1, number=0, mixer=LEFT_OUT)
    scores = scored(network, (branch, silent, loud), steps=0)
    assert scores[branch] == pytest.approx(0, abs=1e-6)
    assert scores[silent] == pytest.approx(0, abs=1e-6)
    assert abs(scores[loud]) > 0.01


def test_only_the_block_learns_and_the_network_stays() -> None:
    network = trained()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    change = BlockChange(stage=1, number=1, mixer="mlp")
    first, again = (scored(network, (change,), steps=4) for _ in range(2))
    assert first == again
    assert first[change] != 0
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def best(
    scores: Scores, *, layouts: list[list[tuple[str, ...]]], limits: Limits, count: int
) -> list[Architecture]:
    found = place(HYBRID, scores, trained=HYBRID, rule=ProxyRule(), layouts=layouts, limits=limits)
    return list(itertools.islice(found, count))


def random_scores(seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    return {change: float(rng.normal()) for change in block_changes(HYBRID, MIXERS)}


def loss(scores: Scores, layout: tuple[tuple[str, ...], ...]) -> float:
    """BlockChange by block, where no block is left out but the last ones."""
    total = 0.0
    for stage, mixers in enumerate(layout):
        for number, own in enumerate(HYBRID.stages[stage].mixers):
            new = mixers[number] if number < len(mixers) else LEFT_OUT
            if new != own:
                total += scores[BlockChange(stage=stage, number=number, mixer=new)]
    return total


@pytest.mark.parametrize("seed", range(5))
def test_the_best_layouts_are_those_of_an_enumeration(seed: int) -> None:
    scores, limits = random_scores(seed), Limits(max_macs=83_000, min_params=3_500)
    candidates: dict[Architecture, float] = {}
    for layout in itertools.product(*LAYOUTS):
        if layout[0] == ("mlp",):
            # Of equal blocks, the one that is left out is the last; here it is not plain which.
            continue
        if all(len(mixers) <= 2 for mixers in layout):
            stages = tuple(
                replace(stage, mixers=mixers)
                for stage, mixers in zip(HYBRID.stages, layout, strict=True)
            )
            found = replace(HYBRID, stages=stages)
            if limits.allow(cost(found)):
                candidates[found] = loss(scores, layout)
    legal = [[mixers for mixers in LAYOUTS[0] if mixers != ("mlp",)], LAYOUTS[1]]
    found_best = best(scores, layouts=legal, limits=limits, count=6)
    assert 6 < len(candidates) < 27
    expected = sorted(candidates.values())[:6]
    assert [candidates[found] for found in found_best] == pytest.approx(expected)
    assert len(set(found_best)) == 6


def test_limits_that_nothing_meets_leave_nothing() -> None:
    scores = random_scores(0)
    assert best(scores, layouts=LAYOUTS, limits=Limits(max_macs=10), count=3) == []
    few = best(scores, layouts=[[("conv", "conv")]] * 2, limits=Limits(), count=3)
    assert len(few) == 1
