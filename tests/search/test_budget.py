import contextlib
import io
import math
import pickle
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from conftest import run_main
from search_tools import evaluate, write_search
from spach_nas.cli.search_view import budget_line, print_budget
from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.search_settings import InitialSettings
from spach_nas.errors import ConfigError, StudyError
from spach_nas.search import budget as opening
from spach_nas.search import proxy_timing as timing
from spach_nas.search import run as run_module
from spach_nas.search.budget import budget, budget_warnings, evaluations_left
from spach_nas.search.estimate import Timed, TimeEstimate, estimate_search
from spach_nas.search.plan import Plan, plan_search
from spach_nas.search.proxy_timing import cache_folder, keep_timing, kept_timing
from spach_nas.study.driver import StudyDriver
from spach_nas.study.journal import read_journal
from study_factory import make_record

TIMED = (Timed(macs=10**5, train_seconds=1e-3, validate_seconds=0.0, build_seconds=0.0),)


def estimate_of(plan: Plan, *, concurrent: int = 2) -> TimeEstimate:
    targets = plan.feasible.samples(9, 0)
    return estimate_search(plan, targets, TIMED, device="cpu", concurrent=concurrent)


def test_a_line_says_how_much_and_until_when(tmp_path: Path) -> None:
    plan = plan_search(write_search(tmp_path, search__trials=12))
    found = budget(plan, estimate_of(plan))
    found = replace(found, foreseen=replace(found.foreseen, seconds=170.0))
    line = "12 trainings, 2 at once on cpu: about 2m 50s, until about "
    assert budget_line(found, now=datetime(2026, 3, 1, 14, 29)) == f"{line}14:31"
    assert budget_line(found, now=datetime(2026, 3, 1, 23, 59)).startswith(f"{line}Mon 02 Mar")


def test_a_warning_says_what_max_duration_cuts(tmp_path: Path) -> None:
    plan = plan_search(write_search(tmp_path, search__max_duration="20s", search__trials=1000))
    found = budget(plan, estimate_of(plan))
    one = found.foreseen.evaluation_seconds[0]
    # Ray takes 8 of the 20 seconds.
    assert found.cut == 1000 - 2 * math.ceil(12 / one)
    [words] = budget_warnings(plan, found)
    assert words.startswith(f"max_duration (20s) will leave about {found.cut} of 1,000 trainings")
    assert budget_warnings(plan, None) == ()


def test_a_warning_says_that_a_placement_search_comes_on_top(tmp_path: Path) -> None:
    plan = plan_search(write_search(tmp_path))
    found = budget(plan, estimate_of(plan))
    init = InitialSettings(network="somewhere", placement=2)
    placing = replace(plan, config=replace(plan.config, init=init))
    [words] = set(budget_warnings(placing, found)) - set(budget_warnings(plan, found))
    assert words == "the time of the placement search is not in the estimate"


def test_what_is_left_of_a_study_is_less(tmp_path: Path) -> None:
    plan = plan_search(write_search(tmp_path, search__trials=12))
    estimate = estimate_of(plan)
    whole = budget(plan, estimate)
    one = whole.foreseen.evaluation_seconds[0]
    records = [replace(make_record(i, 0.5), seconds=one, started=i * one) for i in range(8)]
    rest = budget(plan, estimate, records)
    assert (rest.evaluations, rest.cut) == (4, 0)
    assert evaluations_left(plan, records) == 4
    assert evaluations_left(plan, [replace(records[0], trial=i) for i in range(12)]) == 0
    work = whole.foreseen.seconds - rest.foreseen.seconds
    assert work == pytest.approx((12 - 4) * one / 2)


def test_trials_that_are_all_uniform_are_told(tmp_path: Path) -> None:
    plan = plan_search(write_search(tmp_path, search__trials=4, search__startup_trials=9))
    [words] = budget_warnings(plan, None)
    assert words.startswith("startup_trials (9) use up all 4 trials")


def test_proxies_that_are_no_small_copies_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = plan_search(write_search(tmp_path, proxy={}, training__device="cpu"))
    # Networks as small as these are meant to be trained as they are.
    assert budget_warnings(whole, None) == ()
    monkeypatch.setattr("spach_nas.search.budget.MANY_MACS", 10**5)
    [words] = budget_warnings(whole, None)
    assert "the proxies are not small" in words and "proxy.width_scale" in words
    small = plan_search(write_search(tmp_path, proxy={"width_scale": 0.25}))
    assert budget_warnings(small, None) == ()


def test_gpus_that_are_not_there_are_a_mistake(tmp_path: Path) -> None:
    path = write_search(tmp_path, resources={"gpus_per_trial": 1000})
    with pytest.raises(ConfigError, match=r"resources\.gpus_per_trial: 1000; this machine has "):
        plan_search(path)
    # A cluster has others.
    plan_search(write_search(tmp_path, resources={"gpus_per_trial": 1000, "address": "auto"}))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_timing_is_kept_for_its_protocol(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == cache / "spach-nas"
    assert kept_timing(("a", 1)) is None
    keep_timing(("a", 1), TIMED, 1.3)
    assert kept_timing(("a", 1)) == (TIMED, 1.3)
    assert kept_timing(("a", 2)) is None
    # Of another machine, or long ago.
    with monkeypatch.context() as other:
        other.setattr("platform.node", lambda: "elsewhere")
        assert kept_timing(("a", 1)) is None
    now = timing.time.time()
    monkeypatch.setattr("spach_nas.search.proxy_timing.time.time", lambda: now + 40 * 86400)
    assert kept_timing(("a", 1)) is None


@pytest.mark.parametrize("text", ["", "[1]", '{"time": 1e18}', '{"time": "x", "timed": 3}'])
def test_a_damaged_timing_is_none(cache: Path, text: str) -> None:
    keep_timing("a", TIMED, 1.3)
    [path] = (cache / "spach-nas" / "timings").iterdir()
    path.write_text(text)
    assert kept_timing("a") is None


def test_a_cache_that_cannot_be_written_hurts_nothing(cache: Path) -> None:
    cache.write_text("a file")
    keep_timing("a", TIMED, 1.3)
    assert kept_timing("a") is None


def test_a_search_times_once_and_a_look_at_its_space_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def measure(_: object, *, device: str, concurrent: int) -> tuple[tuple[Timed, ...], float]:
        calls.append(device)
        return TIMED, 1.5

    monkeypatch.setattr(timing, "measure_proxies", measure)
    monkeypatch.setattr(timing.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    plan = plan_search(write_search(tmp_path, training__device="cpu"))
    first, second = (timing.time_search(plan, care=timing.QUICK) for _ in range(2))
    assert first == second and calls == ["cpu"]
    timing.time_search(plan)
    assert len(calls) == 2
    # Longer trainings of the same networks take as long for an image.
    longer = plan_search(write_search(tmp_path, training__device="cpu", training__epochs=9))
    timing.time_search(longer, care=timing.QUICK)
    assert len(calls) == 2
    # What was timed while others were at work is not kept.
    monkeypatch.setattr(timing.os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    other = plan_search(write_search(tmp_path, training__device="cpu", training__batch_size=16))
    for _ in range(2):
        timing.time_search(other, care=timing.QUICK)
    assert len(calls) == 4


def test_large_proxies_are_timed_on_fewer_images(tmp_path: Path) -> None:
    plan = plan_search(write_search(tmp_path, training__device="cpu"))
    bench = timing.make_bench(plan, plan.feasible.samples(20, 0), care=timing.QUICK)
    assert len(bench.proxies) == 3
    assert pickle.loads(pickle.dumps(bench)).proxies == bench.proxies, "may go to a process"
    assert timing.images_of_a_step(bench, 10**5) == 32
    assert timing.images_of_a_step(bench, 5 * 10**8) == 3
    assert timing.images_of_a_step(bench, 10**11) == 1


def test_side_by_side_nothing_is_faster_than_alone() -> None:
    assert timing.side_by_side(1, threads=1) == 1.0
    assert 1.0 <= timing.side_by_side(2, threads=1) <= 2.0


def test_a_cluster_is_not_this_machine(tmp_path: Path) -> None:
    plan = plan_search(write_search(tmp_path, resources={"address": "auto"}))
    assert opening.foresee(plan) is None
    console = Console(file=io.StringIO(), width=120)
    print_budget(plan, None, console=console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.startswith("12 trials; the time left on the cluster is estimated")


def test_a_dry_run_says_what_it_would_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "measure_proxies", lambda *_, **__: (TIMED, 1.0))
    path = write_search(tmp_path, search__max_duration="1s", search__startup_trials=20)
    assert run_main("search", str(path), "--dry-run") == (0, [])
    text = capsys.readouterr().out
    # The first sign of life, then what it does.
    assert text.startswith(f"{path}: checking ...\n")
    assert "reading the images of fashion-mini ..." in text
    assert re.search(r"\n12 trainings, .* about \d+s, until about \d\d:\d\d\n", text)
    assert "warning: max_duration (1s) will leave about 12 of 12 trainings undone" in text
    assert "warning: startup_trials (20) use up all 12 trials" in text


Driver = Callable[[StudyDriver], None]


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> Callable[[Driver], None]:
    """Searches without Ray, whose trials a function of the test drives."""

    @contextlib.contextmanager
    def session(*_: object, **__: object) -> Iterator[None]:
        yield

    def use(driver: Driver) -> None:
        monkeypatch.setattr(run_module, "ray_session", session)
        monkeypatch.setattr(run_module, "finish", lambda _: None)
        monkeypatch.setattr(run_module, "run_study", lambda study, *_, **__: driver(study))
        monkeypatch.setattr(timing, "measure_proxies", lambda *_, **__: (TIMED, 1.0))

    return use


def test_a_search_that_trains_nothing_is_a_mistake(tmp_path: Path) -> None:
    path = write_search(tmp_path, search__max_duration=1e-9)
    plan, folder = plan_search(path), tmp_path / "study"
    with pytest.raises(StudyError, match=r"search\.max_duration: 1e-09 s were over before the"):
        run_module.run_plan(plan, out=folder)
    assert not folder.exists()


def test_a_search_that_is_stopped_at_once_says_that_nothing_is_kept(
    tmp_path: Path, without_ray: Callable[[Driver], None], capsys: pytest.CaptureFixture[str]
) -> None:
    without_ray(lambda study: study.stop())
    path = write_search(tmp_path)
    code, lines = run_main("search", str(path), "--out", str(tmp_path / "study"))
    assert (code, lines) == (130, [])
    text = capsys.readouterr().out
    assert "nothing was saved" in text and "trials.csv" not in text
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(("state", "code"), [("complete", 0), ("failed", 1)])
def test_the_end_says_what_was_done_and_how_long_it_took(
    tmp_path: Path,
    without_ray: Callable[[Driver], None],
    capsys: pytest.CaptureFixture[str],
    state: str,
    code: int,
) -> None:
    def drive(study: StudyDriver) -> None:
        while isinstance(request := study.next(), EvaluationRequest):
            failed = Evaluation(state="failed", reason="not a number")
            study.tell(request, evaluate(request) if state == "complete" else failed)

    without_ray(drive)
    path, folder = write_search(tmp_path, search__trials=3), tmp_path / "a study"
    assert run_main("search", str(path), "--out", str(folder)) == (code, [])
    text = capsys.readouterr().out
    assert re.search(r"\n3 of 3 trials are done\. It took \d+s, estimated \d+s\.\n", text)
    lines = read_journal(folder)
    assert lines[0]["foreseen"]["at_once"] >= 1
    assert [line["event"] for line in lines[-2:]] == ["concluded", "ended"]
    if state == "complete":
        # To be copied into a shell.
        assert f"spach-nas export '{folder}' --pick knee" in text
    else:
        assert "trials.csv holds the reasons" in text
    assert yaml.safe_load((folder / "search.yaml").read_text())["search"]["trials"] == 3
