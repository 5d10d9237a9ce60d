"""Parts, tables and predictions of latency, with times in closed form."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from effort import with_slow
from latency_tools import ONE, WHERE, fake_clock, make_table, nanoseconds, predicted, timing
from small_spaces import SPACES, enumerate_space
from spach_nas.config.search_settings import LatencySettings
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.errors import ConfigError, LatencyError, SearchSpaceError
from spach_nas.feasible import FeasibleSet, counts_without
from spach_nas.latency.latency_table import Check, LatencyTable, PredictedLatency
from spach_nas.latency.measuring import check_networks, measure_table, prediction_error
from spach_nas.latency.parts import (
    BlockPart,
    block_parts,
    frame_parts,
    part_name,
    parts_of,
    space_parts,
)
from spach_nas.latency.timing import summarise

MANY = pytest.mark.parametrize("name", with_slow(SPACES, "layouts and free blocks"))
SPACE = SPACES["global ratio and sharing"]


@MANY
def test_a_space_has_the_parts_of_all_its_architectures(name: str) -> None:
    found = space_parts(SPACES[name])
    assert len(set(map(part_name, found))) == len(found)
    every = enumerate_space(SPACES[name])
    used = {part for item in every for part in frame_parts(item)}
    stages = {pair for item in every for pair in zip(item.stages, item.resolutions, strict=True)}
    used |= {part for pair in stages for part in block_parts(*pair)}
    assert used <= set(found)
    # What no architecture has are blocks that would share, in stages too shallow for it.
    assert all(isinstance(part, BlockPart) and part.shared for part in set(found) - used)


def test_a_block_that_has_none_to_share_with_has_a_time_where_all_stages_share() -> None:
    sharing = replace(SPACE, shared=(True,))
    used = {part for item in enumerate_space(sharing) for part in parts_of(item)}
    assert used <= set(space_parts(sharing))
    assert {
        part.shared for part in used if isinstance(part, BlockPart) and part.mixer == "mlp"
    } == {
        True,
        False,
    }


def test_a_network_is_its_frame_and_its_blocks() -> None:
    kinds = Counter(type(part).__name__ for part in parts_of(ONE).elements())
    assert kinds == {"StemPart": 1, "DownsamplePart": 1, "HeadPart": 1, "BlockPart": 6}
    [conv, mlp] = block_parts(ONE.stages[0], (4, 4)).items()
    assert conv[1] == 2 and not conv[0].shared  # a conv block has nothing to share
    assert mlp[1] == 1 and not mlp[0].shared  # alone, it shares with none
    shares = {part.mixer: part.shared for part in block_parts(ONE.stages[1], (2, 2))}
    assert shares == {"attention": True, "mlp": False}
    assert conv[0].heads == 1 and mlp[0].token_ratio == 0.5  # what is not read is not told apart


def test_predictions_are_sums_whatever_the_order_of_blocks() -> None:
    latency = predicted(list(parts_of(ONE)))
    naive = sum(nanoseconds(part) for part in parts_of(ONE).elements())
    frame = latency.frame(ONE)
    blocks = [latency.blocks(*pair) for pair in zip(ONE.stages, ONE.resolutions, strict=True)]
    assert latency.of(ONE) == frame + sum(blocks) == naive
    turned = replace(ONE.stages[1], mixers=("mlp", "attention", "attention"))
    assert latency.of(replace(ONE, stages=(ONE.stages[0], turned))) == naive


def test_a_scale_stretches_every_part() -> None:
    table = make_table(list(parts_of(ONE)), scale=1.25)
    naive = sum(round(1.25 * nanoseconds(part)) for part in parts_of(ONE).elements())
    assert PredictedLatency(table, where="").of(ONE) == naive


@MANY
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_limits_on_latency_leave_exactly_what_meets_them(name: str, share: float) -> None:
    space = SPACES[name]
    latency, every = predicted(space_parts(space)), enumerate_space(space)
    times = {item: latency.of(item) for item in every}
    bound = int(np.quantile(list(times.values()), share, method="inverted_cdf"))
    costs = sorted(cost(item).params for item in every)
    limits = Limits(max_latency=bound, max_params=costs[int(0.9 * (len(costs) - 1))])
    inside = {
        item
        for item in every
        if times[item] <= bound and cost(item).params <= (limits.max_params or 0)
    }
    if not inside:
        with pytest.raises(SearchSpaceError, match="max_latency"):
            FeasibleSet(space, limits, latency=latency)
        return
    feasible = FeasibleSet(space, limits, latency=latency)
    assert feasible.count == len(inside)
    assert set(feasible.samples(60, 1)) <= inside
    assert {item for item in every if feasible.allows(item)} == inside
    rng = np.random.default_rng(2)
    for item in every[:: max(1, len(every) // 20)]:
        near = feasible.near(space.encode(item), rng)
        assert near in inside and (near == item) == (item in inside)
    without = counts_without(space, limits, latency=latency)
    assert without["max_params"] == sum(time <= bound for time in times.values())


def test_a_limit_that_nothing_meets_says_what_there_is() -> None:
    latency = predicted(space_parts(SPACE))
    times = sorted(map(latency.of, enumerate_space(SPACE)))
    with pytest.raises(SearchSpaceError) as raised:
        FeasibleSet(SPACE, Limits(max_latency=times[0] - 1), latency=latency)
    low, high = (f"{time / 1e3:.4g} us" for time in (times[0], times[-1]))
    assert f"excludes everything: architectures have {low} to {high} of latency" in str(
        raised.value
    )


def test_measuring_keeps_what_is_known_and_times_everything_once() -> None:
    parts, networks = space_parts(SPACE), check_networks(SPACE)
    asked: list[str] = []

    class KilledError(Exception):
        pass

    kept: list[LatencyTable] = []

    def stop(done: int, total: int, table: LatencyTable) -> None:
        kept.append(table)
        if done == total // 2:
            raise KilledError

    with pytest.raises(KilledError):
        measure_table(parts, networks, WHERE, clock=fake_clock(asked=asked), on_progress=stop)
    clock = fake_clock(factor=1.25, asked=asked)
    told: list[tuple[int, int]] = []
    table = measure_table(
        parts,
        networks,
        WHERE,
        clock=clock,
        known=kept[-1],
        on_progress=lambda done, total, _: told.append((done, total)),
    )
    assert [done for done, _ in told] == list(range(len(kept) + 1, told[0][1] + 1))
    assert set(asked) == {*map(part_name, parts), *(item.name for item in networks)}
    assert max(Counter(asked).values()) == 1
    whole = measure_table(parts, networks, WHERE, clock=fake_clock())
    assert table.parts == {name: whole.parts[name] for name in table.parts}
    assert set(whole.parts) == set(table.parts)
    # Networks are timed among the parts, not all of them at an end.
    asked.clear()
    measure_table(parts, networks, WHERE, clock=fake_clock(asked=asked))
    names = {item.name for item in networks}
    places = [i for i, name in enumerate(asked) if name in names]
    assert max(b - a for a, b in itertools.pairwise(places)) <= len(asked) / len(names) + 1


@pytest.mark.parametrize("factor", [1.0, 1.25, 0.5])
def test_a_scale_is_fitted_on_networks_and_judged_on_others(factor: float) -> None:
    networks = check_networks(SPACE)
    clock = fake_clock(factor=factor)
    table = measure_table(space_parts(SPACE), networks, WHERE, clock=clock)
    assert table.scale == pytest.approx(factor)
    assert table.error is not None
    assert table.error.networks == sum(not item.fitted for item in networks) > 3
    assert table.error.largest == pytest.approx(0, abs=1e-12)
    assert table.error.rank_correlation == pytest.approx(1)


def test_the_error_is_that_of_held_out_networks_alone() -> None:
    def check(measured: float, total: float, *, fitted: bool = False) -> Check:
        return Check(name="a", drawing="b", measured=measured, sum=total, fitted=fitted)

    # Predicted 20, 30, 40 for 25, 20, 40: off by 0.2, 0.5, 0; of the three pairs one is swapped.
    checks = [check(25, 10), check(20, 15), check(40, 20), check(1, 999, fitted=True)]
    error = prediction_error(checks, 2.0)
    assert error is not None
    assert (error.networks, error.median, error.largest) == pytest.approx((3, 0.2, 0.5))
    assert error.rank_correlation == pytest.approx(1 / 3)
    assert prediction_error(checks[3:], 2.0) is None
    one = prediction_error(checks[:1], 2.0)
    assert one is not None and one.rank_correlation is None
    assert str(error) == "off by 20.0% at the median and 50.0% at most over 3 whole networks, " + (
        "Kendall 0.33"
    )


def test_the_networks_to_check_are_distinct_and_of_the_space() -> None:
    networks = check_networks(SPACE)
    assert len({item.architecture for item in networks}) == len(networks)
    assert all(SPACE.contains(item.architecture) for item in networks)
    paper = check_networks(SPACE, ("conv_ms_xxs",))[0]
    assert (paper.name, paper.fitted) == ("conv_ms_xxs", False)


@pytest.mark.parametrize("times", [[3.0], [4.0, 1.0], [5.0, 1.0, 2.0, 900.0, 3.0, 2.5]])
def test_times_are_told_by_quartiles(times: list[float]) -> None:
    found = summarise(times)
    expected = np.quantile(times, [0.25, 0.5, 0.75])
    assert [found.low, found.median, found.high] == pytest.approx(expected.tolist())
    assert found.runs == len(times)


@pytest.mark.parametrize("name", ["batch_size", "threads"])
def test_settings_out_of_range_are_told(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: 0; expected at least 1"):
        LatencySettings(**{name: 0})


def test_limits_speak_of_latency() -> None:
    limits = Limits(max_latency=12_000_000, max_macs=10**9)
    assert str(limits) == "macs <= 1G, latency <= 12 ms"
    some = cost(ONE)
    assert limits.allow(some, latency_ns=12_000_000)
    # A latency that nobody knows is not inside a limit.
    assert not limits.allow(some)
    assert limits.without_latency.allow(some)
    assert limits.violations(some, latency_ns=12_345_678) == (
        "latency 12.35 ms above max_latency 12 ms",
    )
    with pytest.raises(ConfigError, match="max_latency: 0 ns; expected more than 0"):
        Limits(max_latency=0)


def test_no_time_is_no_timing() -> None:
    for median in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(LatencyError, match="expected more than 0"):
            timing(median)
