"""What all registries promise: mixers, samplers, objectives."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spach_nas import registry as module
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.plugins import REGISTRIES, load_plugins
from spach_nas.config.sampler_registry import SAMPLERS, SamplerSpec
from spach_nas.config.search_yaml import parse_config
from spach_nas.cost.closed_form import cost
from spach_nas.errors import ConfigError, PluginError
from spach_nas.registry import Registry
from spach_nas.replay.regrets import strategies
from spach_nas.space.references import get_reference


@dataclass(frozen=True)
class Entry:
    name: str
    figure: int = 0


def colours() -> Registry[Entry]:
    found: Registry[Entry] = Registry("colour", error=ConfigError)
    found.register(Entry("red"))
    found.register(Entry("green"))
    return found


def test_a_name_is_found_and_an_unknown_one_is_told_with_the_nearest() -> None:
    found = colours()
    assert found.find("green") == Entry("green")
    assert list(found) == ["red", "green"] == list(found.names())
    with pytest.raises(ConfigError, match="unknown colour 'gren'; expected red or green; did you"):
        found.find("gren")
    with pytest.raises(ConfigError, match="unknown colour"):
        found.find(["red"])  # type: ignore[arg-type]


def test_a_name_is_taken_but_by_the_same_entry() -> None:
    found = colours()
    found.register(Entry("red"))
    with pytest.raises(ConfigError, match="colour 'red' is registered already"):
        found.register(Entry("red", figure=1))
    assert found["red"] == Entry("red")


def test_an_installed_package_brings_in_entries_when_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "more_shades.py").write_text("import shades\nshades.add()\n")
    (tmp_path / "shades.py").write_text("add = lambda: None\n")
    monkeypatch.syspath_prepend(tmp_path)
    import shades  # type: ignore[import-not-found]

    found: Registry[Entry] = Registry("shade")
    shades.add = lambda: found.register(Entry("grey"))

    def entry_points(*, group: str) -> list[EntryPoint]:
        return [EntryPoint(name="x", value="more_shades", group=group)]

    monkeypatch.setattr(module, "entry_points", entry_points)
    assert "grey" not in found
    assert found.find("grey") == Entry("grey")


@pytest.mark.parametrize("known", REGISTRIES, ids=lambda known: known.kind)
def test_every_registry_names_its_kind_and_finds_its_own(known: Registry[Any]) -> None:
    assert known.kind.isalpha()
    assert known
    assert all(known.find(name).name == name for name in known.names())


def test_an_objective_of_a_plugin_is_optimised_and_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(OBJECTIVES, "known", dict(OBJECTIVES))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "norms_too.py").write_text(
        "from spach_nas.config.objectives import OBJECTIVES, Objective\n"
        "OBJECTIVES.register(Objective(name='macs_with_norms', label='MACs and norms',\n"
        "    direction='min', source='target_cost', unit='count'))\n"
    )
    load_plugins(["norms_too"])
    plain = {
        "study": "a",
        "space": "spach_tiny",
        "objectives": {"accuracy": "max", "macs_with_norms": "min"},
        "data": {"name": "fashion-mini"},
        "search": {"trials": 1},
    }
    config = parse_config(plain, where="test", folder=tmp_path)
    assert [item.name for item in config.objective_list] == ["accuracy", "macs_with_norms"]
    figures = cost(get_reference("conv_xxs").architecture)

    record = SimpleNamespace(target_cost=figures, objectives={}, curve=())
    assert OBJECTIVES["macs_with_norms"].of(record) == figures.macs_with_norms
    plain["objectives"] = {"accuracy": "max", "macs_with_norms": "max"}
    with pytest.raises(ConfigError, match=r"objectives\.macs_with_norms: max; expected min"):
        parse_config(plain, where="test", folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "number", "words"),
    [
        ("accuracy", 0.8125, "81.3%"),
        ("loss", 0.53125, "0.5312"),
        ("macs", 12_180_000_000, "12.18G"),
        ("latency", 3.25, "3.25 ms"),
    ],
)
def test_an_objective_says_how_its_values_are_written(name: str, number: float, words: str) -> None:
    assert OBJECTIVES[name].words(number) == words


def test_a_figure_that_is_not_finite_is_none() -> None:
    figures = cost(get_reference("conv_xxs").architecture)
    record = SimpleNamespace(target_cost=figures, objectives={"loss": float("nan")}, curve=())
    assert OBJECTIVES["loss"].of(record) is None
    assert OBJECTIVES["accuracy"].of(record) is None
    assert OBJECTIVES["params"].of(record) == figures.params


def test_a_module_that_registers_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "idle_module.py").write_text("")
    with pytest.raises(PluginError, match=r"registers no mixer, sampler, .* or runtime"):
        load_plugins(["idle_module"])


def test_only_samplers_of_optuna_are_compared_as_stock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SAMPLERS, "known", dict(SAMPLERS))
    SAMPLERS.register(SamplerSpec(name="mine", factory="my_samplers:mine"))
    names = [str(item) for item in strategies(["mine", "tpe", "NSGAIIISampler"], ["off"])]
    assert [name for name in names if name.startswith("stock")] == [
        *("stock tpe", "stock NSGAIIISampler"),
        *("stock random + ASHA", "stock tpe + ASHA", "stock NSGAIIISampler + ASHA"),
    ]
