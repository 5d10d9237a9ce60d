"""What YAML 1.1 makes of numbers and words, and what a person meant."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from search_tools import write_search
from spach_nas.config.recipe import load_recipe
from spach_nas.config.search_yaml import load_config
from spach_nas.errors import ConfigError
from spach_nas.validation import read_yaml


def read(folder: Path, text: str) -> Any:
    path = folder / "x.yaml"
    path.write_text(text)
    return read_yaml(path, error=ConfigError)


@pytest.mark.parametrize("number", ["010", "08", "007", "-010", "0_10"])
def test_an_octal_number_is_told(tmp_path: Path, number: str) -> None:
    decimal = int(number.replace("_", ""))
    expected = rf"x.yaml:1: a\[1\].b: {number}; expected {decimal}, or '{number}' in quotes"
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, f"a: [1, {{b: {number}}}]")


@pytest.mark.parametrize("word", ["no", "Yes", "on", "OFF", "1:30", "1:30.5", "2024-01-31", "010x"])
def test_a_word_stays_a_word(tmp_path: Path, word: str) -> None:
    assert read(tmp_path, f"{word}: [{word}]") == {word: [word]}


@pytest.mark.parametrize(
    "text",
    [
        *("0", "10", "-3", "+4", "1_000", "0x1F", "0b11", "1.5", ".5", "2.", "1.0e-3", "-.inf"),
        *("true", "False", "null", "~", "1e-3", "a", "'010'", "'no'", "!!int '3'", "[1, {a: b}]"),
        "",
    ],
)
def test_everything_else_is_read_as_before(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == yaml.safe_load(text)


@pytest.mark.parametrize("value", ["no", "on", "1:30", "2024-01-31", "010", "1e-3", 3, 0.5, True])
def test_what_is_written_is_read_again(tmp_path: Path, value: object) -> None:
    assert read(tmp_path, yaml.safe_dump({"a": value})) == {"a": value}


def test_a_time_of_day_is_no_duration(tmp_path: Path) -> None:
    path = write_search(tmp_path, search__max_duration=90)
    path.write_text(path.read_text().replace("max_duration: 90", "max_duration: 1:30"))
    with pytest.raises(ConfigError, match=re.escape("search.max_duration: '1:30'; expected a dur")):
        load_config(path)


def test_yes_is_true_where_a_key_wants_true_or_false(tmp_path: Path) -> None:
    path = write_search(tmp_path, data__download=True)
    path.write_text(path.read_text().replace("download: true", "download: yes"))
    assert load_config(path).data.download is True
    path.write_text(path.read_text().replace("study: small", "study: no"))
    assert load_config(path).study == "no"


def test_recipes_are_read_alike() -> None:
    with pytest.raises(ConfigError, match="--set epochs=010: 010; expected 10"):
        load_recipe("short", changes=["epochs=010"])
    assert load_recipe("short", changes=["ema.warmup=off"]).ema.warmup is False
