"""A search whose candidates begin with their share of the weights of a trained supernet."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_tools import DATA, SPACE, make_study, write_search
from spach_nas.config.evaluation import EvaluationRequest
from spach_nas.config.search_yaml import load_config
from spach_nas.config.study_files import DATA_JSON, INITIAL_SUPERNET, PREPARED
from spach_nas.config.training_settings import DataSettings
from spach_nas.data import load_train_and_validation
from spach_nas.data.preprocessing import preprocessing, to_json
from spach_nas.errors import ConfigError
from spach_nas.evaluators.interface import make_evaluator, prepare_evaluators
from spach_nas.feasible import FeasibleSet
from spach_nas.search.kept_networks import keep_networks, read_networks

IMAGES = load_train_and_validation(DataSettings(name="fashion-mini"), image_size=(32, 32))
IMAGES = replace(
    IMAGES,
    train=IMAGES.train.take(np.arange(64)),
    validation=IMAGES.validation.take(np.arange(64)),
)
# BatchNorm takes its statistics anew from the batches of a training.
COMMON = {
    "space": {**SPACE, "stem": "conv1", "image_size": 224},
    "limits": {},
    "proxy": {"image_size": 32, "patch_size": 4},
}
SHARED = {"name": "supernet", "epochs": 1, "paths": "single"}

Lender = tuple[Path, list[tuple[EvaluationRequest, float]]]


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Lender:
    """A study by a supernet, and the loss of each request."""
    study = make_study(
        tmp_path_factory.mktemp("lender"),
        **COMMON,
        evaluator=SHARED,
        training__data_share=1.0,
        search__trials=3,
    )
    (study.folder / DATA_JSON).write_text(to_json(preprocessing(IMAGES)))
    prepare_evaluators(
        study.config,
        folder=study.folder,
        data={(32, 32): IMAGES},
        tell=lambda _: None,
        stopped=lambda: False,
    )
    evaluator = make_evaluator(study.config, folder=study.folder)
    losses = []
    while isinstance(request := study.next(), EvaluationRequest):
        evaluation = evaluator(request, IMAGES)
        study.tell(request, evaluation)
        losses.append((request, evaluation.scores["loss"]))
    return study.folder, losses


def read(folder: Path, source: Path, **changes: Any) -> dict[str, bytes]:
    given = {**COMMON, "evaluator": "inherit", "init": str(source)} | changes
    config = load_config(write_search(folder, **given))
    feasible = FeasibleSet(config.space, config.limits)
    return read_networks(config, folder=None, feasible=feasible, data=DATA)


@pytest.mark.parametrize("named", [False, True], ids=["study", "file"])
def test_candidates_begin_with_their_share_of_the_weights(
    lender: Lender, tmp_path: Path, named: bool
) -> None:
    source, losses = lender
    if named:
        source = source / PREPARED / "supernet" / "supernet.safetensors"
    kept = read(tmp_path, source, references=["timm/test_vit"])  # which nothing trains
    assert list(kept) == [INITIAL_SUPERNET]
    # Steps so short that the function stays what it was.
    study = make_study(
        tmp_path,
        **COMMON,
        evaluator="inherit",
        init=str(source),
        training__learning_rate=1e-12,
    )
    keep_networks(study.folder, kept)
    evaluator = make_evaluator(study.config, folder=study.folder)
    own = study.next()
    assert isinstance(own, EvaluationRequest) and own.relative is None
    for request, loss in losses:
        asked = replace(own, architecture=request.architecture, proxy=request.proxy)
        found = evaluator(asked, IMAGES)
        assert found.remark == "begins with its share of the weights of the initial supernet"
        assert found.scores["loss"] == pytest.approx(loss, rel=1e-5)
    assert len({loss for _, loss in losses}) == len(losses) == 3


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"space": {**COMMON["space"], "expansion_ratio": 2}}, "its supernet is of another space"),
        (
            {"proxy": {"image_size": 32, "patch_size": 8}},
            "its proxies have patch_size 4; expected 8, as at rung 0",
        ),
        ({"init": {"placement": 2}}, "a placement search begins with one network"),
        ({"references": ["conv_ms_xxs"]}, "references: conv_ms_xxs: is outside of the space"),
    ],
    ids=["space", "proxy", "placement", "reference"],
)
def test_a_supernet_that_does_not_hold_the_proxies_is_refused(
    lender: Lender, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    source, _ = lender
    if "init" in changes:
        changes = {"init": {"network": str(source), **changes["init"]}}
    with pytest.raises(ConfigError, match=reason):
        read(tmp_path, source, **changes)


def test_a_supernet_that_is_not_trained_is_refused(tmp_path: Path) -> None:
    study = make_study(tmp_path, **COMMON, evaluator=SHARED)
    with pytest.raises(ConfigError, match="has no trained supernet"):
        read(tmp_path, study.folder)
