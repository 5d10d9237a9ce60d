import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spach_nas.cost.closed_form import cost
from spach_nas.errors import ArchitectureError, ConfigError
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.references import REFERENCES, get_reference
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from strategies import architectures

DATA = DataShape(in_channels=1, num_classes=10)


def single(**changes) -> Architecture:
    plain = {"mixers": ("conv",), "width": 12, "heads": 3, "expansion_ratio": 2}
    stage = Stage(**{**plain, **changes})
    return Architecture(stem="conv4", stem_width=64, patch_size=2, stages=(stage,))


def shape_of(architecture: Architecture) -> DataShape:
    return DataShape(in_channels=architecture.in_channels, num_classes=architecture.num_classes)


@given(architectures())
@settings(max_examples=100, deadline=None)
def test_scale_one_is_the_target_but_for_channels_and_classes(architecture: Architecture) -> None:
    assert scale(architecture, ProxyRule(), shape_of(architecture)) == architecture
    rule = ProxyRule(image_size=architecture.image_size, patch_size=architecture.patch_size)
    found = scale(architecture, rule, DATA)
    assert (found.in_channels, found.num_classes) == (1, 10)
    assert scale(found, ProxyRule(), shape_of(architecture)) == architecture


@pytest.mark.parametrize("name", REFERENCES)
def test_every_model_of_the_paper_has_the_proxy_of_the_rule(name: str) -> None:
    target = get_reference(name).architecture
    rule = ProxyRule(image_size=(32, 32), patch_size=2, width_scale=0.125)
    proxy = scale(target, rule, DATA)
    assert (proxy.image_size, proxy.patch_size) == ((32, 32), 2)
    assert (proxy.in_channels, proxy.num_classes) == (1, 10)
    for before, after in zip(target.stages, proxy.stages, strict=True):
        # The paper has 32, 64, 128 or 256 channels a head: an eighth is a whole number, at least 4.
        assert after.width * 8 == before.width
        assert (after.mixers, after.heads) == (before.mixers, before.heads)
        assert after.expansion_ratio == before.expansion_ratio
    stem_width = 8 * target.patch_size // 2 if target.stem == "conv4" else 64
    assert (proxy.stem, proxy.stem_width) == (target.stem, stem_width)


@pytest.mark.parametrize(
    ("width", "heads", "width_scale", "expected"),
    [
        (96, 3, 0.5, 48),
        (96, 3, 0.26, 24),  # 24.96: 24 and 27 are the multiples beside it
        (96, 3, 0.27, 27),  # 25.92
        (40, 1, 0.5125, 21),  # 20.5: halves go up
        (104, 2, 0.375, 40),  # 39 lies between 38 and 40: halves go up
        (96, 3, 0.01, 12),  # at least four for each head
        (96, 3, 1.5, 144),
        (6, 3, 0.5, 6),  # narrower than four for each head: kept
    ],
)
def test_widths_go_to_the_nearest_multiple_of_the_heads(
    width: int, heads: int, width_scale: float, expected: int
) -> None:
    target = single(width=width, heads=heads)
    proxy = scale(target, ProxyRule(width_scale=width_scale), DATA)
    assert proxy.stages[0].width == expected
    assert proxy.stages[0].heads == heads


@pytest.mark.parametrize(("width_scale", "expected"), [(0.5, 32), (0.01, 4), (0.1, 6), (1, 64)])
def test_the_width_of_the_stem_is_scaled_too(width_scale: float, expected: int) -> None:
    assert scale(single(), ProxyRule(width_scale=width_scale), DATA).stem_width == expected


@pytest.mark.parametrize(("before", "after"), [(4, 2), (4, 4), (16, 2), (2, 4)])
def test_a_stem_keeps_its_share_of_the_cost(before: int, after: int) -> None:
    target = replace(single(width=96), patch_size=before, image_size=(224, 224))
    rule = ProxyRule(image_size=(96, 96), patch_size=after, width_scale=0.25)
    # Most of a stem is 3 x 3 convolutions at half of the side, most of a stage is products of its
    # width at the side over the patch size.
    target_share, share = (
        Fraction(item.stem_width, 2) ** 2 / Fraction(item.stages[0].width, item.patch_size) ** 2
        for item in (target, scale(target, rule, DATA))
    )
    assert share == target_share


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 8), st.floats(0.01, 1))
@settings(max_examples=200, deadline=None)
def test_widths_keep_their_order_and_stay_near(
    one: int, other: int, heads: int, width_scale: float
) -> None:
    def scaled(factor: int) -> int:
        target = single(width=factor * heads, heads=heads)
        return scale(target, ProxyRule(width_scale=width_scale), DATA).stages[0].width

    low, high = sorted((one, other))
    assert scaled(low) <= scaled(high)
    exact = Fraction(width_scale) * high * heads
    nearest = max(min(4, high) * heads, math.floor(exact / heads + Fraction(1, 2)) * heads)
    halves = exact / heads * 2
    assume(abs(halves - round(halves)) > 1e-9)  # on a half, binary floats may go either way
    assert scaled(high) == nearest
    assert scaled(high) % heads == 0


@pytest.mark.parametrize(
    ("depth_scale", "expected"),
    [
        (1, "conv3+attn10+conv1"),
        (0.5, "conv2+attn5+conv1"),  # 1.5 and 0.5: halves go up
        (0.25, "conv1+attn3+conv1"),  # 0.75, 2.5 and 0.25: at least one block
        (0.01, "conv1+attn1+conv1"),
    ],
)
def test_depth_scales_each_run_of_equal_mixers(depth_scale: float, expected: str) -> None:
    target = single(mixers=("conv",) * 3 + ("attention",) * 10 + ("conv",))
    proxy = scale(target, ProxyRule(depth_scale=depth_scale), DATA)
    assert str(proxy) == expected


@given(architectures(), st.floats(0.01, 1))
@settings(max_examples=100, deadline=None)
def test_the_order_of_the_mixers_is_kept(architecture: Architecture, depth_scale: float) -> None:
    proxy = scale(architecture, ProxyRule(depth_scale=depth_scale), DATA)
    for before, after in zip(architecture.stages, proxy.stages, strict=True):
        assert [name for name, _ in before.runs] == [name for name, _ in after.runs]
        for (_, many), (_, few) in zip(before.runs, after.runs, strict=True):
            assert few == max(1, math.floor(many * depth_scale + 0.5))


@given(architectures(), st.floats(0.05, 1), st.floats(0.05, 1))
@settings(max_examples=100, deadline=None)
def test_a_larger_scale_never_costs_less(
    architecture: Architecture, one: float, other: float
) -> None:
    small, large = sorted((one, other))
    for name in ("width_scale", "depth_scale"):
        costs = [
            cost(scale(architecture, ProxyRule(**{name: factor}), DATA))
            for factor in (small, large)
        ]
        assert costs[0].macs <= costs[1].macs
        assert costs[0].params <= costs[1].params


def test_a_proxy_that_no_network_has_is_told() -> None:
    target = get_reference("hybrid_ms_s").architecture
    with pytest.raises(ArchitectureError, match="expected a multiple of 16"):
        scale(target, ProxyRule(image_size=(32, 24), patch_size=2), DATA)


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"patch_size": 0}, ["patch_size: 0; expected at least 1"]),
        ({"width_scale": 0.0}, ["width_scale: 0.0; expected more than 0"]),
        ({"width_scale": math.nan}, ["width_scale: nan; expected a finite number of at most 1e12"]),
        ({"width_scale": math.inf}, ["width_scale: inf; expected a finite number of at most 1e12"]),
        ({"depth_scale": 1.5}, ["depth_scale: 1.5; expected more than 0 and at most 1"]),
        ({"depth_scale": math.nan}, ["depth_scale: nan; expected a finite number of at most 1e12"]),
        (
            {"width_scale": -1, "depth_scale": 0},
            [
                "width_scale: -1; expected more than 0",
                "depth_scale: 0; expected more than 0 and at most 1",
            ],
        ),
    ],
)
def test_a_rule_checks_itself(changes: dict, lines: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        ProxyRule(**changes)
    assert str(raised.value).splitlines() == lines
