import itertools
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from spach_nas.errors import ArchitectureError
from spach_nas.space.layouts import Layout, PerBlock

ALL = ("conv", "attention", "mlp")
CASES = {
    "layout": (Layout(leading=ALL, trailing=ALL), (1, 2, 4)),
    "hybrids": (Layout(leading=("conv",), trailing=("attention", "mlp")), (3, 5)),
    "some depths": (Layout(leading=ALL, trailing=ALL, trailing_depth=(2, 0)), (1, 3)),
    "never none": (Layout(leading=("conv", "mlp"), trailing=ALL, trailing_depth=(1, 3)), (2, 3)),
    "all trailing": (Layout(leading=ALL, trailing=("mlp",), trailing_depth=(9,)), (2, 5)),
    "one": (Layout(leading=("conv",), trailing=("conv",)), (1, 3)),
    "free": (PerBlock(choices=ALL), (1, 3)),
    "free two": (PerBlock(choices=("mlp", "conv")), (2, 4, 5)),
    "name": (PerBlock(choices=("attention",)), (4,)),
}


def encodings(arrangement: Layout | PerBlock, depths: tuple[int, ...]):
    choices = arrangement.parameters(depths)
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def enumerate_all(arrangement: Layout | PerBlock, depths: tuple[int, ...]) -> set[tuple[str, ...]]:
    return {
        arrangement.arrange(encoding, depth)
        for encoding in encodings(arrangement, depths)
        for depth in depths
    }


@pytest.mark.parametrize("name", CASES)
def test_the_canonical_values_give_each_arrangement_back(name: str) -> None:
    arrangement, depths = CASES[name]
    choices = arrangement.parameters(depths)
    for mixers in enumerate_all(arrangement, depths):
        values = arrangement.describe(mixers, depths)
        assert values is not None
        assert list(values) == list(choices)
        assert all(value in choices[key] for key, value in values.items())
        assert arrangement.arrange(values, len(mixers)) == mixers


@pytest.mark.parametrize("name", CASES)
def test_nothing_else_has_values(name: str) -> None:
    arrangement, depths = CASES[name]
    inside = enumerate_all(arrangement, depths)
    for depth in range(1, 5):
        for mixers in itertools.product(ALL, repeat=depth):
            assert (arrangement.describe(mixers, depths) is not None) == (mixers in inside)


@pytest.mark.parametrize("name", CASES)
def test_classes_count_every_arrangement_once(name: str) -> None:
    arrangement, depths = CASES[name]
    expected = Counter(
        tuple(sorted(Counter(mixers).items())) for mixers in enumerate_all(arrangement, depths)
    )
    classes = arrangement.classes(depths)
    assert {item.counts: item.number for item in classes} == expected
    assert len(classes) == len(expected)
    assert all(item.depth == sum(dict(item.counts).values()) for item in classes)


def test_a_stage_of_one_mixer_is_described_without_trailing_blocks() -> None:
    layout = Layout(leading=ALL, trailing=ALL)
    assert layout.describe(("mlp",) * 3, (2, 3)) == {
        "leading": "mlp",
        "trailing": "mlp",
        "trailing_depth": 0,
    }


def test_blocks_beyond_the_depth_hold_the_first_choice() -> None:
    free = PerBlock(choices=("mlp", "conv"))
    assert free.describe(("conv",), (1, 3)) == {"block1": "conv", "block2": "mlp", "block3": "mlp"}


def test_layouts_of_the_large_stage_of_the_paper_are_counted() -> None:
    # Depths 4 to 16: 13 * 9 * 17 encodings; 3 pure ones, and 6 ordered pairs at depth - 1 places.
    layout, depths = Layout(leading=ALL, trailing=ALL), tuple(range(4, 17))
    assert sum(item.number for item in layout.classes(depths)) == sum(
        3 + 6 * (depth - 1) for depth in depths
    )


@pytest.mark.parametrize("name", ["free", "layout"])
def test_arrangements_of_a_class_are_drawn_uniformly(name: str) -> None:
    arrangement, depths = CASES[name]
    rng = np.random.default_rng(5)
    for item in arrangement.classes(depths):
        drawn = Counter(arrangement.draw(item, depths, rng) for _ in range(60 * item.number))
        assert len(drawn) == item.number
        assert all(tuple(sorted(Counter(mixers).items())) == item.counts for mixers in drawn)
        if item.number > 1:
            assert chisquare(list(drawn.values())).pvalue > 1e-4


@pytest.mark.parametrize("kind", ["leading", "trailing", "choices"])
def test_an_unknown_mixer_is_told(kind: str) -> None:
    with pytest.raises(ArchitectureError, match=r"unknown mixer 'atention'.*mean 'attention'"):
        if kind == "choices":
            PerBlock(choices=("conv", "atention"))
        else:
            Layout(**{"leading": ("conv",), "trailing": ("mlp",), kind: ("atention",)})
