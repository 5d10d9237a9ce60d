"""Searches replayed from a table: what is proposed, when it ends, and how far from the front."""

import csv
import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ray.tune.schedulers.async_hyperband import _Bracket

from conftest import run_main
from effort import slow, with_slow
from search_tools import drive, evaluate, make_study, write_search
from spach_nas.config.evaluation import Epoch, EvaluationRequest
from spach_nas.config.sampler_registry import SAMPLERS, SamplerSpec, register_sampler
from spach_nas.config.search_settings import Level, Rungs
from spach_nas.config.search_yaml import load_config, source_files
from spach_nas.cost.closed_form import cost
from spach_nas.errors import StudyError
from spach_nas.feasible import FeasibleSet
from spach_nas.replay import (
    Benchmark,
    Budget,
    Entry,
    Strategy,
    TableSet,
    TabularEvaluator,
    Workers,
    compare,
    read_benchmark,
    read_table,
    replay,
    simulate,
    table_of_records,
    write_table,
)
from spach_nas.replay.regrets import TENTHS, regrets, strategies
from spach_nas.replay.stock import AshaRung, replay_stock
from spach_nas.replay.strategies import rungs_of
from spach_nas.replay.training_table import make_table
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import DataShape, scale
from spach_nas.space.search_space import SearchSpace
from spach_nas.study.driver import StudyDriver
from spach_nas.study.folder import Archive

EPOCHS = 9
RUNGS = Rungs(levels=(Level(epochs=1), Level(epochs=3)), reduction=3)


def curve_of(target: Architecture, seed: int) -> tuple[Epoch, ...]:
    """In closed form: attention begins low and ends high; an epoch takes longer for more MACs."""
    attention = sum(stage.mixers.count("attention") for stage in target.stages)
    noise = 0.003 * math.sin(cost(target).params + 7 * seed)
    accuracy = [
        0.1 * math.log10(cost(target).macs) + 0.01 * attention * (i - 3) / EPOCHS + noise + 0.01 * i
        for i in range(1, EPOCHS + 1)
    ]
    seconds = 1 + cost(target).macs / 1e6
    return tuple(
        Epoch(train_loss=2 - score, loss=2 - score, accuracy=score, seconds=seconds)
        for score in accuracy
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 150 architectures with two seeds, and of 50 more above the limits."""
    home = tmp_path_factory.mktemp("table")
    path = write_search(home, training__epochs=EPOCHS, search__startup_trials=10)
    config = load_config(path)
    drawn = dict.fromkeys(config.space.sample(i) for i in range(2_000))
    inside = [item for item in drawn if config.limits.allow(cost(item))][:150]
    outside = [item for item in drawn if not config.limits.allow(cost(item))][:50]
    proxies = [scale(item, config.proxy_at(0), shape(config.space)) for item in inside + outside]
    entries = [
        Entry(
            architecture=target,
            target_cost=cost(target),
            proxy_cost=cost(proxy),
            curves={seed: curve_of(target, seed) for seed in (0, 1)},
        )
        for target, proxy in zip(inside + outside, proxies, strict=True)
    ]
    table = make_table(entries, where="", image_size=(32, 32), data_share=0.02)
    for name, text in source_files(path).items():
        (home / name).write_text(text)
    write_table(table, home / "table.csv")
    return home


def shape(space: SearchSpace) -> DataShape:
    return DataShape(in_channels=space.in_channels, num_classes=space.num_classes)


@pytest.fixture(scope="module")
def benchmark(folder: Path) -> Benchmark:
    found = read_benchmark([folder])
    return Benchmark(config=replace(found.config, rungs=RUNGS), table=found.table)


def test_a_table_comes_back_from_its_file(folder: Path) -> None:
    first = read_table(folder / "table.csv")
    assert len(first.entries) == 200
    for arch_id, entry in first.entries.items():
        assert entry.architecture.arch_id == arch_id
        assert entry.curves == {seed: curve_of(entry.architecture, seed) for seed in (0, 1)}
        assert entry.target_cost == cost(entry.architecture)


@pytest.mark.parametrize(("cpu_seconds", "expected"), [(None, 5.0), (3.5, 3.5), (9.0, 5.0)])
def test_a_busy_machine_does_not_make_a_training_longer(
    tmp_path: Path, cpu_seconds: float | None, expected: float
) -> None:
    study = make_study(tmp_path, search__trials=1)
    drive(study)
    epoch = Epoch(train_loss=1.0, loss=1.0, accuracy=0.5, seconds=5.0, cpu_seconds=cpu_seconds)
    table = table_of_records([replace(study.records[0], curve=(epoch,))], where="here")
    assert table.full_seconds == expected


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("seed", "one", "row 3: .*'one'"),
        ("architecture", "{}", "stages"),
        ("arch_id", "0123456789ab", "is another architecture"),
        ("epoch", "7", "epochs .*; expected all from 1"),
        ("data_share", "0.5", "2 combinations"),
    ],
)
def test_a_damaged_table_says_where(
    folder: Path, tmp_path: Path, column: str, value: str, message: str
) -> None:
    rows = read_csv(folder / "table.csv")[:EPOCHS]
    changed = [2] if column in ("seed", "epoch", "data_share") else range(EPOCHS)
    for i in changed:
        rows[i][column] = value
    with (tmp_path / "table.csv").open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(StudyError, match=message):
        read_table(tmp_path / "table.csv")


def test_the_records_of_a_study_are_a_table(tmp_path: Path) -> None:
    changes = {"training__epochs": 4, "rungs": {"levels": [{"epochs": 2}]}, "search__trials": 9}
    study = make_study(tmp_path, **changes)
    drive(study)
    study.close()
    table = table_of_records(study.records, where="here")
    top = [record for record in study.records if record.fidelity.rung == 1]
    assert set(table.entries) == {record.arch_id for record in top}
    for record in top:
        assert table.entries[record.arch_id].curves == {3: record.curve}
    assert read_benchmark([tmp_path / "study"]).table == table


def test_only_studies_by_one_protocol_make_one_table(tmp_path: Path) -> None:
    for name, width in (("one", 1.0), ("other", 0.5)):
        (tmp_path / name).mkdir()
        proxy = {"patch_size": 8, "width_scale": width}
        drive(make_study(tmp_path / name, proxy=proxy, search__trials=2))
    with pytest.raises(StudyError, match="its proxy differs"):
        read_benchmark([tmp_path / "one/study", tmp_path / "other/study"])


def test_studies_by_other_chance_make_one_table(tmp_path: Path) -> None:
    studies = []
    for seed in (3, 4):
        (tmp_path / str(seed)).mkdir()
        changes = {"search__sampler": "random", "search__trials": 5, "training__seed": seed}
        study = make_study(tmp_path / str(seed), **changes)
        drive(study)
        studies.append(study.folder)
    table = read_benchmark(studies).table
    assert [sorted(entry.curves) for entry in table.entries.values()] == [[3, 4]] * 5


def test_only_what_is_in_the_table_is_proposed(benchmark: Benchmark) -> None:
    rng, feasible = np.random.default_rng(0), benchmark.feasible
    assert feasible.count == 150
    assert {feasible.sample(rng).arch_id for _ in range(3_000)} == {
        item.arch_id for item in feasible.members
    }
    space = benchmark.config.space
    for number in range(15):
        proposed = space.sample(number)
        found = feasible.near(space.encode(proposed), rng)
        assert feasible.allows(found)
        # Naively: the sum of steps, in an order that `near` does not know.
        distances = {
            item: distance(space, space.encode(proposed), space.encode(item))
            for item in feasible.members
        }
        assert distances[found] == pytest.approx(min(distances.values()))


def distance(space: SearchSpace, one: dict, other: dict) -> float:
    total = 0.0
    for name, values in space.parameters.items():
        if isinstance(values[0], str | bool):
            total += one[name] != other[name]
        else:
            total += abs(values.index(one[name]) - values.index(other[name])) / (len(values) - 1)
    return total


def test_a_set_of_nothing_is_a_mistake(benchmark: Benchmark) -> None:
    with pytest.raises(StudyError, match="no architecture of the search space"):
        TableSet(benchmark.config.space, [])


@pytest.mark.parametrize("rule", ["off", "front", "accuracy"])
def test_a_replay_takes_the_time_of_its_epochs(benchmark: Benchmark, rule: str) -> None:
    strategy, budget = Strategy(sampler="random", rungs=rule), Budget(trials=27, workers=1)
    steps = replay(benchmark, strategy, seed=4, budget=budget)
    assert steps[-1].trials == 27
    whole = [step.arch_id for step in steps if step.arch_id]
    assert len(set(whole)) == len(whole) == {"off": 27, "front": 3, "accuracy": 3}[rule]
    if rule == "off":
        ends = itertools.accumulate(
            EPOCHS * (1 + benchmark.table.entries[arch_id].target_cost.macs / 1e6)
            for arch_id in whole
        )
        assert [step.seconds for step in steps] == pytest.approx(list(ends))
    assert [step.seconds for step in steps] == sorted(step.seconds for step in steps)


def test_the_best_of_a_rung_with_too_few_goes_on_at_the_end(benchmark: Benchmark) -> None:
    strategy = Strategy(sampler="random", rungs="accuracy")
    steps = replay(benchmark, strategy, seed=4, budget=Budget(trials=2, workers=2))
    assert sum(step.arch_id is not None for step in steps) == 1


def test_a_promotion_takes_the_time_of_its_own_epochs(benchmark: Benchmark) -> None:
    arch_id, entry = next(iter(benchmark.table.entries.items()))
    course = benchmark.config.course(0)
    request = EvaluationRequest(
        trial=0,
        architecture=entry.architecture,
        proxy=entry.architecture,
        fidelity=course[1],
        seed=0,
        course=course,
    )
    evaluator = TabularEvaluator(table=benchmark.table, seed=0)
    afresh, goes_on = evaluator(request), evaluator(replace(request, parent=Path(arch_id)))
    each = 1 + entry.target_cost.macs / 1e6
    assert (len(afresh.curve), afresh.seconds) == (3, pytest.approx(3 * each))
    assert (len(goes_on.curve), goes_on.seconds) == (2, pytest.approx(2 * each))
    assert goes_on.scores == afresh.scores
    assert afresh.curve == evaluator.curve(entry)[:3]


def test_workers_share_the_time_and_a_replay_repeats(benchmark: Benchmark) -> None:
    strategy = Strategy(sampler="nsga2", rungs="front")
    runs = [
        replay(benchmark, strategy, seed=1, budget=Budget(trials=30, workers=workers))
        for workers in (1, 5, 5)
    ]
    assert runs[1] == runs[2]
    assert runs[0][-1].seconds / 5 < runs[1][-1].seconds < runs[0][-1].seconds / 2
    other = replay(benchmark, strategy, seed=2, budget=Budget(trials=30, workers=5))
    assert other != runs[1]


def test_nothing_starts_after_the_time_is_over(benchmark: Benchmark) -> None:
    longest = EPOCHS * max(1 + e.target_cost.macs / 1e6 for e in benchmark.table.entries.values())
    budget = Budget(trials=150, seconds=200.0, workers=3)
    for strategy in (Strategy(sampler="random"), Strategy(sampler="random", stock=True)):
        run = replay_stock if strategy.stock else replay
        last = run(benchmark, strategy, seed=0, budget=budget)[-1]
        assert 200 <= last.seconds < 200 + longest
        assert last.trials < 150


def test_a_study_that_writes_nothing_is_the_study_that_writes(tmp_path: Path) -> None:
    changes = {
        "training__epochs": EPOCHS,
        "rungs": {"levels": [{"epochs": 1}, {"epochs": 3}]},
        "search__trials": 45,
    }
    written = make_study(tmp_path, **changes)
    asked = drive(written)
    workers = Workers(number=1)
    silent = StudyDriver(
        written.config,
        folder=written.folder,
        data=DataShape(in_channels=1, num_classes=10),
        feasible=_feasible(written),
        archive=Archive(),
        clock=workers.clock,
    )
    before = sorted(path.name for path in written.folder.rglob("*"))
    again = drive(silent)
    assert [replace(request, parent=None) for request in again] == [
        replace(request, parent=None) for request in asked
    ]
    assert [request.parent for request in again] == [request.parent for request in asked]
    assert sorted(path.name for path in written.folder.rglob("*")) == before


def _feasible(study: StudyDriver) -> FeasibleSet:
    return FeasibleSet(study.config.space, study.config.limits)


def test_a_simulation_asks_while_workers_are_idle(tmp_path: Path) -> None:
    workers = Workers(number=3)
    study = make_study(tmp_path, clock=workers.clock, search__trials=10)
    running = []

    def long(request):
        running.append(len(study.running))
        return replace(evaluate(request), seconds=10.0)

    simulate(study, long, workers=workers)
    # Ten trials of ten seconds by three workers: four rounds.
    assert (workers.clock.now, workers.busy) == (40.0, 100.0)
    assert running == [1, 2, 3, 3, 3, 3, 3, 3, 3, 3]
    assert [record.started for record in study.records] == [0] * 3 + [10] * 3 + [20] * 3 + [30]


def test_regret_is_what_the_exact_front_has_more(benchmark: Benchmark) -> None:
    points = {
        item.arch_id: (
            sum(curve_of(item, seed)[-1].accuracy for seed in (0, 1)) / 2,
            cost(item).macs,
        )
        for item in benchmark.feasible.members
    }
    worst = min(a for a, _ in points.values()), max(m for _, m in points.values())
    assert benchmark.reference_point == pytest.approx({"accuracy": worst[0], "macs": worst[1]})

    def area(arch_ids: list[str]) -> float:
        """Rectangles from the cheapest to the dearest."""
        total, best, chosen = (
            0.0,
            worst[0],
            sorted((points[i] for i in arch_ids), key=lambda p: p[1]),
        )
        for accuracy, macs in chosen:
            total += max(0.0, accuracy - best) * (worst[1] - macs)
            best = max(best, accuracy)
        return total

    some = [item.arch_id for item in benchmark.feasible.members[:7]]
    assert benchmark.regret(some) == pytest.approx(1 - area(some) / area(list(points)))
    assert benchmark.regret([]) == 1
    front = [
        arch_id
        for arch_id, (accuracy, macs) in points.items()
        if not any(a >= accuracy and m <= macs and (a, m) != (accuracy, macs)
                   for a, m in points.values())
    ]  # fmt: skip
    assert [entry.architecture.arch_id for entry in benchmark.front] == front
    assert benchmark.regret(front) == pytest.approx(0)


@pytest.mark.parametrize("stock", with_slow([False, True], True))
def test_regret_falls_to_nothing_when_all_is_trained(benchmark: Benchmark, stock: bool) -> None:
    run = replay_stock if stock else replay
    trials = 900 if stock else 150
    steps = run(
        benchmark, Strategy(sampler="random", stock=stock), seed=0, budget=Budget(trials=trials)
    )
    found = regrets(benchmark, steps, "trials", whole=trials)
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.01 or stock
    assert found[-1] == pytest.approx(0, abs=0.1 if stock else 1e-9)


@slow
def test_stock_wastes_what_is_outside_the_limits(benchmark: Benchmark) -> None:
    budget = Budget(trials=400)
    steps = replay_stock(benchmark, Strategy(sampler="random", stock=True), seed=0, budget=budget)
    assert steps[-1].trials == 400
    known = {item.arch_id for item in benchmark.feasible.members}
    found = [step.arch_id for step in steps if step.arch_id]
    assert set(found) <= known
    assert len(set(found)) < len(found), "the same again"
    assert any(step.arch_id is None for step in steps)


def test_asha_is_that_of_ray() -> None:
    rng = np.random.default_rng(5)
    bracket = _Bracket(1, 9, 3, 0)
    own = {1: AshaRung(reduction=3), 3: AshaRung(reduction=3)}

    class Trial:
        def __init__(self, number: int) -> None:
            self.trial_id = str(number)

    for number in range(200):
        trial, scores = Trial(number), rng.integers(0, 40, 2) / 40
        for epochs, score in zip((1, 3), scores.tolist(), strict=True):
            stopped = own[epochs].stops(score)
            assert (bracket.on_result(trial, epochs, score) == "STOP") == stopped
            if stopped:
                break


def test_asha_stops_most_trials_early(benchmark: Benchmark) -> None:
    strategy = Strategy(sampler="random", stock=True, rungs="accuracy")
    steps = replay_stock(benchmark, strategy, seed=0, budget=Budget(trials=300))
    plain = replay_stock(
        benchmark, replace(strategy, rungs="off"), seed=0, budget=Budget(trials=300)
    )
    assert steps[-1].trials == 300
    found, whole = ([s for s in run if s.arch_id] for run in (steps, plain))
    assert len(found) < len(whole) / 3
    assert steps[-1].seconds < plain[-1].seconds / 2


def test_a_table_of_noisy_scores_is_met_with_one_seed(benchmark: Benchmark) -> None:
    entries = list(benchmark.table.entries.values())
    evaluators = [TabularEvaluator(table=benchmark.table, seed=seed) for seed in (0, 0, 1)]
    curves = [[one.curve(entry) for entry in entries] for one in evaluators]
    assert curves[0] == curves[1] != curves[2]
    first = sum(one == entry.curves[0] for one, entry in zip(curves[0], entries, strict=True))
    assert 0.3 < first / len(entries) < 0.7


def test_rungs_are_the_yamls_or_powers_of_the_reduction(benchmark: Benchmark) -> None:
    assert rungs_of(benchmark, "off").levels == ()
    assert rungs_of(benchmark, "accuracy") == replace(RUNGS, rank="accuracy")
    plain = Benchmark(config=replace(benchmark.config, rungs=Rungs()), table=benchmark.table)
    assert [level.epochs for level in rungs_of(plain, "front").levels] == [1, 3]


def test_the_comparison_has_every_strategy_at_every_tenth(benchmark: Benchmark) -> None:
    chosen = strategies(["nsga2"], ["off", "front"])
    assert [str(one) for one in chosen] == [
        *("nsga2", "nsga2 + rungs by front", "random", "local"),
        *("stock nsga2", "stock random + ASHA", "stock nsga2 + ASHA"),
    ]
    rows = list(compare(benchmark, chosen[1:3], seeds=2, trials=12, workers=2))
    assert [(row.strategy, row.axis, row.share) for row in rows] == [
        (str(one), axis, share)
        for one in chosen[1:3]
        for axis in ("trials", "seconds")
        for share in TENTHS
    ]
    by_hand = [
        regrets(
            benchmark,
            replay(benchmark, chosen[2], seed=seed, budget=Budget(trials=12, workers=2)),
            "trials",
            whole=12,
        )[-1]
        for seed in range(2)
    ]
    last = next(row for row in rows if row.strategy == "random" and row.share == 1)
    assert last.median == pytest.approx(np.median(by_hand))
    assert last.low <= last.median <= last.high
    assert last.spent == 12


def test_only_samplers_of_optuna_have_a_stock_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SAMPLERS, "known", dict(SAMPLERS))
    register_sampler(SamplerSpec(name="mine", factory="my_samplers:make"))
    names = ["tpe", "QMCSampler", "surrogate", "mine"]
    stock = [str(one) for one in strategies(names, ["off"]) if one.stock and one.rungs == "off"]
    assert stock == ["stock tpe", "stock QMCSampler"]


def test_the_command_prints_and_writes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--sampler", "random", "--rungs", "off", "--seeds", "2", "--trials", "5")
    found = str(tmp_path / "found.csv")
    assert run_main("replay", str(folder), *options, "--out", found) == (0, [])
    shown = capsys.readouterr().out
    assert "150 feasible architectures of 200, 9 epochs" in shown
    assert "stock random + ASHA" in shown
    rows = read_csv(tmp_path / "found.csv")
    assert len(rows) == 3 * 2 * 10
    assert {row["seeds"] for row in rows} == {"2"}


def test_a_folder_that_is_no_table_says_so(tmp_path: Path) -> None:
    done = run_main("replay", str(tmp_path))
    assert done[0] == 2
    assert "expected the folder of a study or of a table" in done[1][0]
