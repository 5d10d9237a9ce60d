"""A network begun with the weights of another one computes the same, where it says so."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from network_tools import images, randomised, small, zoo
from spach_nas.errors import ArchitectureError
from spach_nas.networks import changes, morph
from spach_nas.space.architecture import Architecture, Stage

CONV = small(("conv", "conv"), ("conv",), ("conv", "conv"))
HYBRID = small(("conv",), ("conv", "attention"), ("mlp", "attention", "mlp"), stem="conv4")
SHARED = small(("conv",), ("conv", "attention", "attention"), ("mlp", "mlp", "mlp"), shared=True)


def stages(architecture: Architecture, change: Callable[[int, Stage], Stage]) -> Architecture:
    changed = tuple(change(number, stage) for number, stage in enumerate(architecture.stages))
    return replace(architecture, stages=changed)


def with_mixers(architecture: Architecture, *layout: tuple[str, ...]) -> Architecture:
    return stages(architecture, lambda number, stage: replace(stage, mixers=layout[number]))


EXACT = {
    "nothing": (HYBRID, HYBRID),
    "branches": (
        CONV,
        with_mixers(CONV, ("mlp", "attention"), ("mlp",), ("conv", "attention")),
    ),
    "branches of a function that blocks share": (
        CONV,
        stages(
            with_mixers(CONV, ("mlp", "mlp"), ("mlp",), ("attention", "attention")),
            lambda _, stage: replace(stage, shared=True),
        ),
    ),
    "blocks": (
        HYBRID,
        with_mixers(
            HYBRID,
            ("conv", "attention"),
            ("conv", "conv", "attention", "attention"),
            ("conv", "mlp", "attention", "mlp", "mlp"),
        ),
    ),
    "hidden units": (
        HYBRID,
        stages(HYBRID, lambda _, stage: replace(stage, expansion_ratio=2.6, token_ratio=0.9)),
    ),
    "twice the width": (HYBRID, stages(HYBRID, lambda _, s: replace(s, width=2 * s.width))),
    "three times one width": (
        HYBRID,
        stages(HYBRID, lambda n, s: replace(s, width=3 * s.width) if n == 1 else s),
    ),
    "the deep stem": (HYBRID, replace(HYBRID, stem_width=7)),
    "a function of its own for each block": (
        SHARED,
        stages(SHARED, lambda _, stage: replace(stage, shared=False)),
    ),
    "all at once": (
        HYBRID,
        replace(
            with_mixers(
                stages(
                    HYBRID,
                    lambda _, s: replace(s, width=2 * s.width, expansion_ratio=3, token_ratio=1),
                ),
                ("attention", "conv"),
                ("attention", "attention", "mlp"),
                ("mlp", "attention", "attention", "mlp"),
            ),
            stem_width=11,
        ),
    ),
}


@pytest.mark.parametrize(("before", "after"), EXACT.values(), ids=EXACT)
@torch.no_grad()
def test_exact_changes_keep_the_outputs(before: Architecture, after: Architecture) -> None:
    network = randomised(before).double().eval()
    batch = images(before).double()
    assert all(change.exact for change in changes(before, after))
    grown = morph(network, after, seed=3).eval()
    assert grown.architecture == after
    for theirs, ours in zip(
        (network.forward_features(batch).mean((1, 2)), network(batch)),
        (grown.forward_features(batch).mean((1, 2)), grown(batch)),
        strict=True,
    ):
        # Wider features hold each channel several times over.
        torch.testing.assert_close(ours[:, : theirs.shape[1]], theirs, atol=1e-9, rtol=1e-9)
    assert network(batch).std() > 0.1


APPROXIMATE = {
    "heads": (HYBRID, stages(HYBRID, lambda _, stage: replace(stage, heads=4))),
    "a width that is no multiple": (
        HYBRID,
        stages(HYBRID, lambda _, stage: replace(stage, width=stage.width + 4)),
    ),
    "a smaller width": (HYBRID, stages(HYBRID, lambda _, s: replace(s, width=s.width - 4))),
    "fewer hidden units": (HYBRID, stages(HYBRID, lambda _, s: replace(s, expansion_ratio=1))),
    "fewer hidden tokens": (HYBRID, stages(HYBRID, lambda _, s: replace(s, token_ratio=0.25))),
    "fewer blocks": (HYBRID, with_mixers(HYBRID, ("conv",), ("attention",), ("mlp", "mlp"))),
    "another mixer": (HYBRID, with_mixers(HYBRID, ("conv",), ("conv", "mlp"), ("mlp",) * 3)),
    "no mixer": (HYBRID, with_mixers(HYBRID, ("conv",), ("conv", "conv"), ("conv",) * 3)),
    "shared functions": (HYBRID, stages(HYBRID, lambda _, stage: replace(stage, shared=True))),
    "a narrower stem": (HYBRID, replace(HYBRID, stem_width=3)),
    "another stem": (HYBRID, replace(HYBRID, stem="conv1")),
    "classes": (HYBRID, replace(HYBRID, num_classes=7)),
}


@pytest.mark.parametrize(("before", "after"), APPROXIMATE.values(), ids=APPROXIMATE)
@torch.no_grad()
def test_other_changes_are_said_to_be_approximate(
    before: Architecture, after: Architecture
) -> None:
    network = randomised(before).eval()
    batch = images(before)
    assert any(not change.exact for change in changes(before, after))
    grown = morph(network, after).eval()
    assert grown.architecture == after
    outputs, theirs = grown(batch), network(batch)
    assert outputs.isfinite().all()
    assert outputs.shape != theirs.shape or not torch.allclose(outputs, theirs, atol=1e-3)


@pytest.mark.parametrize("name", zoo())
@torch.no_grad()
def test_what_is_kept_is_nearer_than_new_weights(name: str) -> None:
    before = zoo()[name]
    after = stages(before, lambda _, stage: replace(stage, width=stage.width + 4))
    network, batch = randomised(before).eval(), images(before)
    correlation = torch.corrcoef(
        torch.stack([network(batch).flatten(), morph(network, after).eval()(batch).flatten()])
    )[0, 1]
    assert correlation > 0.7


def test_copies_of_a_channel_do_not_learn_the_same() -> None:
    before = small(("conv", "attention"))
    wide = stages(before, lambda _, stage: replace(stage, width=2 * stage.width))
    grown = morph(randomised(before).eval(), wide)
    grown(images(wide)).square().sum().backward()
    gradient = grown.get_parameter("stages.0.blocks.0.dwconv.weight").grad
    assert gradient is not None
    assert not torch.allclose(gradient[: before.stages[0].width], gradient[12:], rtol=1e-2)


def test_equal_mixers_are_kept_where_blocks_are_added_or_left_out() -> None:
    before = small(("conv", "attention", "conv", "mlp"))
    after = with_mixers(before, ("conv", "conv", "attention", "conv", "mlp"))
    assert [str(change) for change in changes(before, after)] == [
        "stages[0].blocks[1]: conv block added"
    ]
    fewer = with_mixers(before, ("attention", "mlp"))
    assert [str(change) for change in changes(before, fewer)] == [
        "stages[0].blocks: block 0 of 4 left out (approximate)",
        "stages[0].blocks: block 2 of 4 left out (approximate)",
    ]


def test_a_morphism_that_does_not_exist_is_refused() -> None:
    other = replace(small(("conv",)), image_size=(32, 32), patch_size=4, in_channels=3)
    with pytest.raises(ArchitectureError) as refused:
        morph(randomised(CONV), other)
    lines = str(refused.value).split("\n")
    assert [line.split(":")[0] for line in lines] == [
        "stages",
        "patch_size",
        "image_size",
        "in_channels",
    ]
