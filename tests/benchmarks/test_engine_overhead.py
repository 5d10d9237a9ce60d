"""What the engine costs beside training, two workers beside one, and beside stock parts.

Off by default; `pytest -m benchmark tests/benchmarks/test_engine_overhead.py` takes about twelve
minutes on two idle cores and writes three tables to `results/benchmarks/`. Nothing here asserts a
time. SPACH_NAS_BENCHMARK_TRIALS, such as 4, is enough to see that it runs.
"""

import os
import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest
from engine_runs import bare_loops, by_worker, planned, run_engine, run_stock
from result_tables import write_table

from spach_nas.cost.closed_form import Cost
from spach_nas.search.plan import Plan

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]
TRIALS = os.environ.get("SPACH_NAS_BENCHMARK_TRIALS")
TRAINING = {"epochs": 1, "data_share": 0.4, "batch_size": 32, "learning_rate": 2.0e-3}


def trials(many: int) -> int:
    return int(TRIALS) if TRIALS else many


def resources(workers: int) -> dict[str, object]:
    return {"cpus_per_trial": 1, "gpus_per_trial": 0, "max_concurrent": workers}


def test_the_overhead_of_a_segment_is_measured(tmp_path: Path) -> None:
    rows = []
    for sampler in ("random", "nsga2", "tpe"):
        home = tmp_path / sampler
        home.mkdir()
        plan = planned(
            home,
            training=TRAINING,
            search={"sampler": sampler, "trials": trials(16), "startup_trials": 4, "seed": 0},
            resources=resources(2),
        )
        run = run_engine(plan, home / "study")
        assert {record.state for record in run.records} == {"complete"}
        workers = [worker for worker in by_worker(run) if worker]
        bare = bare_loops(plan, workers)
        engine = [worker[-1].ended - worker[0].began for worker in run.spans]
        segments = len(run.records)
        rows.append(
            {
                "sampler": sampler,
                "workers": len(workers),
                "segments": segments,
                "shortest_segment_s": f"{min(map(min, bare)):.2f}",
                "median_segment_s": f"{statistics.median(x for y in bare for x in y):.2f}",
                "median_gap_s": f"{statistics.median(run.gaps):.3f}",
                "longest_gap_s": f"{max(run.gaps):.3f}",
                "over_bare_loop_s": f"{(sum(engine) - sum(map(sum, bare))) / segments:.3f}",
            }
        )
    write_table("engine_overhead.csv", rows, test=__file__)


def test_two_workers_are_measured_beside_one(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for workers in (1, 2):
        home = tmp_path / str(workers)
        home.mkdir()
        plan = planned(
            home,
            training=TRAINING,
            # Uniform proposals are the same whatever has finished before.
            search={"sampler": "random", "trials": trials(40), "seed": 1},
            resources=resources(workers),
        )
        run = run_engine(plan, home / "study")
        rows.append(
            {
                "workers": workers,
                "trials": len(run.records),
                "training_s": run.training_seconds,
                "search_s": run.search_seconds,
                "wall_s": run.seconds,
            }
        )
    for name in ("search_s", "wall_s"):
        for row in rows:
            row[name.replace("_s", "_speedup")] = f"{rows[0][name] / float(str(row[name])):.2f}"  # type: ignore[operator]
    for row in rows:
        row |= {name: f"{row[name]:.1f}" for name in ("training_s", "search_s", "wall_s")}
    write_table("engine_workers.csv", rows, test=__file__)


def test_stock_parts_are_measured_side_by_side(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        training={**TRAINING, "epochs": 9, "data_share": 0.2},
        rungs={"levels": [{"epochs": 1}, {"epochs": 3}], "reduction": 3},
        search={"sampler": "nsga2", "trials": trials(24), "startup_trials": 8, "seed": 0},
        resources=resources(2),
    )
    ours = run_engine(plan, tmp_path / "study")
    stock = run_stock(plan, tmp_path)
    epochs: dict[int, int] = {}
    costs: dict[int, Cost] = {}
    for record in ours.records:
        epochs[record.trial] = max(epochs.get(record.trial, 0), record.fidelity.epochs)
        costs[record.trial] = record.target_cost
    rows = [
        row("spach-nas", plan, [(costs[trial], epochs[trial]) for trial in costs], ours.seconds),
        row("OptunaSearch, ASHAScheduler", plan, stock.trained, stock.seconds),
    ]
    write_table("engine_stock.csv", rows, test=__file__)
    assert rows[0]["over_limits"] == 0


def row(
    name: str, plan: Plan, trained: Sequence[tuple[Cost, int]], seconds: float
) -> dict[str, object]:
    inside = [(cost, epochs) for cost, epochs in trained if plan.config.limits.allow(cost)]
    full = plan.config.fidelity.epochs
    return {
        "engine": name,
        "trials": plan.config.search.trials,
        "trained": len(trained),
        "over_limits": len(trained) - len(inside),
        "to_the_end": sum(epochs == full for _, epochs in trained),
        "to_the_end_inside": sum(epochs == full for _, epochs in inside),
        "epochs_trained": sum(epochs for _, epochs in trained),
        "wall_s": f"{seconds:.0f}",
        "wall_s_per_epoch": f"{seconds / sum(epochs for _, epochs in trained):.2f}",
    }
