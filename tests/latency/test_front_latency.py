"""The front of a search, timed whole: kept, continued, shown, and told where it cannot be."""

import contextlib
import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from latency_tools import ONE, fake_clock, make_table, nanoseconds, timing
from search_tools import evaluate, write_search
from spach_nas.cli.search_view import print_result
from spach_nas.config.search_yaml import load_config
from spach_nas.config.study_files import FRONT_LATENCY_JSON
from spach_nas.cost.limits import Limits
from spach_nas.errors import LatencyError
from spach_nas.latency.front_latency import FrontLatency, read_front_latency
from spach_nas.latency.latency_table import LatencyTable, write_table
from spach_nas.latency.measuring import Clock, measure_front, search_parts
from spach_nas.latency.parts import parts_of
from spach_nas.latency.timing import conditions
from spach_nas.report.device_latency import latency_section, latency_words
from spach_nas.report.page import page_header
from spach_nas.report.view import StudyFacts, StudyView, study_view
from spach_nas.search import run
from spach_nas.space.architecture import Architecture
from spach_nas.study.driver import StudyDriver
from spach_nas.study.requests import EvaluationRequest
from study_factory import make_record

OTHER = replace(ONE, num_classes=9)
THIRD = replace(ONE, num_classes=7)


def here() -> LatencyTable:
    return replace(make_table(list(parts_of(ONE))), conditions=conditions(device="cpu"))


def test_each_network_is_timed_once_and_an_interruption_loses_nothing(tmp_path: Path) -> None:
    asked: list[str] = []
    clock = fake_clock(asked=asked)

    def interrupted(item: Architecture, where: object) -> object:
        if item == THIRD:
            raise KeyboardInterrupt
        return clock.network(item, where)  # type: ignore[arg-type]

    front = [ONE, OTHER, ONE, THIRD]
    with pytest.raises(KeyboardInterrupt):
        measure_front(
            tmp_path,
            front,
            here(),
            clock=Clock(part=clock.part, network=interrupted),  # type: ignore[arg-type]
        )
    kept = read_front_latency(tmp_path)
    assert kept is not None and set(kept.times) == {ONE.arch_id, OTHER.arch_id}
    told: list[str] = []
    found = measure_front(tmp_path, front, here(), clock=clock, doing=told.append)
    assert asked == [ONE.arch_id, OTHER.arch_id, THIRD.arch_id]
    assert told == ["timing the front, 1 of 1"]
    assert found == read_front_latency(tmp_path)
    assert not found.missing
    naive = sum(nanoseconds(part) for part in parts_of(ONE).elements())
    assert found.times[ONE.arch_id].median == pytest.approx(naive)


def test_a_table_of_another_device_is_not_measured_here(tmp_path: Path) -> None:
    asked: list[str] = []
    found = measure_front(tmp_path, [ONE], make_table([]), clock=fake_clock(asked=asked))
    assert not asked and not found.times
    assert found.missing.startswith("the table was measured elsewhere: machine 'a phone', not ")
    gone = make_table([])
    gone = replace(gone, conditions=replace(gone.conditions, runtime="tflite"))
    assert "unknown runtime 'tflite'" in measure_front(tmp_path, [ONE], gone).missing


def test_a_network_that_fails_costs_no_report(tmp_path: Path) -> None:
    def fail(*_: object) -> object:
        raise RuntimeError("out of memory")

    clock = Clock(part=fail, network=fail)  # type: ignore[arg-type]
    assert measure_front(tmp_path, [ONE], here(), clock=clock).missing == "out of memory"
    (tmp_path / FRONT_LATENCY_JSON).write_text("{")
    with pytest.raises(LatencyError, match=r"front_latency.json: is damaged; expected times"):
        read_front_latency(tmp_path)


def view(found: FrontLatency | None, *, limit: int | None = 4_000_000) -> StudyView:
    records = [
        replace(record, objectives={**record.objectives, "latency": ms})
        for record, ms in (
            (make_record(0, 0.5, macs=1, architecture=ONE), 2.0),
            (make_record(1, 0.6, macs=2, architecture=OTHER), 3.9),
        )
    ]
    facts = StudyFacts(name="a", limits=Limits(max_latency=limit), front_latency=found)
    return study_view(records, facts)


def test_measured_stands_beside_predicted_and_a_broken_limit_is_told(tmp_path: Path) -> None:
    times = {ONE.arch_id: timing(2_500_000), OTHER.arch_id: timing(4_160_000)}
    found = view(FrontLatency(conditions="a phone", times=times))
    assert latency_words(found) == (
        "Slower than 4 ms when measured: trial 1 (4.16 ms).",
        # 2 / 2.5 and 3.9 / 4.16
        "Predictions are off by 13.1% at the median and 20.0% at most over 2 whole networks of the "
        "front.",
    )
    body = str(latency_section(found).body)
    assert ">3.9<" in body and ">4.16<" in body and "-20.0 %" in body and "a phone" in body
    assert "Slower than 4 ms when measured" in str(page_header(found, folder=tmp_path))
    assert latency_words(view(found.facts.front_latency, limit=None))[0].startswith("Predictions")
    part = FrontLatency(conditions="a phone", missing="no such device")
    assert latency_words(view(part)) == ("The front was not measured whole: no such device.",)
    assert not latency_words(view(None)) and not latency_section(view(None)).body


def test_a_search_times_its_front_before_it_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_study(study: StudyDriver, *_: object, **__: object) -> None:
        while isinstance(request := study.next(), EvaluationRequest):
            study.tell(request, evaluate(request))

    order: list[str] = []
    clock = fake_clock(factor=1.25, asked=order)
    monkeypatch.setattr(run, "measure_front", partial(measure_front, clock=clock))
    monkeypatch.setattr(run, "ray_session", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(run, "run_study", run_study)
    monkeypatch.setattr(run, "finish", lambda _: order.append("reported"))
    objectives = {"accuracy": "max", "latency": "min"}
    path = write_search(tmp_path, objectives=objectives, latency__table=str(tmp_path / "t.json"))
    parts = search_parts(load_config(path))
    write_table(tmp_path / "t.json", make_table(parts, conditions=conditions(device="cpu")))
    study = run.search(path, out=tmp_path / "study")
    front = {record.arch_id for record in study.front()}
    assert order[-1] == "reported" and set(order[:-1]) == front
    console = Console(file=(shown := io.StringIO()), width=160)
    print_result(study, console=console)  # type: ignore[arg-type]
    assert "measured" in shown.getvalue()
    assert "Latency: Predictions are off by 20.0% at the median and 20.0%" in shown.getvalue()
    order.clear()
    run.search(path, out=tmp_path / "study", resume=True)
    assert order == ["reported"]
