"""What the documentation shows is legal, whole and in its place."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

import spach_nas
from documents import DOCS, Block, blocks, pages
from scripts import load_script
from spach_nas.config.schema import search_schema, space_schema
from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.config.shipped import shipped_folder
from spach_nas.cost.closed_form import cost
from spach_nas.space.search_space import SearchSpace

pytestmark = pytest.mark.published

QUICKSTART = shipped_folder() / "quickstart.yaml"
# What needs a module of the page, has mistakes on purpose, or is a recipe: they have own tests.
OWN_TESTS = {
    *("own_mixer.md", "own_sampler.md", "evaluators.md", "train.md", "rediscover.md"),
    "broken.yaml",
}

YAML = [
    pytest.param(path, block, id=f"{path.stem}-{block.line}")
    for path in pages()
    for block in blocks(path)
    if block.language == "yaml" and not {path.name, block.file} & OWN_TESTS
]
NOT_RUN = ("tutorial_gpu", "tutorial_cluster", "tutorial_imagenet")


def site_config() -> dict[str, Any]:
    return yaml.safe_load((DOCS / "site" / "mkdocs.yml").read_text(encoding="utf-8"))


def write_files(path: Path, folder: Path) -> None:
    """All files that a page tells its reader to write."""
    for block in blocks(path):
        if block.file:
            (folder / block.file).write_text(block.text)


def read(path: Path, block: Block, folder: Path) -> SearchConfig:
    """The search of a block; one that is a part of a search is read within the quickstart."""
    write_files(path, folder)
    data = yaml.safe_load(block.text)
    if "study" not in data:
        data = yaml.safe_load(QUICKSTART.read_text()) | data
    file = folder / "search_of_the_block.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return load_config(file)


@pytest.mark.parametrize(("path", "block"), YAML)
def test_yaml_of_a_page_is_legal(path: Path, block: Block, tmp_path: Path) -> None:
    data = yaml.safe_load(block.text)
    if data is None:  # a comment alone
        assert "$schema=" in block.text
    elif "stages" in data:
        assert SearchSpace.from_dict(data).size() > 1
        assert list(Draft7Validator(space_schema()).iter_errors(data)) == []
    else:
        assert read(path, block, tmp_path)
        schema = search_schema() if "study" in data else search_schema() | {"required": []}
        assert list(Draft7Validator(schema).iter_errors(data)) == []


@pytest.mark.parametrize("name", NOT_RUN)
def test_a_search_that_nobody_ran_here_has_architectures_and_says_so(
    name: str, tmp_path: Path
) -> None:
    path = DOCS / f"{name}.md"
    assert 'note "What was not run"' in path.read_text(encoding="utf-8")
    searches = [block for block in blocks(path) if block.language == "yaml"]
    assert searches
    for block in searches:
        config = read(path, block, tmp_path)
        drawn = (cost(config.space.sample(seed)) for seed in range(3000))
        assert any(config.limits.allow(found) for found in drawn)


@pytest.mark.parametrize("page", ["index.md", "search_yaml.md"])
def test_the_first_search_of_a_page_is_the_shipped_one(page: str, tmp_path: Path) -> None:
    path = DOCS / page
    block = next(block for block in blocks(path) if block.language == "yaml")
    assert read(path, block, tmp_path) == load_config(QUICKSTART)


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.stem)
def test_python_of_a_page_is_python(path: Path) -> None:
    for block in blocks(path):
        if block.language == "python":
            ast.parse(block.text)


def test_every_page_is_in_the_navigation() -> None:
    named = re.findall(r"[\w/]+\.md", str(site_config()["nav"]))
    made = {"reference_search.md", "reference_space.md", "reference_commands.md"}
    assert sorted(named) == sorted({path.name for path in pages()} | made)


def test_the_site_asks_no_other_server() -> None:
    config = site_config()
    assert config["theme"]["font"] is False
    # With an address of a repository the theme asks its server for stars.
    assert not {"repo_url", "extra_javascript"} & set(config)
    assert not any("://" in str(path) for path in config["extra_css"])


def test_the_python_reference_holds_every_public_name() -> None:
    shown = set(re.findall(r"^::: ([\w.]+)$", (DOCS / "api.md").read_text(), re.MULTILINE))
    for path in shown:
        module, _, name = path.rpartition(".")
        file = DOCS.parent / f"{module.replace('.', '/')}.py"
        assert re.search(
            rf"^(def|class) {name}\b|^{name}\b.* = ", file.read_text(), re.MULTILINE
        ), path
    names = {path.rpartition(".")[2] for path in shown}
    assert set(spach_nas.__all__) - {"__version__"} <= names


def keys_of(node: dict[str, Any], path: str = "") -> set[str]:
    found = set()
    for part in (node, *node.get("anyOf", ()), node.get("items", {})):
        keys = part.get("properties", {})
        # One of several kinds of mapping, which are described at the top of the file.
        kind = keys.get("name", {}).get("const")
        if kind and path.count(".") > 1:
            continue
        prefix = f"{path}{kind}." if kind else path
        for name, inner in keys.items():
            if name not in ("from", "to", "step") and "const" not in inner:
                found |= {prefix + name, *keys_of(inner, f"{prefix}{name}.")}
    return found


@pytest.mark.parametrize("name", ["search", "space"])
def test_the_yaml_reference_holds_every_key(name: str) -> None:
    made = load_script(DOCS / "site" / "pages.py")
    text = "\n".join(made._search_page() if name == "search" else made._space_page())
    shown = re.findall(r"^#### `(\w+)` \{ #([\w-]+) \.key \}\n\n(.+) · (.+)\n", text, re.MULTILINE)
    found = {anchor.replace("-", ".") for _, anchor, _, _ in shown}
    assert len(found) == len(shown)
    same = set(re.findall(r"The same as \[those of `(\w+)`\]", text))
    expected = keys_of(search_schema() if name == "search" else space_schema())
    missing = {key for key in expected - found if not key.startswith("space.")}
    assert all(same and key.startswith("proxy_limits.") for key in missing), missing
    assert found <= expected
    for key, _, kind, default in shown:
        assert kind and re.fullmatch(r"required|optional|default `.+`", default), key


def test_the_yaml_reference_tells_defaults_and_legal_values() -> None:
    text = "\n".join(load_script(DOCS / "site" / "pages.py")._search_page())
    for expected in (
        "whole number, at least 1 · default `32`\n",  # training.batch_size
        "number, more than 0 and less than 1 · optional\n",  # data.validation
        "one of `front`, `accuracy`, `loss`, `score` · default `front`\n",
        "default `{accuracy: max, macs: min}`\n",
        "whole number, at least 1 · required\n",  # search.trials
    ):
        assert expected in text, expected
