from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from spach_nas.cost.closed_form import Cost, cost
from spach_nas.cost.limits import Limits, Measure, ProxyLimits, bounds_set
from spach_nas.errors import ConfigError
from spach_nas.space.references import get_reference
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from spach_nas.validation import validate

COST = Cost(params=300, macs=5000, macs_with_norms=6000, activations=70)
DATA = DataShape(in_channels=1, num_classes=10)
NAMES = ("macs", "params", "activations")


@pytest.mark.parametrize("name", NAMES)
def test_a_bound_is_inclusive_on_both_sides(name: str) -> None:
    value = getattr(COST, name)
    assert Limits(**{f"max_{name}": value, f"min_{name}": value}).allow(COST)
    assert not Limits(**{f"max_{name}": value - 1}).allow(COST)
    assert not Limits(**{f"min_{name}": value + 1}).allow(COST)


def test_bounds_are_of_the_macs_without_norms() -> None:
    assert Limits(max_macs=5000).allow(COST)


def test_no_bound_allows_everything() -> None:
    assert Limits().allow(COST)
    assert str(Limits()) == "none"


def test_a_bound_of_zero_is_a_bound() -> None:
    assert not Limits(max_params=0).allow(COST)
    assert str(Limits(min_macs=0)) == "macs >= 0"


bounds = st.none() | st.integers(0, 400)


@given(st.integers(0, 400), bounds, bounds)
def test_allowed_means_between_the_bounds(value: int, low: int | None, high: int | None) -> None:
    cost = COST._replace(params=value)
    if low is not None and high is not None and low > high:
        with pytest.raises(ConfigError):
            Limits(min_params=low, max_params=high)
        return
    limits = Limits(min_params=low, max_params=high)
    expected = (low is None or low <= value) and (high is None or value <= high)
    assert limits.allow(cost) == expected == (not limits.violations(cost))


def test_every_violation_is_told_with_value_and_bound() -> None:
    limits = Limits(max_macs=4000, min_params=1_000_000, max_activations=70)
    assert limits.violations(COST) == (
        "macs 5k above max_macs 4k",
        "params 300 below min_params 1M",
    )
    assert str(limits) == "macs <= 4k, params >= 1M, activations <= 70"


def test_every_field_is_a_bound_on_a_figure_of_cost() -> None:
    assert [name for name, _, _ in Limits().bounds] == list(NAMES)
    named = {f"{side}_{name}" for side in ("min", "max") for name in NAMES}
    assert named == {field.name for field in fields(Limits)} - {"max_latency"}
    assert set(NAMES) <= set(Cost._fields)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"max_mac": 1}, "limits: max_mac: unknown key; expected max_activations, max_latency"),
        ({"max_macs": "12.3Q"}, "limits: max_macs: '12.3Q'; expected a count such as 12.3G"),
        ({"max_macs": -1}, "limits: max_macs: -1; expected a count"),
        ({"max_macs": True}, "limits: max_macs: True; expected a count"),
        ({"min_macs": "2G", "max_macs": "1G"}, "limits: min_macs: 2G is above max_macs: 1G"),
        (["1G"], "limits: ['1G']; expected a mapping"),
    ],
)
def test_bad_limits_are_told(data: object, line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        validate(TypeAdapter(Limits), data, where="limits", error=ConfigError)
    assert str(raised.value).startswith(line)


def test_numbers_are_read_with_their_units() -> None:
    data = {"max_macs": "12.3G", "min_params": 5, "max_activations": None}
    assert validate(TypeAdapter(Limits), data, where="limits", error=ConfigError) == Limits(
        max_macs=12_300_000_000, min_params=5
    )


def test_every_limit_that_is_set_is_a_bound_with_a_name() -> None:
    proxy = ProxyLimits(limits=Limits(min_params=0), rule=ProxyRule(), data=DATA)
    bounds = bounds_set(Limits(max_macs=7, min_macs=5, max_activations=9), proxy)
    assert {bound.name: bound.value for bound in bounds} == {
        "min_macs": 5,
        "max_macs": 7,
        "max_activations": 9,
        "proxy_limits.min_params": 0,
    }
    assert bounds[-1].measure == Measure("proxy_limits", "params")
    least, most = bounds[:2]
    assert [least.holds(value) for value in (4, 5, 6)] == [False, True, True]
    assert [most.holds(value) for value in (6, 7, 8)] == [True, True, False]
    assert bounds_set(Limits()) == ()


def test_limits_of_the_proxy_are_about_the_network_that_is_trained() -> None:
    target = get_reference("hybrid_ms_xs").architecture
    rule = ProxyRule(image_size=(32, 32), patch_size=2, width_scale=0.25)
    macs = cost(scale(target, rule, DATA)).macs
    assert macs < cost(target).macs // 10
    for value, allowed in ((macs - 1, False), (macs, True), (macs + 1, True)):
        assert (
            ProxyLimits(limits=Limits(max_macs=value), rule=rule, data=DATA).allow(target)
            is allowed
        )
    # Without bounds it does not matter that no network has the proxy.
    assert ProxyLimits(rule=ProxyRule(image_size=(31, 31)), data=DATA).allow(target)
