"""Evaluators in the search YAML, alone and as rungs, in a study without Ray."""

import io
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import own_evaluators
from search_tools import DATA, evaluate, make_study, open_study, write_search
from spach_nas.cli.search_view import print_result
from spach_nas.config import plugins as plugins_module
from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.evaluator_registry import EVALUATORS
from spach_nas.config.plugins import load_plugins
from spach_nas.config.search_yaml import load_config, parse_config, to_yaml
from spach_nas.data import DataSplits
from spach_nas.errors import BundleError, ConfigError, StudyError
from spach_nas.evaluators.interface import (
    ByRung,
    Evaluator,
    check_evaluators,
    evaluator_of,
    make_evaluator,
    prepare_evaluators,
)
from spach_nas.export import choose
from spach_nas.replay import read_benchmark
from spach_nas.report.study import write_study_report
from spach_nas.study.driver import StudyDriver
from spach_nas.study.records import Record
from spach_nas.study.resume_checks import check_begun_alike, check_warm_start
from spach_nas.study.watcher import Watcher
from spach_nas.validation import read_document

SIZE = {"name": "size", "figure": "params"}
NO_IMAGES: Any = None


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EVALUATORS, "known", dict(EVALUATORS))
    own_evaluators.register()


class _Trained:
    """Takes the place of a training."""

    def __call__(
        self, request: EvaluationRequest, data: DataSplits, *, checkpoint: bytes | None = None
    ) -> Evaluation:
        return evaluate(request)


def run(study: StudyDriver, *evaluators: Evaluator) -> list[Record]:
    """Run a study to its end; an evaluator for each rung."""
    by_rung = ByRung(evaluators=evaluators)
    while isinstance(request := study.next(), EvaluationRequest):
        study.tell(request, by_rung(request, NO_IMAGES))
    return list(study.records)


def prepare(study: StudyDriver, *, stop_after: int = 100) -> list[str]:
    """Prepare its evaluators; what was told."""
    told: list[str] = []
    seconds = prepare_evaluators(
        study.config,
        folder=study.folder,
        data={},
        tell=told.append,
        stopped=lambda: len(told) >= stop_after,
    )
    study.prepared(seconds)
    return told


def test_a_search_trains_each_candidate_unless_it_says_otherwise(tmp_path: Path) -> None:
    config = load_config(write_search(tmp_path))
    assert [(item.name, item.label) for item in config.evaluators] == [("train", "proxy")]
    assert load_config(write_search(tmp_path, evaluator="train")) == config
    assert load_config(write_search(tmp_path, evaluator={"name": "train"})) == config


def test_a_choice_with_options_is_written_as_it_is_read(tmp_path: Path) -> None:
    path = write_search(
        tmp_path,
        evaluator="shared",
        rungs={"levels": [{"evaluator": SIZE}, {"evaluator": "train"}]},
    )
    with pytest.raises(ConfigError, match=r"rungs.levels\[1\].epochs: is missing"):
        load_config(path)
    path = write_search(tmp_path, evaluator="shared", rungs={"levels": [{"evaluator": SIZE}]})
    config = load_config(path)
    path.write_text(to_yaml(config))
    document = read_document(path, error=ConfigError)
    assert parse_config(document.data, where=document, folder=tmp_path) == config
    assert [item.label for item in config.evaluators] == ["size:params", "shared"]
    assert document.data["rungs"]["levels"][0]["evaluator"] == SIZE


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"evaluator": "trian"}, ["evaluator: 'trian'; .*did you mean 'train'"]),
        ({"evaluator": {"steps": 3}}, ["evaluator.name: is missing; expected train"]),
        (
            {"evaluator": {"name": "size", "steps": 3}},
            [
                "evaluator.steps: size has no such option; .*option of shared",
                "evaluator.*figure: is",
            ],
        ),
        (
            {"evaluator": {"name": "shared", "steps": 0, "stepz": 1}},
            ["evaluator.steps: 0; expected at least 1", "evaluator.stepz: .*did you mean 'steps'"],
        ),
        (
            {"evaluator": SIZE},
            ["objectives.accuracy: the evaluator size does not give it; expected score: max"],
        ),
        (
            {"rungs": {"levels": [{"evaluator": SIZE, "epochs": 1, "data_share": 0.5}]}},
            [
                r"levels\[0\].epochs: 1; expected none",
                r"levels\[0\].data_share: 0.5; expected none",
            ],
        ),
        (
            {
                "training__epochs": 2,
                "rungs": {"levels": [{"epochs": 1}, {"evaluator": SIZE}, {"evaluator": SIZE}]},
            },
            [
                r"levels\[0\].evaluator: train comes before size",
                r"levels\[1\].evaluator: size.*same",
            ],
        ),
        (
            {
                "evaluator": "shared",
                "rungs": {"levels": [{"evaluator": {"name": "shared", "steps": 2}}]},
            },
            ["evaluator: shared has other options at another level"],
        ),
    ],
    ids=str,
)
def test_mistakes_are_told_together(
    tmp_path: Path, changes: dict[str, object], said: list[str]
) -> None:
    with pytest.raises(ConfigError) as problem:
        load_config(write_search(tmp_path, **changes))
    for words in said:
        assert re.search(words, str(problem.value)), str(problem.value)


def test_an_evaluator_checks_the_search_before_anything_is_trained(tmp_path: Path) -> None:
    config = load_config(write_search(tmp_path, evaluator={"name": "shared", "steps": 9}))
    with pytest.raises(ConfigError, match="steps: 9; expected at most 8"):
        check_evaluators(config)


def test_a_rung_without_training_ranks_by_its_score(tmp_path: Path) -> None:
    study = make_study(
        tmp_path,
        rungs={"levels": [{"evaluator": SIZE}], "rank": "accuracy"},
        search__trials=12,
    )
    records = run(study, own_evaluators.Size(figure="params"), _Trained())
    low, top = ([r for r in records if r.fidelity.rung == rung] for rung in (0, 1))
    assert {r.evaluator for r in low} == {"size:params"}
    assert {r.evaluator for r in top} == {"proxy"}
    assert all(r.fidelity.epochs == 0 and not r.curve and r.seconds == 0 for r in low)
    assert all({"score", "macs"} == set(r.objectives) for r in low)
    assert len(low) == 12
    assert len(top) == 4
    # Promotion does not wait, so the largest of all so far goes on at each third.
    assert max(low, key=lambda r: r.objectives["score"]).trial in {r.trial for r in top}
    # Only trained scores are compared.
    assert {r.fidelity.rung for r in study.front()} == {1}
    assert study.best() in top
    page = write_study_report(study.folder).read_text()
    assert "scored by size:params at 32" in page
    assert "to epoch 1 on 2% of the images" in page
    # A replay meets the trainings alone.
    benchmark = read_benchmark([study.folder])
    assert benchmark.table.entries.keys() == {r.arch_id for r in top}
    assert benchmark.config.rungs.levels == ()


def test_a_study_of_scores_alone_resumes_and_keeps_no_weights(tmp_path: Path) -> None:
    changes = {"evaluator": SIZE, "objectives": {"score": "max", "macs": "min"}}
    study = make_study(tmp_path, **changes)
    size = own_evaluators.Size(figure="params")
    for _ in range(5):
        request = study.next()
        assert isinstance(request, EvaluationRequest)
        study.tell(request, size(request, NO_IMAGES))
    study.close()
    resumed = open_study(tmp_path / "study")
    run(resumed, size)
    (tmp_path / "whole").mkdir()
    whole = run(make_study(tmp_path / "whole", **changes), size)
    assert [r.arch_id for r in resumed.records] == [r.arch_id for r in whole]
    assert [r.objectives for r in resumed.records] == [r.objectives for r in whole]
    assert resumed.front()
    page = write_study_report(resumed.folder).read_text()
    assert "as size:params scores it without training" in page
    assert "0 epoch" not in page
    console = Console(file=io.StringIO(), width=200)
    print_result(resumed, console=console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "--scale target" in printed
    assert "--pick knee" not in printed and "weights of trial" not in printed
    with pytest.raises(BundleError, match=r"scored by size:params, which leaves no weights"):
        choose(tmp_path / "study")


def test_what_candidates_share_is_prepared_once_and_goes_on(tmp_path: Path) -> None:
    study = make_study(tmp_path, evaluator="shared", search__trials=4)
    assert prepare(study, stop_after=2) == ["preparing the evaluator shared", "step 1"]
    study.close()
    study = open_study(tmp_path / "study")
    assert prepare(study) == ["preparing the evaluator shared", "step 2", "step 3"]
    # The seconds of both sessions count.
    assert study.elapsed == 3.0
    evaluator = pickle.loads(pickle.dumps(make_evaluator(study.config, folder=study.folder)))
    records = run(study, evaluator)
    assert {r.evaluator for r in records} == {"shared"}
    assert all(0.3 < r.objectives["accuracy"] < 0.4 for r in records)
    assert min(r.started for r in records) == 3.0
    assert Watcher(study.folder).progress().done == 4
    assert prepare(open_study(tmp_path / "study")) == ["preparing the evaluator shared"]


def test_another_evaluator_is_another_protocol(tmp_path: Path) -> None:
    study = make_study(tmp_path, evaluator="shared", search__trials=4)
    prepare(study)
    run(study, own_evaluators.Shared(steps=3))
    other = load_config(write_search(tmp_path, evaluator={"name": "shared", "steps": 4}))
    with pytest.raises(StudyError, match="its evaluator differs"):
        check_warm_start(study.folder, other)
    with pytest.raises(StudyError, match="evaluator: was changed"):
        check_begun_alike(study.folder, other)


def test_equal_proxies_share_a_score_without_a_curve(tmp_path: Path) -> None:
    # Widths from 8 to 16 are all 8 in the proxy.
    study = make_study(
        tmp_path,
        evaluator="shared",
        proxy={"patch_size": 8, "width_scale": 0.25},
        search__trials=40,
    )
    asked = []
    evaluator = own_evaluators.Shared(steps=3)
    while isinstance(request := study.next(), EvaluationRequest):
        asked.append(request.proxy.arch_id)
        study.tell(request, evaluator(request, NO_IMAGES))
    assert len(asked) == len(set(asked)) < len(study.records) == 40
    assert DATA.num_classes == 10
    assert all(record.objectives["accuracy"] > 0.3 for record in study.records)


def test_the_evaluator_of_the_document_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "evaluators.md").read_text()
    blocks = dict(re.findall(r"^```(python|yaml)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    (tmp_path / "my_evaluators.py").write_text(blocks["python"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins_module, "brought_in", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    load_plugins(["my_evaluators"])
    # The last YAML of the page is that of this evaluator.
    study = make_study(tmp_path, search__trials=6, **yaml.safe_load(blocks["yaml"]))
    evaluator = evaluator_of(study.config, study.config.evaluators[0], folder=study.folder)
    records = run(study, evaluator, _Trained())
    low = [record for record in records if record.fidelity.rung == 0]
    depths = [sum(stage.depth for stage in record.architecture.stages) for record in low]
    assert [record.objectives["score"] for record in low] == [-abs(n - 6) for n in depths]
    assert {record.evaluator for record in low} == {"depth"}


def test_every_yaml_of_the_document_is_a_search(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "evaluators.md").read_text()
    *searches, _ = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    labels = [
        [item.label for item in load_config(write_search(tmp_path, **given)).evaluators]
        for given in map(yaml.safe_load, searches)
    ]
    assert ["training_free:naswot", "proxy"] in labels
    assert ["supernet", "proxy"] in labels
    assert ["training_free:params"] in labels
