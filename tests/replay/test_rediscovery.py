"""A rediscovery judged on studies that were made up: no training, no Ray."""

import csv
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.stats import t

from conftest import run_main
from documents import DOCS, blocks
from spach_nas.config.evaluation import Epoch, Evaluation, EvaluationRequest
from spach_nas.config.rediscovery_settings import load_rediscovery
from spach_nas.config.search_yaml import SearchConfig, to_yaml
from spach_nas.config.shipped import shipped_folder
from spach_nas.config.study_files import SEARCH_YAML
from spach_nas.data import data_shape
from spach_nas.errors import ConfigError, StudyError
from spach_nas.feasible import FeasibleSet
from spach_nas.replay import rediscovery
from spach_nas.replay.cold_trainings import cold_changes, train_cold
from spach_nas.replay.control_checks import control_studies, judge_controls
from spach_nas.replay.known_answers import KnownAnswer, edits
from spach_nas.replay.mixer_worths import mixer_worths
from spach_nas.replay.rediscovery import pure_space, searched_space, studies
from spach_nas.replay.rediscovery_page import write_rediscovery
from spach_nas.replay.rediscovery_verdict import difference, rediscover
from spach_nas.replay.strategies import VirtualClock, Workers, simulate
from spach_nas.search.plan import plan_search
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import REFERENCES
from spach_nas.space.search_space import SearchSpace
from spach_nas.study.driver import StudyDriver
from spach_nas.study.folder import create_folder
from spach_nas.study.records import Record, read_records

SEARCH = {
    "study": "made_up",
    "space": "controls",
    "data": {"name": "controls/lookup/images=64"},
    "training": {"epochs": 1, "batch_size": 32},
    "search": {"sampler": "random", "trials": 12, "seed": 3},
}
KNOWN = [{"only": "conv"}, {"some": ["attention", "mlp"]}]


def write(folder: Path, **changes: Any) -> Path:
    plain = {"search": SEARCH, "limits": [{"max_macs": "5M"}], "known": KNOWN} | changes
    path = folder / "found.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in plain.items() if v is not None}))
    return path


def accuracy(target: Architecture, seed: int) -> float:
    """Attention anywhere in stage 2 is worth half of the images, and seeds hardly anything."""
    reads = "attention" in target.stages[-1].mixers
    return 0.3 + 0.5 * reads + 1e-9 * target.stages[0].width + 1e-7 * (seed % 7)


def train(
    request: EvaluationRequest, *, accuracy: Callable[[Architecture, int], float] = accuracy
) -> Evaluation:
    found = accuracy(request.architecture, request.seed)
    return Evaluation(
        state="complete",
        scores={"accuracy": found, "loss": 1 - found},
        curve=(Epoch(accuracy=found, loss=1 - found, train_loss=1.0, seconds=1.0),),
        validation_images=5120,
        seconds=1.0,
    )


def make_up(
    configs: Mapping[str, SearchConfig],
    folder: Path,
    *,
    accuracy: Callable[[Architecture, int], float] = accuracy,
) -> dict[str, tuple[Record, ...]]:
    """Studies by their folders, and the trainings from the beginning of every network."""
    found = {}
    for name, config in configs.items():
        feasible = FeasibleSet(config.space, config.limits)
        create_folder(folder / name, texts={SEARCH_YAML: to_yaml(config)})
        clock = VirtualClock()
        study = StudyDriver(
            config,
            folder=folder / name,
            data=data_shape(config.data),
            feasible=feasible,
            clock=clock,
        )
        study.begin()
        simulate(study, partial(train, accuracy=accuracy), workers=Workers(number=1, clock=clock))
        study.conclude()
        study.end()
        study.close()
        found[name] = tuple(study.records)
        for record in study.records:
            place = folder / "cold" / record.arch_id
            place.mkdir(parents=True, exist_ok=True)
            for seed in range(1000, 1005):
                test = {"top1": accuracy(record.architecture, 0) - 0.001 * (seed % 5)}
                (place / f"test_{seed}.json").write_text(json.dumps(test))
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The YAML and the folder of a rediscovery of which everything is trained."""
    folder = tmp_path_factory.mktemp("rediscovery")
    path = write(folder, bound=0.6, controls={"tasks": "set"})
    make_up(studies(load_rediscovery(path)), folder / "out")
    return path, folder / "out"


def test_a_known_answer_is_found_and_said(done: tuple[Path, Path]) -> None:
    path, out = done
    found = rediscover(load_rediscovery(path), out)
    (under,) = found.limits
    roles = [item.role for item in under.networks]
    assert roles == [
        "best found",
        "best of conv alone",
        "best of attention alone",
        "best of mlp alone",
    ]
    best, conv, attention, _ = under.networks
    assert "attention" in best.record.architecture.stages[1].mixers
    assert {mixer for stage in conv.record.architecture.stages for mixer in stage.mixers} == {
        "conv"
    }
    assert conv.changes == 1 and attention.changes == 0
    assert conv.ahead is not None and conv.ahead.low > 0.4
    assert attention.ahead is not None and abs(attention.ahead.figure) < 1e-6
    # Attention in one block of two says as much as in both: the line fits through all three.
    (effect,) = [one for one in found.effects if (one.stage, one.mixer) == (2, "attention")]
    assert effect.worth.low > 20
    assert all(one.worth.low <= 0 for one in found.effects if one.mixer == "mlp")


def test_the_trials_until_the_known_layout_was_on_the_front_are_counted(
    done: tuple[Path, Path],
) -> None:
    path, out = done
    given = load_rediscovery(path)
    known = KnownAnswer(given.known, given.search.space.shape)
    for search in rediscover(given, out).limits[0].searches:
        assert search.needed is not None
        solving = [known.changes(one.architecture) == 0 for one in search.records]
        # It cannot be on the front before it was tried.
        assert search.needed >= 1 + solving.index(True)
        assert any(known.changes(one.architecture) == 0 for one in search.front)


def test_the_command_takes_what_is_there_and_writes_page_table_and_audit(
    done: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = done
    assert run_main("rediscover", str(path), "--out", str(out), "--resume")[0] == 0
    assert "has the known layout" in capsys.readouterr().out
    page = (out / "rediscovery.html").read_text()
    assert "It is better than the best of conv alone" in page
    assert "stage 1: conv alone; stage 2: at least one block of attention or mlp" in page
    # Of one band of MACs nothing can be said.
    assert "12 networks that were drawn uniformly are too few" in page
    assert "Do not choose" not in page
    assert "The space holds none of them" in page and "hybrid_ms_s" not in page
    with (out / "rediscovery.csv").open(newline="") as file:
        rows = {row["role"]: row for row in csv.DictReader(file)}
    assert float(rows["best of conv alone"]["ahead_low"]) > 0.4
    assert rows["best found"]["cold_seeds"] == "5"
    with (out / "audit.csv").open(newline="") as file:
        scores = [row["score"] for row in csv.DictReader(file)]
    assert scores[-1] == "another seed"
    code, lines = run_main("rediscover", str(path), "--out", str(out))
    assert code == 2 and "exists already" in lines[-1]


def test_a_training_that_sees_mixers_on_a_control_task_is_said_to(
    done: tuple[Path, Path],
) -> None:
    path, out = done
    found = rediscover(load_rediscovery(path), out)
    (one,) = found.controls
    assert one.task == "set" and one.seen
    assert one.worths["attention"].low > 20 and one.worths["mlp"].low <= 0
    assert [row.architectures for row in one.audit] == [16, 16, 16]
    # They say nothing of the images that are searched on.
    assert {row.architectures for row in found.audit} == {12}
    own = {
        record.arch_id for folder in (out / "limit_0").iterdir() for record in read_records(folder)
    }
    assert set(found.changes) == own
    page = write_rediscovery(found, out).read_text()
    assert "Do not choose mixers" not in page and "Control tasks" in page
    with (out / "controls.csv").open(newline="") as file:
        rows = {row["mixer"]: row for row in csv.DictReader(file)}
    assert float(rows["attention"]["worth_low"]) == pytest.approx(
        one.worths["attention"].low, abs=0.005
    )


def test_a_training_that_sees_no_mixers_on_a_control_task_is_said_first(
    done: tuple[Path, Path], tmp_path: Path
) -> None:
    given = load_rediscovery(write(tmp_path, controls={"tasks": "lookup", "trials": 16}))

    def see_nothing(target: Architecture, seed: int) -> float:
        return 0.3 + 1e-4 * np.random.default_rng([seed, int(target.arch_id, 16)]).normal()

    records = make_up(control_studies(given), tmp_path, accuracy=see_nothing)
    (one,) = judge_controls(given, records)
    assert not one.seen
    found = replace(rediscover(load_rediscovery(done[0]), done[1]), controls=(one,))
    page = write_rediscovery(found, tmp_path).read_text()
    assert "Do not choose mixers by this protocol: controls/lookup needs attention or" in page


def test_control_tasks_are_trained_as_the_search_is_without_its_augmentation(
    tmp_path: Path,
) -> None:
    training = {"epochs": 3, "data_share": 0.5, "learning_rate": 0.004, "batch_size": 48}
    training["augmentation"] = {"flip": True}
    search = SEARCH | {"training": training, "data": {"name": "fashion-mini"}}
    given = load_rediscovery(
        write(tmp_path, search=search, controls={"tasks": ["set", "mixed"], "trials": 17})
    )
    names = list(studies(given))
    assert names[:4] == [
        f"controls/{name}" for name in ("set", "set_repeat", "mixed", "mixed_repeat")
    ]
    config, again = (studies(given)[f"controls/{name}"] for name in ("mixed", "mixed_repeat"))
    assert config.data.name == "controls/mixed" and config.search.trials == 17
    assert config.search == again.search and config.training_seed != again.training_seed
    own = config.training
    assert (own.epochs, own.learning_rate, own.batch_size) == (3, 0.004, 48)
    assert own.data_share == 1 and not own.augmentation.flip
    shorter = load_rediscovery(write(tmp_path, search=search, controls={"epochs": 1}))
    assert studies(shorter)["controls/mixed"].training.epochs == 1


def test_the_worth_of_a_mixer_is_a_slope_beside_everything_else() -> None:
    space = load_rediscovery("rediscover_controls").search.space
    drawn = list(dict.fromkeys(space.sample(seed) for seed in range(40)))
    macs = [1000 + 100 * one.stages[0].width + 7 * number for number, one in enumerate(drawn)]
    rng = np.random.default_rng(0)
    scores = [accuracy(one, 0) + 0.05 * rng.normal() for one in drawn]
    found = mixer_worths(drawn, macs=macs, scores=scores, space=space)
    assert set(found) == {(place, name) for place in (0, 1) for name in ("attention", "mlp")}

    def share(place: int, name: str) -> list[float]:
        return [one.stages[place].mixers.count(name) / 2 for one in drawn]

    # Frisch and Waugh: what is left of both sides when everything else is taken out.
    asked = (1, "attention")
    others = np.stack(
        [np.ones(len(drawn)), np.log(macs), *(share(*k) for k in found if k != asked)]
    )
    x, y = (
        values - others.T @ np.linalg.lstsq(others.T, values, rcond=None)[0]
        for values in (np.array(share(*asked)), 100 * np.array(scores))
    )
    slope, free = x @ y / (x @ x), len(drawn) - len(others) - 1
    half = t.ppf(0.975, free) * np.sqrt(((y - slope * x) ** 2).sum() / free / (x @ x))
    worth = found[asked]
    assert worth.figure == pytest.approx(slope)
    assert (worth.low, worth.high) == pytest.approx((slope - half, slope + half))
    assert mixer_worths(drawn[:5], macs=macs[:5], scores=scores[:5], space=space) == {}
    # A mixer that none of them has leaves the others as they are.
    some = [number for number, one in enumerate(drawn) if "attention" not in one.stages[0].mixers]
    own = [[values[number] for number in some] for values in (drawn, macs, scores)]
    fewer = mixer_worths(own[0], macs=own[1], scores=own[2], space=space)
    assert set(fewer) == set(found) - {(0, "attention")}


def test_a_dry_run_lists_the_studies_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, path = tmp_path / "out", write(tmp_path, searches=2)
    assert run_main("rediscover", str(path), "--out", str(out), "--dry-run")[0] == 0
    lines = capsys.readouterr().out.splitlines()
    assert not out.exists()
    listed = [line.split()[0] for line in lines if line.startswith("limit_0/")]
    assert listed == [
        f"limit_0/{name}"
        for name in (
            *("search_0", "random_0", "repeat", "search_1", "random_1"),
            *("pure_conv", "pure_attention", "pure_mlp"),
        )
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"known": "hybrid_s"}, "known: 'hybrid_s'; expected a model of the paper"),
        (
            {"known": "hybrid_ms_s"},
            "known: hybrid_ms_s: .* is outside of the space: 4 stages; expected 2",
        ),
        ({"known": [{"only": "conv"}]}, "known: 1 rules; expected one for each of 2 stages"),
        (
            {"known": [{"only": "conv", "some": "mlp"}, {}]},
            r"known\[0\].some: mlp; expected conv",
        ),
        ({"limits": []}, "limits"),
        ({"controls": {"tasks": "local"}}, "controls.tasks.*local.*set.*lookup.*mixed"),
        ({"controls": {"trials": 15}}, "controls.trials: 15; expected at least 16"),
        ({"cold": {"seeds": 1}}, "cold.seeds: 1; expected at least 2"),
        (
            {"search": SEARCH | {"evaluator": "inherit"}},
            "search.evaluator: inherit; expected train",
        ),
        ({"search": SEARCH | {"trails": 3}}, "search.trails: unknown key"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_rediscovery(write(tmp_path, **changes))


def test_repeats_train_the_same_architectures_with_another_seed(tmp_path: Path) -> None:
    found = studies(load_rediscovery(write(tmp_path, searches=2)))
    random, repeat = found["limit_0/random_0"], found["limit_0/repeat"]
    assert random.search == repeat.search and random.space == repeat.space
    first = {
        found[f"limit_0/{name}_{number}"].search.seed
        for name in ("search", "random")
        for number in (0, 1)
    }
    assert len(first) == 4, "no first proposals are trained twice"
    seeds = {found[f"limit_0/{name}"].training_seed for name in ("random_0", "random_1", "repeat")}
    assert len(seeds) == 3


def test_pure_networks_are_those_of_the_paper() -> None:
    space = SearchSpace.from_yaml(shipped_folder() / "spach_ms.yaml")
    for mixer, name in (("conv", "conv_ms_s"), ("attention", "trans_ms_s"), ("mlp", "mlp_ms_s")):
        pure = pure_space(space, mixer)
        assert pure is not None
        assert pure.contains(REFERENCES[name].architecture)
        assert not pure.contains(REFERENCES["hybrid_ms_s"].architecture)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("", "", 0), ("ccaa", "caa", 1), ("cca", "aac", 3), ("caca", "acac", 2), ("c", "mma", 3)],
)
def test_edits_are_those_of_levenshtein(first: str, second: str, expected: int) -> None:
    assert edits(first, second) == edits(second, first) == expected


def test_a_difference_is_welchs() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.9, 0.01, 5), rng.normal(0.88, 0.03, 7)
    found = difference(first.tolist(), second.tolist())
    parts = [side.var(ddof=1) / len(side) for side in (first, second)]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 4 + parts[1] ** 2 / 6)
    reach = t.ppf(0.975, freedom) * np.sqrt(sum(parts))
    wanted = first.mean() - second.mean() + reach * np.array([-1, 1])
    np.testing.assert_allclose((found.low, found.high), wanted)
    same = difference([1.0, 1.0], [0.5, 0.5])
    assert (same.low, same.figure, same.high) == (0.5, 0.5, 0.5)


def test_cold_trainings_hold_out_what_the_search_did(tmp_path: Path) -> None:
    search = SEARCH | {"data": {"name": "controls/set/images=64", "validation": 0.25}}
    given = load_rediscovery(write(tmp_path, search=search, cold={"changes": {"epochs": 2}}))
    changes = cold_changes(given.search, given.cold, seed=7)
    assert changes == ("seed=7", "data.split_seed=0", "data.validation=0.25", "epochs=2")


def test_a_plan_takes_images_that_were_read_already(tmp_path: Path) -> None:
    given = load_rediscovery(write(tmp_path))
    config = studies(given)["limit_0/random_0"]
    first = plan_search(config, out=tmp_path / "a")
    assert plan_search(config, out=tmp_path / "b", images=first.splits).images is first.images


def test_the_yaml_of_the_manual_loads(tmp_path: Path) -> None:
    (block,) = [one for one in blocks(DOCS / "rediscover.md") if one.language == "yaml"]
    (tmp_path / "manual.yaml").write_text(block.text)
    assert load_rediscovery(tmp_path / "manual.yaml").rules is not None


@pytest.mark.slow
def test_trainings_from_the_beginning_are_trials_that_are_kept(tmp_path: Path) -> None:
    search = SEARCH | {"data": {"name": "controls/set/images=64"}}
    cold = {"changes": {"epochs": 1, "schedule.warmup_epochs": 0.1, "batch_size": 32}}
    cold["seeds"] = 2
    given = load_rediscovery(write(tmp_path, search=search, cold=cold))
    target = searched_space(given).sample(0)
    said: list[str] = []
    first = train_cold(given, [target], folder=tmp_path / "out", doing=said.append)
    assert list(first) == [target.arch_id] and list(first[target.arch_id]) == [1000, 1001]
    assert said[-1] == "2 of 2 trainings from the beginning done"
    place = tmp_path / "out" / "cold" / target.arch_id
    recipe = yaml.safe_load((place / "run_1001" / "recipe.yaml").read_text())
    assert recipe["seed"] == 1001 and recipe["resources"]["cpus_per_worker"] == 1
    # What is there is read, and what is lacking alone is trained here, on all cores.
    kept = (place / "test_1000.json").stat().st_mtime_ns
    (place / "test_1001.json").unlink()
    shutil.rmtree(place / "run_1001")
    again = train_cold(given, [target], folder=tmp_path / "out", doing=said.append)
    assert again.keys() == first.keys()
    assert (place / "test_1000.json").stat().st_mtime_ns == kept
    recipe = yaml.safe_load((place / "run_1001" / "recipe.yaml").read_text())
    assert recipe["resources"]["cpus_per_worker"] == "auto"
    (place / "test_1001.json").write_text("{}")
    with pytest.raises(StudyError, match=r"test_1001.json: is damaged; expected the accuracy"):
        train_cold(given, [target], folder=tmp_path / "out", doing=said.append)


def test_images_are_read_once_and_never_those_of_another_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = load_rediscovery(write(tmp_path, controls={"tasks": ["set", "mixed"]}))
    had: list[tuple[str, dict[str, str]]] = []

    def plan(config: SearchConfig, *, images: dict[str, str], **_: object) -> SimpleNamespace:
        had.append((config.data.name, dict(images)))
        return SimpleNamespace(splits={"size": config.data.name})

    monkeypatch.setattr(rediscovery, "plan_search", plan)
    monkeypatch.setattr(rediscovery, "_stopped", lambda *_, **__: False)
    monkeypatch.setattr(rediscovery, "read_records", lambda _: ())
    rediscovery.run_studies(given, tmp_path / "out")
    assert all({*images.values()} <= {name} for name, images in had)
    assert [name for name, images in had if not images] == [
        "controls/set",
        "controls/mixed",
        "controls/lookup/images=64",
    ]
