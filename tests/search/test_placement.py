"""A search from a trained network: what is refused, and what is proposed first."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save

from bundles import write_bundle
from network_tools import randomised
from search_tools import DATA, make_study, write_search
from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.config.study_files import INITIAL, PLACEMENT, PREPARED
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.data import load_train_and_validation
from spach_nas.errors import ConfigError
from spach_nas.feasible import FeasibleSet
from spach_nas.search.kept_networks import keep_networks, read_initial
from spach_nas.search.placement import find_frame, placed
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import scale
from spach_nas.space.stage_space import Encoding
from spach_nas.training.sealed_networks import open_network, seal_network

SPACE = {
    "image_size": 32,
    "in_channels": 1,
    "num_classes": 10,
    "patch_size": 4,
    "expansion_ratio": [1, 2],
    "heads": 2,
    "stages": [
        {"depth": 1, "width": [8, 16], "mixers": "conv"},
        {
            "depth": [1, 2],
            "width": 16,
            "mixers": {"leading": "conv", "trailing": ["conv", "attention", "mlp"]},
        },
    ],
}
INIT = {"network": "somewhere", "placement": 3, "steps": 0}


def load(folder: Path, **changes: Any) -> SearchConfig:
    given = {"space": SPACE, "limits": {}, "init": INIT} | changes
    return load_config(write_search(folder, **given))


def trained_proxy(config: SearchConfig) -> Architecture:
    target = config.space.decode(
        {
            "expansion_ratio": 2,
            "stage1.width": 16,
            "stage2.depth": 2,
            "stage2.trailing": "conv",
            "stage2.trailing_depth": 0,
        }
    )
    return scale(target, config.proxy, DATA)


def run(config: SearchConfig, folder: Path, *, stop_after: int = 100) -> tuple[Encoding, ...]:
    splits = load_train_and_validation(config.data, image_size=config.image_size)
    small = replace(
        splits,
        train=splits.train.take(range(64)),
        validation=splits.validation.take(range(64)),
    )
    told: list[str] = []
    encodings, seconds = placed(
        config,
        folder=folder,
        feasible=FeasibleSet(config.space, config.limits),
        data=DATA,
        splits=small,
        tell=told.append,
        stopped=lambda: len(told) >= stop_after,
    )
    assert seconds > 0
    return encodings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = load(tmp_path)
    keep_networks(tmp_path, {INITIAL: seal_network(randomised(trained_proxy(config)))})
    return tmp_path


def test_the_frame_is_the_target_of_the_trained_network(tmp_path: Path) -> None:
    config = load(tmp_path)
    trained = trained_proxy(config)
    frame = find_frame(config.space, trained, config=config, data=DATA)
    assert [stage.width for stage in frame.stages] == [16, 16]
    assert {stage.expansion_ratio for stage in frame.stages} == {2}
    narrow = replace(trained, stages=tuple(replace(s, width=12) for s in trained.stages))
    with pytest.raises(ConfigError, match="has its stem and widths: conv1 and 12, 12"):
        find_frame(config.space, narrow, config=config, data=DATA)


def test_the_first_proposals_follow_from_the_worth_of_each_change(folder: Path) -> None:
    limits = Limits(max_macs=10**9)
    config = load(folder, limits={"max_macs": limits.max_macs})
    encodings = run(config, folder)
    known = json.loads((folder / PREPARED / PLACEMENT).read_text())
    worth = {
        (item["stage"], item["number"], item["mixer"]): item["loss"] for item in known["changes"]
    }
    # The first stage has one block and one mixer; the second one two blocks.
    assert set(worth) == {
        (1, block, name) for block in (0, 1) for name in ("attention", "mlp", "none")
    }
    expected = {
        ("conv", "conv"): 0.0,
        ("conv", "attention"): worth[1, 1, "attention"],
        ("conv", "mlp"): worth[1, 1, "mlp"],
        ("attention", "attention"): worth[1, 0, "attention"] + worth[1, 1, "attention"],
        ("mlp", "mlp"): worth[1, 0, "mlp"] + worth[1, 1, "mlp"],
        ("conv",): worth[1, 1, "none"],
        ("attention",): worth[1, 0, "attention"] + worth[1, 1, "none"],
        ("mlp",): worth[1, 0, "mlp"] + worth[1, 1, "none"],
    }
    found = [config.space.decode(encoding) for encoding in encodings]
    assert len(set(found)) == 3
    losses = [expected[target.stages[1].mixers] for target in found]
    assert losses == pytest.approx(sorted(expected.values())[:3])
    assert all(limits.allow(cost(target)) for target in found)


def test_an_interrupted_placement_goes_on(folder: Path) -> None:
    config = load(folder)
    assert run(config, folder, stop_after=2) == ()
    path = folder / PREPARED / PLACEMENT
    first = json.loads(path.read_text())["changes"]
    assert len(first) == 2
    encodings = run(config, folder)
    whole = json.loads(path.read_text())["changes"]
    assert whole[:2] == first and len(whole) == 6
    again = path.read_bytes()
    assert run(config, folder) == encodings
    assert path.read_bytes() == again


def test_a_study_proposes_them_before_those_of_its_sampler(tmp_path: Path) -> None:
    study = make_study(tmp_path, space=SPACE, limits={}, init=INIT, search__trials=4)
    first = [study.config.space.encode(study.config.space.sample(seed)) for seed in (1, 5)]
    study.propose_first(first)
    asked = [study.next() for _ in range(4)]
    targets = [study.config.space.encode(request.architecture) for request in asked]
    assert targets[:2] == first
    assert len({request.architecture.arch_id for request in asked}) == 4


def read(folder: Path, network: Architecture, **changes: Any) -> bytes | None:
    weights = save(randomised(network).state_dict())
    folder.mkdir(exist_ok=True)
    where = write_bundle(folder / "bundle", architecture=network, weights=weights)
    config = load(folder, **{"init": {**INIT, "network": str(where)}, **changes})
    feasible = FeasibleSet(config.space, config.limits)
    return read_initial(config, folder=None, feasible=feasible, data=DATA)


def test_a_bundle_becomes_the_network_of_the_study(tmp_path: Path) -> None:
    trained = trained_proxy(load(tmp_path))
    sealed = read(tmp_path, trained)
    assert sealed is not None
    opened = open_network(sealed)
    assert opened.architecture == trained
    assert opened.head.weight.equal(randomised(trained).head.weight)


def test_a_network_that_cannot_become_a_proxy_is_refused(tmp_path: Path) -> None:
    trained = replace(trained_proxy(load(tmp_path)), patch_size=4, in_channels=3)
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, trained)
    said = str(refused.value)
    assert "proxies have patch_size: 8; expected 4" in said
    assert "proxies have in_channels: 1; expected 3" in said


def test_a_network_of_other_classes_begins_no_placement_search(tmp_path: Path) -> None:
    other = replace(trained_proxy(load(tmp_path)), num_classes=4)
    with pytest.raises(ConfigError, match="gives 1 channel and 4 classes; expected 1 channel and"):
        read(tmp_path, other)
    begin = {"network": str(tmp_path / "bundle"), "placement": 0}
    assert read(tmp_path / "again", other, init=begin, evaluator="inherit") is not None


def test_a_stage_of_too_many_arrangements_is_refused(tmp_path: Path) -> None:
    free = {"depth": 10, "width": 16, "mixers": ["conv", "attention", "mlp"]}
    space = {**SPACE, "stages": [SPACE["stages"][0], free]}
    trained = trained_proxy(load(tmp_path))
    with pytest.raises(ConfigError, match=r"stages\[1\] of the space has 59,049 arrangements"):
        read(tmp_path, trained, space=space)
