"""The evaluator `supernet`: prepared once, scores in a worker, refuses what it cannot hold."""

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search_tools import SPACE, make_study, write_search
from spach_nas.config.evaluation import EvaluationRequest
from spach_nas.config.search_yaml import load_config
from spach_nas.config.training_settings import DataSettings
from spach_nas.data import DataSplits, load_train_and_validation
from spach_nas.errors import BundleError, ConfigError
from spach_nas.evaluators.interface import check_evaluators, make_evaluator, prepare_evaluators
from spach_nas.study.driver import StudyDriver

CHANGES = {
    "evaluator": {"name": "supernet", "epochs": 2, "paths": "single", "images": 50},
    "training__data_share": 1.0,
    "search__trials": 5,
}


SIZE = (32, 32)


@pytest.fixture(scope="module")
def data() -> DataSplits:
    """A part of the embedded images."""
    data = load_train_and_validation(DataSettings(name="fashion-mini"), image_size=SIZE)
    return replace(
        data, train=data.train.take(np.arange(128)), validation=data.validation.take(np.arange(64))
    )


def prepare(study: StudyDriver, data: DataSplits, *, stop_after: int = 10**6) -> list[str]:
    told: list[str] = []
    prepare_evaluators(
        study.config,
        folder=study.folder,
        data={SIZE: data},
        tell=told.append,
        stopped=lambda: len(told) >= stop_after,
    )
    return told


def test_candidates_are_scored_with_shared_weights(tmp_path: Path, data: DataSplits) -> None:
    study = make_study(tmp_path, **CHANGES)
    prepare(study, data, stop_after=2)
    assert prepare(study, data)[-1] == "training the supernet: step 8 of 8"
    evaluator = pickle.loads(pickle.dumps(make_evaluator(study.config, folder=study.folder)))
    while isinstance(request := study.next(), EvaluationRequest):
        study.tell(request, evaluator(request, data))
    records = study.records
    assert len(records) == 5
    assert {(record.evaluator, record.state) for record in records} == {("supernet", "complete")}
    assert {record.validation_images for record in records} == {50}
    assert all(0 <= record.objectives["accuracy"] < 1 for record in records)
    # What is trained is not trained again.
    assert prepare(study, data)[1:] == []


def test_supernet_of_another_space_is_refused(tmp_path: Path, data: DataSplits) -> None:
    study = make_study(tmp_path, **CHANGES)
    prepare(study, data)
    (tmp_path / "other").mkdir()
    other = make_study(tmp_path / "other", **CHANGES, space={**SPACE, "expansion_ratio": [2, 4]})
    shutil.copytree(study.folder / "prepared", other.folder / "prepared")
    with pytest.raises(BundleError, match="is of another space"):
        prepare(other, data)
    evaluator = make_evaluator(other.config, folder=other.folder)
    request = other.next()
    assert isinstance(request, EvaluationRequest)
    with pytest.raises(BundleError, match="is of another space"):
        evaluator(request, data)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {
                "space": {**SPACE, "patch_size": [4, 8]},
                "proxy": {},
            },
            "space: supernet: patch_size: 4, 8 with mlp mixers",
        ),
        (
            {"references": ["conv_ms_xxs"], "space": "spach_bench", "limits": {}, "proxy": {}},
            "references: conv_ms_xxs: is outside of the space, and so of its supernet",
        ),
        (
            {"evaluator": {"name": "supernet", "workers": 3}},
            r"evaluator\.workers: 3; expected a divisor of training\.batch_size, \d+",
        ),
    ],
    ids=["patches", "reference", "workers"],
)
def test_what_a_supernet_cannot_hold_is_told_first(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    config = load_config(write_search(tmp_path, **{**CHANGES, **changes}))
    with pytest.raises(ConfigError, match=reason):
        check_evaluators(config)
