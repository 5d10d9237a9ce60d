import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, TypeAdapter

from spach_nas.errors import ConfigError, SpachNasError, did_you_mean, one_line, one_of
from spach_nas.units import Whole
from spach_nas.validation import read_yaml, validate

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    __pydantic_config__ = STRICT

    size: Whole = 1
    share: float = 0.5
    flag: bool = True
    colour: Literal["red", "green"] = "red"
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"size: {self.size}; expected at least 1\nshare: also bad")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    __pydantic_config__ = STRICT

    name: str
    leaf: Leaf = field(default_factory=Leaf)
    leaves: tuple[Leaf, ...] = ()
    either: Annotated[Leaf | int, "no discriminator"] = 0


ADAPTER = TypeAdapter(Tree)


def mistakes(data: Any) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        validate(ADAPTER, data, where="f.yaml", error=ConfigError)
    return str(raised.value).splitlines()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (None, "f.yaml: None; expected a mapping of keys to values"),
        ([1], "f.yaml: [1]; expected a mapping of keys to values"),
        ({}, "f.yaml: name: is missing"),
        ({"name": 3}, "f.yaml: name: 3; expected a text"),
        ({"name": "a", "leaf": 3}, "f.yaml: leaf: 3; expected a mapping of keys to values"),
        ({"name": "a", "leaf": {"size": 1.5}}, "f.yaml: leaf.size: 1.5; expected a whole number"),
        ({"name": "a", "leaf": {"size": True}}, "f.yaml: leaf.size: True; expected a number"),
        ({"name": "a", "leaf": {"share": "x"}}, "f.yaml: leaf.share: 'x'; expected a number"),
        ({"name": "a", "leaf": {"flag": 3}}, "f.yaml: leaf.flag: 3; expected true or false"),
        ({"name": "a", "leaf": {"path": 3}}, "f.yaml: leaf.path: 3; expected a path"),
        ({"name": "a", "leaves": "x"}, "f.yaml: leaves: 'x'; expected a list"),
        (
            {"name": "a", "leaves": [{}, {"colour": "gren"}]},
            "f.yaml: leaves[1].colour: 'gren'; expected red or green; did you mean 'green'?",
        ),
        (
            {"name": "a", "leaves": [{"colou": 1}]},
            "f.yaml: leaves[0].colou: unknown key; expected colour, flag, path, share or size; "
            "did you mean 'colour'?",
        ),
        (
            {"name": "a", "nmae": 1},
            "f.yaml: nmae: unknown key; expected either, leaf, leaves or name; "
            "did you mean 'name'?",
        ),
        (
            {"name": "a", 1: 2},
            "f.yaml: unknown key 1; expected either, leaf, leaves or name",
        ),
        (
            {"name": "a", "leaf": {None: 2}},
            "f.yaml: leaf: unknown key None; expected colour, flag, path, share or size",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_value_and_rule(data: Any, line: str) -> None:
    assert mistakes(data) == [line]


def test_mistakes_of_our_own_types_are_told_with_the_whole_path() -> None:
    assert mistakes({"name": "a", "leaves": [{"size": 0}]}) == [
        "f.yaml: leaves[0].size: 0; expected at least 1",
        "f.yaml: leaves[0].share: also bad",
    ]


def test_a_line_that_only_looks_like_a_key_is_no_path() -> None:
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Other:
        leaf: Leaf

        def __post_init__(self) -> None:
            raise ConfigError("file.yaml: no such file\nleaf.size: odd")

    with pytest.raises(ConfigError) as raised:
        validate(TypeAdapter(tuple[Other, ...]), [{"leaf": {}}], where="f", error=ConfigError)
    assert str(raised.value).splitlines() == [
        "f: [0]: file.yaml: no such file",
        "f: [0].leaf.size: odd",
    ]


def test_all_mistakes_are_told_at_once() -> None:
    lines = mistakes({"leaf": {"size": "x", "colour": "blue"}, "leaves": [{"a": 1}, {"b": 2}]})
    assert len(lines) == 5
    assert all(line.startswith("f.yaml: ") for line in lines)


def test_the_branches_of_a_union_are_no_part_of_a_path() -> None:
    lines = mistakes({"name": "a", "either": {"size": "x"}})
    assert "f.yaml: either.size: 'x'; expected a whole number" in lines
    assert not any("Leaf" in line for line in lines)


def test_a_long_value_is_cut() -> None:
    (line,) = mistakes({"name": list(range(1000))})
    assert len(line) < 120


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "is not YAML: while parsing a flow sequence"),
        (b"a: b: c", "is not YAML: mapping values are not allowed here"),
        (b"\xff\xfe\x00a", "is not text; expected a YAML file"),
        (b"a: \x00", "is not YAML: unacceptable character"),
        (b"a: " + b"9" * 5000, "is not YAML: Exceeds the limit"),
        (b"[" * 20_000, "is nested too deeply"),
        (b"? [1, 2]\n: 3", "is not YAML: while constructing a mapping"),
        (b"a: 1\nb: 2\na: 3", "a: is repeated, first on line 1; expected it once"),
        (b"a:\n- {b: 1, c: 2, b: 1}", "a[0].b: is repeated, first on line 2; expected it once"),
        (b"a: &a [*a]", "is nested too deeply"),
        (
            b"a: !!python/object/apply:os.getcwd []",
            "is not YAML: could not determine a constructor",
        ),
        (b"a: 1\n---\nb: 2", "is not YAML: expected a single document"),
    ],
)
def test_a_file_that_is_no_yaml_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        read_yaml(path, error=ConfigError)
    assert re.match(rf"{re.escape(str(path))}(:\d+)?: {re.escape(message)}", str(raised.value))
    assert "\n" not in str(raised.value)


def test_aliases_of_aliases_cannot_fill_the_memory(tmp_path: Path) -> None:
    names = "abcdefghi"
    lines = ["a: &a [1,1,1,1,1,1,1,1,1]"]
    lines += [f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in itertools.pairwise(names)]
    path = tmp_path / "f.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="holds more than 20000 values"):
        read_yaml(path, error=ConfigError)


def test_plain_aliases_are_read(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("a: &a {b: 1}\nc: *a\nd: {<<: *a, e: é}\n", encoding="utf-8")
    found = read_yaml(path, error=ConfigError)
    assert found == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": "é"}}


def test_an_empty_file_is_no_mapping(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("")
    assert mistakes(read_yaml(path, error=ConfigError)) == [
        "f.yaml: None; expected a mapping of keys to values"
    ]


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(SpachNasError, match="No such file or directory; expected a YAML file"):
        read_yaml(tmp_path / "none.yaml", error=ConfigError)
    with pytest.raises(SpachNasError, match="Is a directory; expected a YAML file"):
        read_yaml(tmp_path, error=ConfigError)


def test_names_are_listed_and_near_misses_named() -> None:
    assert one_of(["a", "b", "c"]) == "a, b or c"
    assert one_of(["a"]) == "a"
    assert one_of([]) == ""
    assert did_you_mean("atention", ["conv", "attention"]) == "; did you mean 'attention'?"
    assert did_you_mean("zzz", ["conv", "attention"]) == ""


@pytest.mark.parametrize(
    ("problem", "whole", "named", "first"),
    [
        (OSError("no room"), "no room", "OSError: no room", "no room"),
        (EOFError(), "EOFError", "EOFError", "EOFError"),
        (KeyError(""), "''", "KeyError: ''", "''"),
        (
            ValueError("\n  bad\tkey:\n\n at 3\n"),
            "bad key: at 3",
            "ValueError: bad key: at 3",
            "bad key:",
        ),
    ],
    ids=["plain", "silent", "quoted", "lines"],
)
def test_a_foreign_error_is_one_line(
    problem: Exception, whole: str, named: str, first: str
) -> None:
    assert one_line(problem) == whole
    assert one_line(problem, named=True) == named
    assert one_line(problem, first=True) == first


@pytest.mark.parametrize("length", [400, 500, 501, 10**6])
def test_a_foreign_error_has_an_end(length: int) -> None:
    line = one_line(ValueError("x" * length))
    assert len(line) == min(length, 500)
    assert line.endswith("...") == (length > 500)
