"""The worked example of docs/own_sampler.md, and plugins that bring in samplers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import spach_nas
from conftest import run_main
from search_tools import drive, make_study, write_search
from spach_nas.config import plugins, sampler_registry
from spach_nas.config.plugins import load_plugins
from spach_nas.config.sampler_registry import SAMPLERS, SamplerSpec, get_sampler
from spach_nas.cost.closed_form import cost
from spach_nas.errors import PluginError

DOCUMENT = Path(__file__).parents[2] / "docs" / "own_sampler.md"


def blocks(language: str) -> list[str]:
    """The code blocks of one language, in the order of the document."""
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the example in it and nothing brought in."""
    monkeypatch.setattr(SAMPLERS, "known", dict(SAMPLERS))
    monkeypatch.setattr(plugins, "brought_in", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "my_samplers", sys)
    monkeypatch.delitem(sys.modules, "my_samplers")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_samplers.py").write_text(blocks("python")[0])
    return tmp_path


@pytest.mark.parametrize("name", ["crossing", "many"])
def test_the_samplers_of_the_document_search(example: Path, name: str) -> None:
    load_plugins(["my_samplers"])
    study = make_study(example, search__sampler=name, search__trials=16)
    asked = drive(study)
    assert len({request.architecture.arch_id for request in asked}) == 16
    assert all(cost(request.architecture).macs <= 1_200_000 for request in asked)


def test_the_yaml_of_the_document_is_a_search(example: Path) -> None:
    load_plugins(["my_samplers"])
    given = yaml.safe_load(blocks("yaml")[0])["search"]
    study = make_study(example, search=given)
    assert study.config.search.sampler == "crossing"
    assert study.config.search.sampler_options == {"parents": 4}


def test_the_mistake_of_the_document_is_said_so(example: Path) -> None:
    options = {"parent": 4}
    path = write_search(example, search__sampler="crossing", search__sampler_options=options)
    path.rename("my_search.yaml")
    command = blocks("bash")[0].split()[1:]
    code, lines = run_main(*command, "--dry-run")
    assert code == 2
    assert [line.removeprefix(f"{example}/") for line in lines] == blocks("text")[0].splitlines()


def test_a_module_of_samplers_alone_is_a_plugin(example: Path) -> None:
    load_plugins(["my_samplers"])
    assert get_sampler("crossing").factory == "my_samplers:Crossing"
    assert not get_sampler("crossing").remembers
    # Also where something else imported it before.
    plugins.brought_in.clear()
    load_plugins(["my_samplers"])


def test_a_plugin_may_name_a_factory_of_another_module(example: Path) -> None:
    (example / "my_samplers.py").write_text(
        "from spach_nas.config.sampler_registry import SamplerSpec, register_sampler\n"
        "register_sampler(SamplerSpec(name='other', factory='elsewhere:make'))"
    )
    load_plugins(["my_samplers"])
    assert get_sampler("other").factory == "elsewhere:make"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "registers no mixer, sampler, ",
        ),
        (
            "register_sampler(SamplerSpec(name='nsga2', factory='my_samplers:make'))",
            "sampler 'nsga2' is registered already; expected another name",
        ),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero; expected a module in"),
    ],
)
def test_a_plugin_that_brings_in_no_sampler_is_explained(
    example: Path, text: str, message: str
) -> None:
    head = "from spach_nas.config.sampler_registry import SamplerSpec, register_sampler\n"
    (example / "my_samplers.py").write_text(head + text)
    with pytest.raises(PluginError) as raised:
        load_plugins(["my_samplers"])
    assert str(raised.value).startswith(f"plugin my_samplers: {message}")


def test_registering_the_same_again_changes_nothing() -> None:
    spec = SamplerSpec(name="again", factory="my_samplers:many")
    sampler_registry.register_sampler(spec)
    sampler_registry.register_sampler(SamplerSpec(name="again", factory="my_samplers:many"))
    assert get_sampler("again") is spec


@pytest.mark.parametrize(
    ("text", "asked", "expected"),
    [
        (None, "has_sampler('crossing'), get_sampler('many').name", "(True, 'many')"),
        (None, "has_sampler('nobody'), 'my_samplers' in sys.modules", "(False, True)"),
        ("1 / 0", "has_sampler('nsga2'), has_sampler('tpe')", "(True, True)"),
        (
            "1 / 0",
            "has_sampler('crossing')",
            "plugin my_samplers (installed): cannot be imported: ZeroDivisionError: division by",
        ),
        (
            "from spach_nas.config.sampler_registry import *\n"
            "register_sampler(SamplerSpec(name='tpe', factory='my_samplers:make'))",
            "has_sampler('crossing')",
            "plugin my_samplers (installed): sampler 'tpe' is registered already; expected another",
        ),
    ],
)
def test_an_installed_package_brings_in_its_samplers_by_an_entry_point(
    example: Path, text: str | None, asked: str, expected: str
) -> None:
    if text is not None:
        (example / "my_samplers.py").write_text(text)
    metadata = example / "tiny-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    toml = blocks("toml")[0].replace('"', "").replace("[project.entry-points.", "[")
    (metadata / "entry_points.txt").write_text(toml)
    code = (
        "import sys\n"
        "from spach_nas.errors import PluginError\n"
        "from spach_nas.config.sampler_registry import get_sampler, has_sampler\n"
        "print(has_sampler('nsga2') and 'my_samplers' in sys.modules)\n"  # not before it is needed
        f"try:\n    print(({asked}))\nexcept PluginError as problem:\n    print(problem)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{example}:{Path(spach_nas.__file__).parents[1]}"},
    )
    first, second = done.stdout.splitlines()
    assert first == "False"
    assert second.startswith(expected)
