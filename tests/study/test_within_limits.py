"""A record is inside the limits by its cost and by its latency."""

from dataclasses import replace

from spach_nas.config.objectives import OBJECTIVES
from spach_nas.cost.limits import Limits
from spach_nas.study.pareto import comparable, front, within
from study_factory import make_record


def test_a_limit_on_latency_keeps_slow_and_untimed_records_off_the_front() -> None:
    objectives = [OBJECTIVES[name] for name in ("accuracy", "macs")]
    records = [
        replace(record, objectives={**record.objectives, **timed})
        for record, timed in (
            (make_record(0, 0.9, macs=300), {"latency": 3.5}),
            (make_record(1, 0.8, macs=200), {"latency": 3.0}),
            (make_record(2, 0.7, macs=100), {}),
        )
    ]
    limits = Limits(max_latency=3_000_000)
    assert [within(record, limits) for record in records] == [False, True, False]
    assert [record.trial for record in comparable(records, limits=limits)] == [1]
    assert [record.trial for record in front(records, objectives, limits=limits)] == [1]
    assert len(front(records, objectives, limits=limits.without_latency)) == 3
