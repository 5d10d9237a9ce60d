"""Channels and classes of the targets: those of the data, unless the space fixes them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from own_data import write_folder
from search_tools import SEARCH, SPACE, drive, make_study
from spach_nas.cli.search_view import print_plan
from spach_nas.config.search_yaml import load_config, target_shape
from spach_nas.config.shipped import shipped_folder
from spach_nas.cost.closed_form import cost, head_cost
from spach_nas.errors import ConfigError, StudyError
from spach_nas.export import choose
from spach_nas.latency.parts import HeadPart, StemPart, space_parts
from spach_nas.search.plan import Plan, plan_search, read_space_source
from spach_nas.space.references import get_reference, reference_target
from spach_nas.space.scaling import DataShape, shape_of
from spach_nas.space.search_space import SearchSpace

OWN = DataShape(in_channels=3, num_classes=4)
FASHION = DataShape(in_channels=1, num_classes=10)
OPEN = {key: value for key, value in SPACE.items() if key not in ("in_channels", "num_classes")}
# What ImageNet's models are, at a size that a test can afford.
BIG = {"image_size": 224, "patch_size": 4, "expansion_ratio": 3}
BIG["stages"] = [{"depth": 1, "width": width, "mixers": "conv"} for width in (32, 64, 128, 256)]


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "mine.yaml"
    folder.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({**SEARCH, "study": "mine", **changes}))
    return path


def plan_own(folder: Path, **changes: Any) -> Plan:
    root = folder / "images"
    if not root.exists():
        write_folder(root)
    return plan_search(write(folder, data={"name": "folder", "root": str(root)}, **changes))


def test_targets_of_an_open_space_have_the_channels_and_classes_of_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_own(tmp_path, space="spach_tiny", proxy={}, limits={"max_params": "2M"})
    target = plan.feasible.sample(3)
    assert shape_of(target) == OWN
    assert shape_of(plan.config.space.sample(1)) == OWN
    # The head is counted as it is: 4 outputs, not 10 and not 1000.
    of_ten = cost(replace(target, num_classes=10)).params - cost(target).params
    assert of_ten == 6 * (target.stages[-1].width + 1)
    print_plan(plan, console=Console(width=200))
    assert "targets  3 channels and 4 classes, as the data have" in capsys.readouterr().out


def test_what_a_space_fixes_stays_and_the_difference_is_told(tmp_path: Path) -> None:
    plan = plan_own(tmp_path)
    assert shape_of(plan.feasible.sample(3)) == FASHION
    assert plan.targets == (
        "1 channel and 10 classes, which the space fixes; the data have 3 channels and 4 classes"
    )
    classes_alone = plan_own(tmp_path, space=OPEN | {"num_classes": 21})
    assert shape_of(classes_alone.feasible.sample(3)) == DataShape(in_channels=3, num_classes=21)


@pytest.mark.parametrize("name", ["spach_ms", "spach_ss", "spach_bench"])
def test_the_spaces_of_the_paper_fix_what_imagenet_has(name: str) -> None:
    space = SearchSpace.from_yaml(shipped_folder() / f"{name}.yaml")
    assert not space.is_open
    assert space.for_data(FASHION) == space
    assert shape_of(space.sample(0)) == DataShape(in_channels=3, num_classes=1000)


def test_a_space_alone_says_that_it_counts_with_imagenets(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(OPEN))
    space = read_space_source(path, images=False).feasible.space
    assert space.describe_targets(None) == (
        "3 channels and 1,000 classes, ImageNet's; in a search those of the data"
    )
    search = write(tmp_path, space=OPEN)
    assert read_space_source(search, images=False).feasible.space.shape == FASHION


def test_references_stand_beside_targets_with_equal_heads(tmp_path: Path) -> None:
    target = reference_target("conv_ms_s", OWN)
    published = get_reference("conv_ms_s").architecture
    assert shape_of(target) == OWN
    assert replace(target, in_channels=3, num_classes=1000) == published
    width, resolution = published.stages[-1].width, published.resolutions[-1]
    heads = head_cost(width, resolution, 1000).params - head_cost(width, resolution, 4).params
    assert cost(published).params - cost(target).params == heads
    # A limit between both is met with the classes of the data, and those are what counts.
    between = cost(target).params + heads // 2
    proxy = {"image_size": 32, "patch_size": 2, "width_scale": 0.125}
    wanted: dict[str, Any] = {"limits": {"max_params": between}, "references": ["conv_ms_s"]}
    plan = plan_own(tmp_path, space=BIG, proxy=proxy, **wanted)
    assert plan.config.references == ("conv_ms_s",)
    fixed = BIG | {"in_channels": 3, "num_classes": 1000}
    with pytest.raises(ConfigError, match="references: conv_ms_s: params"):
        plan_own(tmp_path, space=fixed, proxy=proxy, **wanted)
    wanted["limits"] = {"max_params": cost(target).params - 1}
    with pytest.raises(ConfigError, match=r"mine\.yaml: references: conv_ms_s: params"):
        plan_own(tmp_path, space=BIG, proxy=proxy, **wanted)


def test_parts_that_are_timed_are_those_of_the_targets() -> None:
    parts = space_parts(SearchSpace.from_dict(OPEN).for_data(OWN))
    assert {part.in_channels for part in parts if isinstance(part, StemPart)} == {3}
    assert {part.num_classes for part in parts if isinstance(part, HeadPart)} == {4}


def test_a_study_keeps_the_targets_that_it_began_with(tmp_path: Path) -> None:
    """One that was begun when an open space meant ImageNet's, and one of today."""
    for name, shape in (("old", DataShape(in_channels=3, num_classes=1000)), ("new", FASHION)):
        home = tmp_path / name
        home.mkdir()
        fixed = OPEN | {"in_channels": shape.in_channels, "num_classes": shape.num_classes}
        study = make_study(home, space=fixed, search__trials=2, limits={})
        drive(study)
        study.close()
        folder = home / "study"
        (folder / "search.yaml").write_text(yaml.safe_dump({**SEARCH, "space": OPEN, "limits": {}}))
        (folder / "data.json").write_text(
            json.dumps({"mean": [0.5], "std": [0.5], "class_names": list("abcdefghij")})
        )
        assert target_shape(folder) == shape
        config = load_config(folder / "search.yaml")
        assert config.space.shape == shape
        assert all(config.space.contains(record.architecture) for record in study.records)
        assert shape_of(choose(folder, scale_to="target").architecture) == shape
        # It goes on, although the space of the file is open and the data have one channel.
        again = plan_search(folder / "search.yaml", out=folder, resume=True)
        assert again.config.space == config.space
        (folder / "records.jsonl").write_text("{torn")
        assert target_shape(folder) == FASHION, "before there are records, the data's"


def test_export_of_a_target_says_when_its_head_is_not_the_datas(tmp_path: Path) -> None:
    study = make_study(tmp_path, search__trials=1)
    drive(study)
    study.close()
    data = {"mean": [0.5] * 3, "std": [0.5] * 3, "class_names": ["a", "b", "c", "d"]}
    (study.folder / "data.json").write_text(json.dumps(data))
    note = choose(study.folder, scale_to="target").note
    assert note is not None
    assert "1 channel and 10 classes, as its search space fixes them" in note
    assert "3 channels and 4 classes" in note
    data |= {"mean": [0.5], "std": [0.5], "class_names": list("abcdefghij")}
    (study.folder / "data.json").write_text(json.dumps(data))
    assert choose(study.folder, scale_to="target").note is None


def test_another_head_is_another_study(tmp_path: Path) -> None:
    plan = plan_own(tmp_path, space=OPEN)
    from spach_nas.study.resume_checks import check_resumable

    study = make_study(tmp_path, space=OPEN | {"in_channels": 3, "num_classes": 5})
    study.close()
    (study.folder / "search.yaml").write_text(
        yaml.safe_dump({**SEARCH, "space": OPEN | {"in_channels": 3, "num_classes": 5}})
    )
    with pytest.raises(StudyError, match="space: was changed"):
        check_resumable(study.folder, plan.config, plan.preprocessing)
