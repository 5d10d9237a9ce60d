import copy
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from spach_nas.config.search_yaml import SearchConfig, load_config, source_files
from spach_nas.config.shipped import shipped_folder
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.errors import ConfigError
from spach_nas.space.references import get_reference
from spach_nas.space.scaling import ProxyRule
from spach_nas.space.search_space import SearchSpace

QUICKSTART = shipped_folder() / "quickstart.yaml"
# Under the budget of the paper's largest model more can be wrong with references.
LARGE = {
    "limits": {"max_macs": "12.3G", "max_params": "63.2M"},
    "references": ["conv_ms_s", "trans_ms_s", "mlp_ms_s", "hybrid_ms_s"],
}


def quickstart(**changes: Any) -> dict[str, Any]:
    """The shipped search with a larger budget; `search__seed=3` changes one key of a section."""
    plain = yaml.safe_load(QUICKSTART.read_text()) | copy.deepcopy(LARGE)
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            plain.setdefault(section, {})[name] = value
        else:
            plain[section] = value
    return plain


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump(quickstart(**changes), sort_keys=False))
    return path


def load(folder: Path, **changes: Any) -> SearchConfig:
    return load_config(write(folder, **changes))


def mistakes(path: Path) -> list[str]:
    """The lines of the message, without the file and its line, which each must start with."""
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    lines = str(raised.value).splitlines()
    found = [re.fullmatch(rf"{re.escape(str(path))}(?::\d+)?: (.*)", line) for line in lines]
    assert all(found), lines
    return [match[1] for match in found if match]


def test_the_shipped_quickstart_says_what_the_readme_says() -> None:
    config = load_config(QUICKSTART)
    assert config.study == "quickstart"
    assert config.limits == Limits(max_macs=4_500_000_000, max_params=28_000_000)
    assert [objective.name for objective in config.objective_list] == ["accuracy", "macs"]
    assert config.space == SearchSpace.from_yaml(shipped_folder() / "spach_ms.yaml")
    assert config.fidelity.image_size == config.proxy.image_size
    assert config.search.trials >= 24
    assert len(config.references) == 4
    for name in config.references:
        assert config.limits.allow(cost(get_reference(name).architecture))
    assert config.resources.gpus_per_trial == "auto"


def test_the_example_of_the_manual_is_read(tmp_path: Path) -> None:
    resources = {"cpus_per_trial": 1, "gpus_per_trial": 0, "address": "local"}
    config = load(
        tmp_path,
        search={"sampler": "tpe", "trials": 24, "max_duration": "2h", "seed": 0},
        resources=resources,
        limits={"max_macs": "12.3G", "min_macs": 0},
        training={"epochs": 2, "learning_rate": "5e-3"},
    )
    assert config.search.max_duration == 7200
    assert config.training.learning_rate == 0.005
    assert config.resources.gpus_per_trial == 0
    assert config.limits.min_macs == 0


def test_almost_everything_has_a_default(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "{study: a, space: spach_tiny, data: {name: fashion-mini}, search: {trials: 1}}"
    )
    config = load_config(path)
    assert dict(config.objectives) == {"accuracy": "max", "macs": "min"}
    assert config.proxy == ProxyRule()
    assert config.fidelity.image_size == (32, 32)
    assert config.limits == Limits()
    assert config.references == ()


def test_a_reference_named_twice_is_trained_once(tmp_path: Path) -> None:
    config = load(tmp_path, references=["trans_ms_s", "conv_ms_s", "trans_ms_s"])
    assert config.references == ("trans_ms_s", "conv_ms_s")


# Issue by issue: what is changed, and the start of a line of the message.
BAD: list[tuple[dict[str, Any], str]] = [
    (
        {"serach": {}},
        "serach: unknown key; expected callbacks, data, ",
    ),
    (
        {"search__trails": 3},
        "search.trails: unknown key; expected max_duration, sampler, sampler_opt",
    ),
    ({"proxy__with_scale": 1}, "proxy.with_scale: unknown key; expected depth_scale, image_size, "),
    ({"resources__cpus": 1}, "resources.cpus: unknown key; expected address, cpus_per_trial, gpus"),
    (
        {"data__nam": "x"},
        "data.nam: unknown key; expected download, name, root, skip_broken, split",
    ),
    ({"training__epoch": 1}, "training.epoch: unknown key; expected augmentation, batch_size, com"),
    ({"limits__max_mac": 1}, "limits.max_mac: unknown key; expected max_activations, max_latency"),
    ({"study": 2024}, "study: 2024; expected a text"),
    ({"study": "a/b"}, "study: 'a/b'; expected letters, digits, '.', '_' and '-': it names a fol"),
    ({"study": ".."}, "study: '..'; expected letters"),
    ({"study": ""}, "study: ''; expected letters"),
    ({"study": "é"}, "study: 'é'; expected letters"),
    (
        {"space": "spach_mss"},
        "space: spach_mss: no such file; expected a YAML file or ",
    ),
    ({"space": ""}, "space: : no such file; expected"),
    ({"space": "x" * 5000}, "space: xxx"),
    ({"space": "~nobody-here/a.yaml"}, "space: ~nobody-here/a.yaml: no such file"),
    ({"space": "a\0b"}, "space: a\0b: no such file"),
    ({"space": "."}, "space: .: no such file"),
    ({"space": 3}, "space: 3; expected a mapping of keys to values"),
    ({"space": {"patch_size": 4}}, "space.stages: is missing"),
    (
        {"space": str(QUICKSTART)},
        f"space: {QUICKSTART}:4: study: unknown key; expected expansion_ra",
    ),
    ({"limits": 3}, "limits: 3; expected a mapping of keys to values"),
    ({"limits__max_macs": "12 parsecs"}, "limits.max_macs: '12 parsecs'; expected a count such as"),
    ({"limits__max_macs": math.inf}, "limits.max_macs: inf; expected a count such as"),
    ({"limits__max_macs": math.nan}, "limits.max_macs: nan; expected a count such as"),
    ({"limits__max_macs": True}, "limits.max_macs: True; expected a count such as"),
    ({"limits__max_macs": -5}, "limits.max_macs: -5; expected a count such as"),
    ({"limits__min_macs": "13G"}, "limits.min_macs: 13G is above max_macs: 12.3G"),
    (
        {"limits__max_macs": "7G"},
        "references: conv_ms_s: macs 7.141G above max_macs 7G; expected a",
    ),
    ({"limits__max_params": "63M"}, "references: hybrid_ms_s: params 63.03M above max_params 63M"),
    ({"limits__min_params": "40M"}, "references: trans_ms_s: params 39.54M below min_params 40M"),
    ({"references": ["conv_ms_q"]}, "references: unknown model 'conv_ms_q'; expected conv_xxs, tr"),
    ({"references": "conv_ms_s"}, "references: 'conv_ms_s'; expected a list"),
    ({"references": [3]}, "references[0]: 3; expected a text"),
    ({"objectives": {}}, "objectives: []; expected one that is trained for, such as accuracy: max"),
    ({"objectives": {"macs": "min"}}, "objectives: ['macs']; expected one that is trained for"),
    ({"objectives": {"accuracy": "min"}}, "objectives.accuracy: min; expected max"),
    ({"objectives": {"accuracy": "maximise"}}, "objectives.accuracy: 'maximise'; expected max or"),
    ({"objectives": ["accuracy"]}, "objectives: ['accuracy']; expected a mapping of keys to value"),
    ({"objectives__mac": "min"}, "objectives: unknown objective 'mac'; expected accuracy, loss, "),
    ({"data__validation": 1}, "data.validation: 1; expected more than 0 and less than 1"),
    ({"data__validation": math.nan}, "data.validation: nan; expected a finite number"),
    ({"data__split_seed": -1}, "data.split_seed: -1; expected at least 0"),
    ({"data": None}, "data: None; expected a mapping of keys to values"),
    ({"data": {"validation": 0.1}}, "data.name: is missing"),
    (
        {"proxy__image_size": 30},
        "proxy.image_size: 30 with patch_size 2 and 4 stages; expected a m",
    ),
    ({"proxy__image_size": 0}, "proxy.image_size: 0; expected a size such as 32 or 32x48"),
    ({"proxy__image_size": [32, True]}, "proxy.image_size: [32, True]; expected a size such as"),
    ({"proxy__image_size": math.inf}, "proxy.image_size: inf; expected a size such as"),
    ({"proxy__image_size": 16}, "proxy: stages[3].mixers: mlp on 1 positions; expected at least 2"),
    ({"proxy__patch_size": 0}, "proxy.patch_size: 0; expected at least 1"),
    ({"proxy__patch_size": 1}, "proxy.patch_size: 1 with a conv4 stem; expected an even number"),
    ({"proxy__width_scale": 0}, "proxy.width_scale: 0; expected more than 0"),
    ({"proxy__width_scale": math.inf}, "proxy.width_scale: inf; expected a finite number"),
    ({"proxy__depth_scale": 2}, "proxy.depth_scale: 2; expected more than 0 and at most 1"),
    ({"training__epochs": "two"}, "training.epochs: 'two'; expected a whole number"),
    ({"training__epochs": 2.5}, "training.epochs: 2.5; expected a whole number"),
    ({"training__epochs": True}, "training.epochs: True; expected a number"),
    ({"training__epochs": 0}, "training.epochs: 0; expected at least 1"),
    ({"training__epochs": 10**30}, "training.epochs: 1000000000000000000000000000000; expected a"),
    ({"training__data_share": 1.5}, "training.data_share: 1.5; expected more than 0 and at most 1"),
    ({"training__batch_size": 0}, "training.batch_size: 0; expected at least 1"),
    ({"training__learning_rate": 0}, "training.learning_rate: 0; expected more than 0"),
    ({"training__learning_rate": "1e999"}, "training.learning_rate: inf; expected a finite number"),
    ({"training__weight_decay": -1}, "training.weight_decay: -1; expected at least 0"),
    (
        {"training__warmup_share": 1},
        "training.warmup_share: 1; expected at least 0 and less than 1",
    ),
    (
        {"training__label_smoothing": 1},
        "training.label_smoothing: 1; expected at least 0 and less than 1",
    ),
    (
        {"training__drop_path_rate": -0.1},
        "training.drop_path_rate: -0.1; expected at least 0 and less than 1",
    ),
    (
        {"training__device": "gpu"},
        "training.device: 'gpu'; expected auto, cpu, cuda or mps; did yo",
    ),
    (
        {"training__precision": "fp16"},
        "training.precision: 'fp16'; expected auto, fp32 or bf16; di",
    ),
    (
        {"training__augmentation": {"crop_padding": -1}},
        "training.augmentation.crop_padding: -1; ex",
    ),
    (
        {"training__augmentation": {"flips": 1}},
        "training.augmentation.flips: unknown key; expected",
    ),
    (
        {"search__sampler": "nsga"},
        "search.sampler: 'nsga'; expected random, nsga2, tpe, gp, evolution, local or surrogate, a",
    ),
    ({"search__trials": 0}, "search.trials: 0; expected at least 1"),
    ({"search__trials": False}, "search.trials: False; expected a number"),
    ({"search__trials": None}, "search.trials: None; expected a whole number"),
    ({"search__max_duration": "5 eons"}, "search.max_duration: '5 eons'; expected a duration such"),
    ({"search__max_duration": 0}, "search.max_duration: 0; expected more than 0"),
    ({"search__seed": -1}, "search.seed: -1; expected at least 0"),
    ({"search__startup_trials": 0}, "search.startup_trials: 0; expected at least 1"),
    ({"resources__cpus_per_trial": 0}, "resources.cpus_per_trial: 0; expected more than 0"),
    (
        {"resources__gpus_per_trial": -1},
        "resources.gpus_per_trial: -1.0; expected auto, a share of",
    ),
    (
        {"resources__gpus_per_trial": 1.5},
        "resources.gpus_per_trial: 1.5; expected auto, a share of one GPU, or a whole number",
    ),
    (
        {"rungs": {"levels": [{"epochs": 2}]}, "training__epochs": 2},
        "rungs.levels[0].epochs: 2; expected less than the 2 of training.epochs",
    ),
    (
        {"rungs": {"levels": [{"epochs": 1}], "rank": "macs"}, "training__epochs": 2},
        "rungs.rank: 'macs'; expected front or accuracy",
    ),
    ({"init": "best"}, "init: best: has no effect; expected evaluator: inherit, or init.placement"),
    (
        {"init": {"network": "official:a.pth", "placement": 1, "model": "conv_ms"}},
        "init.model: conv_ms; expected the paper's model of the checkpoint: ",
    ),
    (
        {"init": {"network": "best", "model": "conv_ms_s"}, "evaluator": "inherit"},
        "init.model: conv_ms_s; expected none without an official:PATH",
    ),
    ({"init": {"network": "best", "placement": -1}}, "init.placement: -1; expected at least 0"),
    ({"rungs": {"reduction": 1}}, "rungs.reduction: 1; expected at least 2"),
    ({"callbacks": ["wandb", "tensorbord"]}, "callbacks[1]: 'tensorbord'; expected tensorboard"),
    ({"resources__gpus_per_trial": "some"}, "resources.gpus_per_trial: 'some'; expected a number"),
    ({"resources__max_concurrent": 0}, "resources.max_concurrent: 0; expected at least 1"),
    ({"resources__address": ""}, "resources.address: ''; expected local, auto or host:port"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[line[1][:50] for line in BAD])
def test_bad_input_is_told_with_place_value_and_rule(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    lines = mistakes(write(tmp_path, **changes))
    assert any(line.startswith(message) for line in lines), lines


# In a space within the file, the path goes on into it.
BAD_SPACES: list[tuple[dict[str, Any], str]] = [
    ({"heads": 5}, "space.stages[0].width: 16 with 5 heads; expected a multiple of 5"),
    (
        {"image_size": 36},
        "space.image_size: 36 with patch_size 2 and 3 stages; expected a multiple",
    ),
    ({"stem": []}, "space.stem: is an empty choice; expected at least one value"),
    ({"stem": "conv5"}, "space.stem: 'conv5'; expected conv1 or conv4; did you mean"),
    ({"imagesize": 3}, "space.imagesize: unknown key; expected expansion_ratio, heads, image_size"),
    (
        {"image_size": [32, 64]},
        "proxy.image_size: is missing; expected one, since the space has se",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD_SPACES, ids=[x[1][:40] for x in BAD_SPACES])
def test_bad_spaces_within_the_file_are_told(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    space = yaml.safe_load((shipped_folder() / "spach_tiny.yaml").read_text()) | changes
    lines = mistakes(write(tmp_path, space=space, references=[], proxy={}))
    assert any(line.startswith(message) for line in lines), lines


def test_a_bad_space_file_is_told_with_its_name(tmp_path: Path) -> None:
    space = yaml.safe_load((shipped_folder() / "spach_tiny.yaml").read_text())
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(space | {"heads": 5, "stem": "conv5"}))
    (line,) = mistakes(write(tmp_path, space="mine.yaml", references=[]))
    assert re.match(
        rf"space: {re.escape(str(tmp_path / 'mine.yaml'))}:\d+: stem: 'conv5'; expected conv1", line
    )


def test_a_reference_of_another_size_or_without_a_proxy_is_told(tmp_path: Path) -> None:
    tiny = mistakes(write(tmp_path, space="spach_tiny", references=["conv_ms_s"]))
    assert tiny[0].startswith(
        "references: conv_ms_s: is a model for 224 px; expected one for 32 px"
    )
    # Two stages of 28 px are fine, the four of the model are not.
    stages = [{"depth": 1, "width": 32, "mixers": "conv"}] * 2
    space = {"patch_size": 4, "expansion_ratio": 2, "stages": stages}
    (line,) = mistakes(
        write(
            tmp_path,
            space=space,
            proxy={"image_size": 28, "patch_size": 2},
            references=["conv_ms_s", "conv_s"],
        )
    )
    assert line.startswith(
        "references: conv_ms_s: no network has its proxy: image_size: 28x28 with"
    )


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        limits={"max_mac": "12.3G"},
        objectives={"accuracy": "max", "macs": "max", "los": "min"},
        data={"name": "fashion-mini", "validation": 2},
        training={"epochs": 0, "batch_size": 0},
        search={"sampler": "nsga", "trials": 1},
        references=["conv_ms_q", "tranz_ms_s"],
        resources={"cpus_per_trial": 0, "max_concurrent": -1},
    )
    assert [line.split(" ")[0].rstrip(":") for line in mistakes(path)] == [
        *("limits.max_mac", "objectives.macs", "objectives", "data.validation"),
        *("training.epochs", "training.batch_size", "search.sampler", "references", "references"),
        *("resources.cpus_per_trial", "resources.max_concurrent"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: [", "is not YAML: while parsing a flow node"),
        ("", "None; expected a mapping of keys to values"),
        ("- 1", "[1]; expected a mapping of keys to values"),
        ("study: a\nstudy: b", "study: is repeated, first on line 1; expected it once"),
        ("1: 2", "unknown key 1; expected callbacks, data, evaluator"),
    ],
)
def test_a_file_that_is_no_search_is_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    assert any(line.startswith(message) for line in mistakes(path))


def test_a_relative_space_is_beside_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    tiny = (shipped_folder() / "spach_tiny.yaml").read_text()
    (tmp_path / "a" / "mine.yaml").write_text(tiny)
    path = write(tmp_path / "a", space="mine.yaml", references=[])
    monkeypatch.chdir(tmp_path)
    for written in (path, path.relative_to(tmp_path)):
        assert load_config(written).space == SearchSpace.from_dict(yaml.safe_load(tiny))


def test_the_texts_of_a_study_are_those_of_search_and_space(tmp_path: Path) -> None:
    path = write(tmp_path, space="spach_ms")
    assert source_files(path) == {
        "search.yaml": path.read_text(),
        "space.yaml": (shipped_folder() / "spach_ms.yaml").read_text(),
    }
    within = write(tmp_path, space={"patch_size": 4, "expansion_ratio": 2, "stages": []})
    assert list(source_files(within)) == ["search.yaml"]


def test_a_study_goes_by_its_own_copy_of_the_space(tmp_path: Path) -> None:
    path = write(tmp_path, space="gone.yaml", references=[], proxy={})
    tiny = shipped_folder() / "spach_tiny.yaml"
    (tmp_path / "space.yaml").write_text(tiny.read_text())
    # A file of this name that merely lies beside a search is not what the search names.
    assert mistakes(path)[0].startswith("space: gone.yaml: no such file")
    (tmp_path / "records.jsonl").touch()
    assert load_config(path).space == SearchSpace.from_yaml(tiny)
    assert source_files(path)["space.yaml"] == tiny.read_text()


def test_a_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "study: a\n"
        "space: spach_tiny\n"
        "data: {name: fashion-mini}\n"
        "search:\n"
        "  # how many\n"
        "  trials: 0\n"
        "  lr: 1\n"
        "training:\n"
        "  epochs: 2\n"
        "rungs:\n"
        "  levels:\n"
        "    - epochs: 1\n"
        "    - epochz: 2\n"
    )
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    places = [line.split(": ")[:2] for line in str(raised.value).splitlines()]
    assert sorted(places) == sorted(
        [
            [f"{path}:6", "search.trials"],
            [f"{path}:7", "search.lr"],
            [f"{path}:13", "rungs.levels[1].epochz"],
        ]
    )
    # What depends on two keys is told with the line of the one that it names.
    path.write_text(
        "study: a\nspace: spach_tiny\ndata: {name: fashion-mini}\nsearch: {trials: 1}\n"
        "rungs:\n  levels:\n    - epochs: 2\n"
    )
    with pytest.raises(
        ConfigError, match=rf"^{re.escape(str(path))}:7: rungs.levels\[0\].epochs: 2"
    ):
        load_config(path)
