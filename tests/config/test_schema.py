"""The JSON Schema of the YAML files, held against the reader of the files."""

import copy
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from pydantic import TypeAdapter, ValidationError

from conftest import run_main
from own_mixer import forget, write_example
from spach_nas.config.schema import search_schema, space_schema
from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.config.shipped import shipped_folder, shipped_names
from spach_nas.errors import ConfigError
from spach_nas.space.mixers import mixer_names
from spach_nas.space.search_space import SearchSpace

SEARCH = TypeAdapter(SearchConfig)
Path_ = tuple[str | int, ...]
SMALL: dict[str, Any] = {
    "study": "small",
    "space": {
        "image_size": 64,
        "patch_size": 2,
        "expansion_ratio": 2,
        "heads": 1,
        "stages": [{"depth": 2, "width": 16, "mixers": "conv"}],
    },
    "data": {"name": "fashion-mini"},
    "training": {"epochs": 10_000_000},
    "search": {"trials": 2},
}
VALUES: list[Any] = [
    *(-1, 0, 0.5, 1, 1.5, 2, 64, 201, 10**6, True, None, [], [1], [2, 2], [4, 2], ["conv"], {}),
    *(
        "",
        "64M",
        "1.5x",
        "5m",
        "5min",
        "5y",
        "5us",
        "64x32",
        "64x",
        "conv",
        "conv1",
        "tpe",
        "GPSampler",
    ),
    *("auto", "front", "loss", "a b", "max", ["conv_ms_s"], ["conv_ms"], ["mlflow"]),
    *({"from": 1, "to": 3}, {"from": 1}, {"from": 1, "to": 3, "by": 1}, {"times": 2}, {"times": 0}),
    *({"width_per_head": 4}, {"width_per_head": 0}, {"width_per_head": 4, "of": "stage"}),
    *({"leading": "conv", "trailing": ["mlp"]}, {"leading": "conv"}, {"accuracy": "max"}),
    *({"macs": "min"}, {"loss": "max"}, {"nonsense": 1}),
]
# What only the reader finds: it depends on other keys, on files, or on the order of a range.
READER_ONLY = {
    *(("space",), ("space", "image_size"), ("space", "patch_size"), ("space", "heads")),
    *(("space", "expansion_ratio"), ("space", "heads", "width_per_head"), ("rungs", "rank")),
    *(("space", "stages", 0, key) for key in ("width", "heads", "mixers")),
    ("space", "stages", 0, "heads", "width_per_head"),
    *(("proxy", "image_size"), ("proxy", "patch_size"), ("rungs", "levels", 0, "epochs")),
    *(("rungs", "levels", 0, "image_size"), ("references",)),
    ("proxy_limits", "max_latency"),
    ("objectives", "score"),
}

# The options of an evaluator depend on its name, and those of a beginning on what it begins with.
DEPENDENT = ("evaluator", "init", "teacher")


def keys(node: dict[str, Any], path: Path_ = ()) -> Iterator[tuple[Path_, dict[str, Any]]]:
    """Every key that a schema knows, with what it says of it."""
    for part in (node, *node.get("anyOf", ())):
        for name, inner in part.get("properties", {}).items():
            yield (*path, name), inner
            yield from keys(inner, (*path, name))
        if isinstance(part.get("items"), dict):
            yield from keys(part["items"], (*path, 0))


SCHEMA = search_schema()
# How ranges are written is tested with the key that takes one.
NODES = {path: node for path, node in keys(SCHEMA) if not {"from", "to", "step"} & {*path}}
# What a mapping needs besides the key that is set.
BESIDES: dict[str, dict[str, Any]] = {
    "levels": {"epochs": 1},
    "mixers": {"leading": "conv", "trailing": "conv"},
}


def put(path: Path_, value: Any) -> dict[str, Any]:
    """The small search with one key set."""
    data = copy.deepcopy(SMALL)
    at: Any = data
    for key, following in itertools.pairwise(path):
        inner = dict(BESIDES.get(str(key), {}))
        empty: Any = [inner] if following == 0 else inner
        if isinstance(key, str) and not isinstance(at.get(key), type(empty)):
            at[key] = empty
        at = at[key]
    at[path[-1]] = value
    return data


def is_read(data: dict[str, Any]) -> bool:
    try:
        SEARCH.validate_python(data, context={"folder": Path.cwd()})
    except (ValidationError, ConfigError):
        return False
    return True


def id_of(path: Path_) -> str:
    return ".".join(map(str, path))


@pytest.mark.parametrize("path", NODES, ids=id_of)
def test_the_schema_and_the_reader_take_and_refuse_the_same_values(path: Path_) -> None:
    check = Draft7Validator(NODES[path])
    for value in VALUES:
        valid, read = check.is_valid(value), is_read(put(path, value))
        if valid and not read:
            assert path in READER_ONLY or {"times", *DEPENDENT} & {*path}, value
        # Pydantic takes 0 and 1 for false and true; a file should not say it so.
        if read and not valid:
            assert value in (0, 1, [1]) and isinstance(value, int | list), value


def test_the_small_search_is_taken_by_both() -> None:
    assert Draft7Validator(SCHEMA).is_valid(SMALL) and is_read(copy.deepcopy(SMALL))


def test_the_schemas_are_schemas() -> None:
    for schema in (search_schema(), space_schema()):
        Draft7Validator.check_schema(schema)
        json.dumps(schema, allow_nan=False)


def test_the_keys_are_those_that_the_reader_knows() -> None:
    theirs = SEARCH.json_schema()
    ours = [
        set(part["properties"])
        for node in (SCHEMA, *NODES.values())
        for part in (node, node.get("items", {}), *node.get("anyOf", ()))
        if "properties" in part
    ]
    for name, node in {**theirs["$defs"], "SearchConfig": theirs}.items():
        if name != "PerBlock":  # written as a list or a name
            assert set(node["properties"]) in ours, name


def test_no_key_lacks_a_description() -> None:
    texts = {id_of(path): node.get("description", "") for path, node in NODES.items()}
    assert len(texts) > 70
    assert [name for name, text in texts.items() if not re.fullmatch(r"\S.{9,}\.", text)] == []
    # Written for a reader of YAML, not of Python.
    assert [name for name, text in texts.items() if "None:" in text or "None means" in text] == []


@pytest.mark.parametrize(
    "name", [name for name in shipped_names() if not name.startswith("rediscover")]
)
def test_shipped_files_are_valid_and_a_wrong_key_is_not(name: str) -> None:
    path = shipped_folder() / f"{name}.yaml"
    data = yaml.safe_load(path.read_text())
    check = Draft7Validator(search_schema() if "study" in data else space_schema())
    assert list(check.iter_errors(data)) == []
    [error] = check.iter_errors(data | {"imagesize": 3})
    assert "imagesize" in error.message


def test_a_wrong_key_deep_inside_is_refused_by_both(tmp_path: Path) -> None:
    data = put(("training", "augmentation", "flipp"), True)
    [error] = Draft7Validator(SCHEMA).iter_errors(data)
    assert list(error.absolute_path) == ["training", "augmentation"]
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match="flipp"):
        load_config(path)


def test_defaults_are_those_of_the_reader() -> None:
    # Every default written out gives the search that leaves all of them out.
    def filled(node: dict[str, Any], given: Any) -> Any:
        if "properties" not in node or not isinstance(given, dict):
            return given
        known = node["properties"]
        defaults = {name: item["default"] for name, item in known.items() if "default" in item}
        return {
            name: filled(known[name], value)
            for name, value in copy.deepcopy(defaults | given).items()
        }

    full = filled(SCHEMA, SMALL)
    assert full["training"]["augmentation"]["crop_padding"] == 0
    space = filled(space_schema(), SMALL["space"])
    assert space["stem"] == "conv1"
    assert SearchSpace.from_dict(space) == SearchSpace.from_dict(SMALL["space"])
    del full["space"], full["search"]["warm_start"], full["data"]["root"]
    plain = {key: value for key, value in SMALL.items() if key != "space"}
    context = {"folder": Path.cwd()}
    assert SEARCH.validate_python(full | {"space": space}, context=context) == (
        SEARCH.validate_python(plain | {"space": SMALL["space"]}, context=context)
    )


@pytest.mark.parametrize("name", ["search", "space"])
def test_the_command_prints_the_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("schema", name) == (0, [])
    expected = {"search": search_schema, "space": space_schema}[name]()
    assert json.loads(capsys.readouterr().out) == expected


def test_mixers_and_options_of_a_plugin_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forget(monkeypatch)
    write_example(tmp_path)
    monkeypatch.chdir(tmp_path)
    data = yaml.safe_load((tmp_path / "pooled.yaml").read_text())
    assert not Draft7Validator(search_schema()).is_valid(data)
    assert run_main("schema", "search", "--plugin", "my_mixers") == (0, [])
    assert "pool" in mixer_names()
    check = Draft7Validator(json.loads(capsys.readouterr().out))
    assert check.is_valid(data)
    data["space"]["options"]["pool_size"] = 4
    assert not check.is_valid(data)
