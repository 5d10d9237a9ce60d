from pathlib import Path

import pytest
import yaml

from spach_nas.config import shipped
from spach_nas.config.rediscovery_settings import load_rediscovery
from spach_nas.config.search_yaml import load_config
from spach_nas.config.shipped import find_yaml, shipped_folder, shipped_names
from spach_nas.cost.closed_form import cost
from spach_nas.errors import ConfigError
from spach_nas.space.references import REFERENCES
from spach_nas.space.scaling import scale
from spach_nas.space.search_space import SearchSpace

SPACES = [name for name in shipped_names() if not name.startswith(("quick", "rediscover"))]


def test_spaces_and_quickstart_are_shipped() -> None:
    assert {"quickstart", "spach_ms", "spach_ss", "spach_tiny"} <= set(shipped_names())


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_file_loads(name: str) -> None:
    path = shipped_folder() / f"{name}.yaml"
    if name.startswith("rediscover_"):
        assert load_rediscovery(path).search.study == name.removeprefix("rediscover_")
    elif "study" in yaml.safe_load(path.read_text()):
        assert load_config(path).study == name
    else:
        size = SearchSpace.from_yaml(path).size()
        # Every architecture of a benchmark is trained.
        assert 60 <= size <= 300 if name in ("spach_bench", "controls") else size > 100_000


def test_the_benchmark_is_a_part_of_the_whole_space_and_holds_the_papers_hybrids() -> None:
    bench = SearchSpace.from_yaml(shipped_folder() / "spach_bench.yaml")
    whole = SearchSpace.from_yaml(shipped_folder() / "spach_ms.yaml")
    assert all(whole.contains(bench.sample(seed)) for seed in range(300))
    for name in ("conv_ms_s", "hybrid_ms_s", "hybrid_ms_s_plus"):
        assert bench.contains(REFERENCES[name].architecture)


@pytest.mark.parametrize("name", SPACES)
def test_every_choice_of_a_shipped_space_makes_a_difference(name: str) -> None:
    space = SearchSpace.from_yaml(shipped_folder() / f"{name}.yaml")
    drawn = [space.encode(space.sample(seed)) for seed in range(300)]
    for parameter, choices in space.parameters.items():
        # As many trailing blocks as there are blocks is written as a stage of one mixer.
        if not parameter.endswith("trailing_depth"):
            assert {encoding[parameter] for encoding in drawn} == set(choices), parameter


@pytest.mark.parametrize("name", ["cifar100", "imagenet100", "imagenet"])
def test_a_rediscovery_of_the_paper_can_find_its_hybrids_and_sees_as_many_places(name: str) -> None:
    given = load_rediscovery(shipped_folder() / f"rediscover_{name}.yaml")
    search = given.search
    for model in ("conv_ms_s", "trans_ms_s", "mlp_ms_s", "hybrid_ms_s", "hybrid_ms_s_plus"):
        target = REFERENCES[model].architecture
        assert search.space.contains(target)
        assert given.limits[-1].allow(cost(target))
        proxy = scale(target, search.proxy, search.space.shape)
        assert proxy.image_size[0] >= 64
        # At least 14 x 14 positions in stage 3.
        assert proxy.image_size[0] // proxy.patch_size // 4 >= 14


def test_a_file_is_found_by_path_before_a_shipped_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> Path:
        return find_yaml(name, folder=tmp_path, error=ConfigError)

    assert find("spach_ms") == shipped_folder() / "spach_ms.yaml"
    (tmp_path / "spach_ms").write_text("")
    (tmp_path / "b.yaml").write_text("")
    assert find("spach_ms") == tmp_path / "spach_ms"
    assert find("b.yaml") == tmp_path / "b.yaml"
    assert find(str(tmp_path / "b.yaml")) == tmp_path / "b.yaml"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find("~/b.yaml") == tmp_path / "b.yaml"


@pytest.mark.parametrize("name", ["spachms", "", ".", "~nobody-here/a", "a\0b", "x" * 5000])
def test_a_file_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as raised:
        find_yaml(name, folder=tmp_path, error=ConfigError)
    assert f"{name}: no such file; expected a YAML file or " in str(raised.value)
    assert ("did you mean 'spach_ms'" in str(raised.value)) == (name == "spachms")


def test_files_inside_an_installed_package_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "spach_nas"
    monkeypatch.setattr(shipped, "__file__", str(package / "config" / "shipped.py"))
    assert shipped_folder() == tmp_path / "site" / "search_spaces"
    (package / "search_spaces").mkdir(parents=True)
    assert shipped_folder() == package / "search_spaces"
