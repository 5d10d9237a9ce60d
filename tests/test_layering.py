"""One direction, no way back: a module imports only modules of a lower rank."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import spach_nas

PACKAGE = Path(spach_nas.__file__).parent
RANKS: list[set[str]] = [
    {"errors", "units", "version", "validation", "installed", "foreseen", "pulse", "doing"}
    | {"called", "foreign_words", "late", "output", "machine", "paths"},
    {
        *("mixers", "plugins", "choices", "objectives", "architecture", "evaluation"),
        "sampler_registry",
    },
    {
        *("cost", "cost_batch", "limits", "memory", "references", "scaling", "settings"),
        *("space_choices", "space_mistakes", "space_counting", "layouts", "stage_space"),
        *("search_space", "search_settings", "shipped", "ranking"),
        *("latency_settings", "sources"),
    },
    {
        *("feasible", "records", "pareto", "hypervolume", "config", "study_folder", "journal"),
        *("config_mistakes", "live", "doctor", "schema", "ending", "study"),
        *("intervals", "names"),
    },
    {"networks"},
    {"data"},
    {"training"},
    {"evaluators", "latency"},
    {"engine", "report"},
    {"export"},
    {"plan"},
    {"run", "full"},
    {"terminal"},
    {"preview", "replay"},
    {"cli"},
    {"__init__", "__main__"},
]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
TORCH_FREE = sorted(name for name, rank in RANK.items() if rank <= 3)
HEAVY = ("torch", "ray", "timm", "optuna", "torchvision", "plotly", "fvcore")
# Modules whose task it is to import late: nothing in their functions counts.
LATE = ("__init__", "cli", "doctor")
FILES = sorted(PACKAGE.rglob("*.py"))


def unit(module: str) -> str:
    """`spach_nas.report.page` belongs to `report`, `spach_nas` itself to `__init__`."""
    return ([*module.split("."), "__init__"])[1]


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("spach_nas", *parts))


def imports(path: Path) -> Iterator[str]:
    """Full names of all imported modules, those inside functions and for type checkers too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = unit(name_of(path)) in LATE
    for node in tree.body if late else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module
            if node.module == "spach_nas":
                yield from (f"spach_nas.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_imports_only_lower_ranks_or_its_own_package(path: Path) -> None:
    own = unit(name_of(path))
    for module in imports(path):
        other = unit(module)
        if not module.startswith("spach_nas") or other == own:
            continue
        # The four lowest ranks are kept in order by having no cycles, see below.
        assert RANK[other] < RANK[own] or RANK[other] == RANK[own] <= 3, (
            f"{name_of(path)} (rank {RANK[own]}) imports {module} (rank {RANK[other]})"
        )


def test_every_module_has_a_rank() -> None:
    assert {unit(name_of(path)) for path in FILES} == set(RANK)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        name_of(path).removesuffix(".__init__"): {
            module for module in imports(path) if module.startswith("spach_nas.")
        }
        - {name_of(path).removesuffix(".__init__")}
        for path in FILES
        # A package gathers what its modules offer; between packages the ranks decide.
        if path.parent == PACKAGE or path.stem != "__init__"
    }
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", TORCH_FREE)
def test_the_core_names_no_heavy_library(name: str) -> None:
    files = [path for path in FILES if unit(name_of(path)) == name]
    found = {module.split(".")[0] for path in files for module in imports(path)}
    assert files
    assert found.isdisjoint(HEAVY)


def test_the_core_loads_without_any_heavy_library() -> None:
    names = ", ".join(f"spach_nas.{name}" for name in TORCH_FREE)
    code = f"import sys, spach_nas, {names}\nprint(*(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("package", ["export", "latency", "report"])
def test_a_name_that_a_package_loads_late_is_not_that_of_a_module(package: str) -> None:
    # Once it is imported, the module would stand under the name.
    loaded = importlib.import_module(f"spach_nas.{package}")
    modules = {path.stem for path in (PACKAGE / package).glob("*.py")}
    assert modules.isdisjoint(loaded.__all__)
