"""Latency in a search: objective, limit, records, resume, warm start, replay; and the command."""

from dataclasses import replace
from pathlib import Path

import pytest

from latency_tools import WHERE, fake_clock, make_table, nanoseconds
from search_tools import DATA, SPACE, drive, evaluate, make_study, write_search
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.search_yaml import load_config, source_files
from spach_nas.config.study_files import LATENCY_JSON
from spach_nas.cost.closed_form import cost
from spach_nas.errors import ConfigError, LatencyError
from spach_nas.feasible import FeasibleSet
from spach_nas.latency.latency_table import read_table, write_table
from spach_nas.latency.measuring import measure_file, search_latency, search_parts
from spach_nas.latency.parts import parts_of
from spach_nas.latency.timing import conditions
from spach_nas.replay.benchmark import read_benchmark
from spach_nas.search.plan import plan_search
from spach_nas.search.run import prepare_folder
from spach_nas.space.architecture import Architecture
from spach_nas.study import pareto
from spach_nas.study.driver import StudyDriver
from spach_nas.study.folder import create_folder
from spach_nas.study.records import read_records

BOTH = {"accuracy": "max", "latency": "min"}


def true_ms(architecture: Architecture) -> float:
    return sum(count * nanoseconds(part) for part, count in parts_of(architecture).items()) / 1e6


def write_latency_search(folder: Path, **changes: object) -> Path:
    """A search with the table of another device beside it."""
    path = write_search(folder, objectives=BOTH, latency__table=str(folder / "t.json"), **changes)
    parts = search_parts(load_config(path))
    write_table(folder / "t.json", make_table(parts))
    return path


def open_latency_study(folder: Path, path: Path, *, resume: bool = False) -> StudyDriver:
    config = load_config(path)
    latency = search_latency(config, folder=folder if resume else None)
    assert latency is not None
    if not folder.exists():
        texts = source_files(path) | {LATENCY_JSON: latency.table.to_json()}
        create_folder(folder, texts=texts)
    return StudyDriver(
        config,
        folder=folder,
        data=DATA,
        feasible=FeasibleSet(config.space, config.limits, latency=latency),
        records=read_records(folder),
        mirrored=False,
        clock=lambda: 0.0,
        latency=latency,
    )


@pytest.mark.parametrize("sampler", ["nsga2", "evolution"])
def test_a_search_optimises_the_latency_of_its_targets(tmp_path: Path, sampler: str) -> None:
    path = write_latency_search(tmp_path, search__sampler=sampler, limits__max_latency="400us")
    study = open_latency_study(tmp_path / "study", path)
    drive(study)
    records = read_records(tmp_path / "study")
    assert len(records) == 12
    for record in records:
        assert record.objectives["latency"] == pytest.approx(true_ms(record.architecture))
        assert record.objectives["latency"] <= 0.4
    points = {r.trial: (r.objectives["accuracy"], r.objectives["latency"]) for r in records}
    best = {
        trial
        for trial, (accuracy, time) in points.items()
        if not any(
            a >= accuracy and t <= time and (a, t) != (accuracy, time) for a, t in points.values()
        )
    }
    assert {record.trial for record in study.front()} == best


def test_a_killed_search_goes_on_with_its_own_table(tmp_path: Path) -> None:
    path = write_latency_search(tmp_path)
    whole = open_latency_study(tmp_path / "whole", path)
    drive(whole)
    part = open_latency_study(tmp_path / "part", path)
    for _ in range(7):
        request = part.next()
        part.tell(request, evaluate(request))
    part.close()
    # The named file now holds other times, and must not be asked.
    parts = search_parts(load_config(path))
    write_table(tmp_path / "t.json", make_table(parts, scale=3.0))
    drive(open_latency_study(tmp_path / "part", path, resume=True))
    told = [
        [(r.arch_id, r.objectives) for r in read_records(tmp_path / name)]
        for name in ("whole", "part")
    ]
    assert told[0] == told[1]


def test_a_study_never_goes_on_without_its_table(tmp_path: Path) -> None:
    path = write_latency_search(tmp_path)
    open_latency_study(tmp_path / "study", path).close()
    (tmp_path / "study" / LATENCY_JSON).unlink()
    with pytest.raises(LatencyError, match=r"latency.json: is missing; expected the table that"):
        open_latency_study(tmp_path / "study", path, resume=True)


def test_the_table_is_planned_with_stored_and_resumed(tmp_path: Path) -> None:
    path = write_latency_search(tmp_path, limits__max_latency="500us")
    plan = plan_search(path, out=tmp_path / "study")
    assert all(true_ms(item) <= 0.5 for item in plan.feasible.samples(20, 0))
    prepare_folder(plan, tmp_path / "study")
    write_table(tmp_path / "t.json", make_table(search_parts(plan.config), scale=3.0))
    again = plan_search(path, out=tmp_path / "study", resume=True)
    assert again.latency is not None and again.latency.table == plan.feasible.latency.table
    other = plan_search(path, out=tmp_path / "new", resume=True)
    assert other.latency is not None and other.latency.table.scale == 3.0


def test_a_search_without_a_table_measures_one(tmp_path: Path) -> None:
    config = load_config(write_search(tmp_path, objectives=BOTH, latency__batch_size=3))
    asked, said = [], []
    found = search_latency(config, say=said.append, clock=fake_clock(factor=1.5, asked=asked))
    assert found is not None and asked
    assert found.table.conditions == conditions(batch_size=3)
    assert found.of(config.space.sample(0)) / 1e6 == pytest.approx(
        1.5 * true_ms(config.space.sample(0)), rel=1e-4
    )
    assert said[0].startswith("latency: timing ") and "batch size 3" in said[0]
    assert said[-1].startswith("latency: predictions are off by 0.0% at the median")
    assert search_latency(load_config(write_search(tmp_path))) is None


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"limits__max_latency": "0ms"}, "limits.max_latency: 0 ns; expected more than 0"),
        ({"limits__max_latency": "-3ms"}, "limits.max_latency: '-3ms'; expected a latency such"),
        ({"limits__max_latency": 12}, "limits.max_latency: 12; expected a latency such as 12ms"),
        ({"objectives": {"accuracy": "max", "latency": "max"}}, "latency: max; expected min"),
        ({"proxy_limits": {"max_latency": "1ms"}}, "proxy_limits.max_latency: only targets have"),
        ({"latency": {"runtime": "tflite"}}, "latency.runtime: 'tflite'; expected eager, compile"),
        ({"latency": {"device": "tpu"}}, "latency.device: 'tpu'; expected auto, cpu, cuda or mps"),
        ({"latency": {"batch_size": 0}}, "latency.batch_size: 0; expected at least 1"),
        ({"latency": {"tabel": "x"}}, "latency.tabel: unknown key; expected batch_size, device"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_about_latency_are_told(tmp_path: Path, changes: dict, line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(write_search(tmp_path, **changes))
    assert line in str(raised.value)


def test_a_reference_slower_than_the_limit_is_told(tmp_path: Path) -> None:
    limits = {"max_latency": "300us"}
    path = write_search(
        tmp_path,
        space={**SPACE, "image_size": 224},
        limits=limits,
        proxy={"patch_size": 8, "image_size": 64},
        references=["conv_ms_xxs"],
        latency__table=str(tmp_path / "t.json"),
    )
    config = load_config(path)
    write_table(tmp_path / "t.json", make_table(search_parts(config)))
    with pytest.raises(ConfigError) as raised:
        plan_search(path)
    assert f"{path}: references: conv_ms_xxs: latency " in str(raised.value)
    assert "above max_latency 300 us; expected a model inside" in str(raised.value)


def test_records_of_another_study_get_the_latency_of_this_one(tmp_path: Path) -> None:
    old = make_study(tmp_path)  # by accuracy and MACs
    drive(old)
    old.close()
    (tmp_path / "new").mkdir()
    path = write_latency_search(
        tmp_path / "new", search__warm_start=str(tmp_path / "study"), limits__max_latency="400us"
    )
    plan = plan_search(path)
    (tmp_path / "study" / "data.json").unlink(missing_ok=True)
    prepare_folder(plan, tmp_path / "warm")
    taken = read_records(tmp_path / "warm")
    fast = [r for r in old.records if true_ms(r.architecture) <= 0.4]
    assert [record.arch_id for record in taken] == [record.arch_id for record in fast]
    assert 0 < len(taken) < len(old.records)
    for record in taken:
        assert set(record.objectives) == {"accuracy", "latency"}
        assert record.objectives["latency"] == pytest.approx(true_ms(record.architecture))


def test_a_replay_knows_the_latency_of_its_study(tmp_path: Path) -> None:
    path = write_latency_search(tmp_path, limits__max_latency="400us")
    drive(study := open_latency_study(tmp_path / "study", path))
    benchmark = read_benchmark([tmp_path / "study"])
    assert len(benchmark.feasible.members) == len({r.arch_id for r in study.records})
    assert benchmark.reference_point["latency"] == max(
        r.objectives["latency"] for r in study.records
    )
    some = [study.config.space.sample(seed) for seed in range(40)]
    cheap = [item for item in some if study.config.limits.without_latency.allow(cost(item))]
    assert {benchmark.allows(item) for item in cheap} == {True, False}
    assert all(benchmark.allows(item) == (true_ms(item) <= 0.4) for item in cheap)
    front = [record.arch_id for record in study.front()]
    assert benchmark.regret(front) == pytest.approx(0, abs=1e-9)


def test_old_records_have_no_latency_and_stay_off_its_axis(tmp_path: Path) -> None:
    drive(study := make_study(tmp_path))
    assert pareto.value(study.records[0], OBJECTIVES["latency"]) is None
    assert OBJECTIVES["latency"].words(12.3456) == "12.35 ms"


def test_a_file_is_measured_once_and_gone_on_with(tmp_path: Path) -> None:
    space = load_config(write_search(tmp_path)).space
    path, asked = tmp_path / "t.json", []
    first = measure_file(path, space, (), WHERE, clock=fake_clock(asked=asked))
    assert asked and read_table(path) == first
    asked.clear()
    assert measure_file(path, space, (), WHERE, clock=fake_clock(asked=asked)).parts == first.parts
    assert not asked
    with pytest.raises(LatencyError, match="threads 1, not 2"):
        measure_file(path, space, (), replace(WHERE, threads=2), clock=fake_clock())
