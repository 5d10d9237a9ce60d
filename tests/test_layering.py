"""One direction, no way back: a module imports only modules of a lower rank."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import spach_nas

PACKAGE = Path(spach_nas.__file__).parent
DESIGN = Path(__file__).parents[1] / "docs" / "design.md"
ROOMS = re.findall(
    r"^- `(\w+)/`: .+$",
    DESIGN.read_text(encoding="utf-8").split("<!-- rooms -->")[1].split("<!-- end of rooms -->")[0],
    flags=re.MULTILINE,
)
ENTRY = ("__init__", "__main__")
TORCH_FREE_ROOMS = ROOMS[: ROOMS.index("config") + 1]
HEAVY = ("torch", "ray", "timm", "optuna", "torchvision", "plotly", "fvcore")
# Modules whose task it is to import late: nothing in their functions counts.
LATE = ("__init__", "cli")
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


def rank(module: str) -> int:
    """0 is the root; what makes the package and the command comes last."""
    own = unit(module)
    return len(ROOMS) + 1 if own in ENTRY else ROOMS.index(own) + 1 if own in ROOMS else 0


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_imports_only_from_its_own_room_and_those_above(path: Path) -> None:
    own = name_of(path)
    for module in imports(path):
        if module.startswith("spach_nas.") and unit(module) not in ENTRY:
            assert rank(module) <= rank(own), f"{own} imports {module}"


def test_the_design_names_every_room() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(ROOMS)
    assert len(set(ROOMS)) == len(ROOMS)


def test_only_one_room_knows_ray_tune() -> None:
    users = {
        name_of(path) for path in FILES if any(m.startswith("ray.tune") for m in imports(path))
    }
    assert users
    assert all(name.startswith("spach_nas.search.ray.") for name in users)


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


TORCH_FREE = [path for path in FILES if rank(name_of(path)) <= len(TORCH_FREE_ROOMS)]


@pytest.mark.parametrize("path", TORCH_FREE, ids=name_of)
def test_the_core_names_no_heavy_library(path: Path) -> None:
    assert {module.split(".")[0] for module in imports(path)}.isdisjoint(HEAVY)


def test_the_core_loads_without_any_heavy_library() -> None:
    names = ", ".join(name_of(path).removesuffix(".__init__") for path in TORCH_FREE)
    code = f"import sys, spach_nas, {names}\nprint(*(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("package", ["evaluators", "export", "latency", "report"])
def test_a_name_that_a_package_loads_late_is_not_that_of_a_module(package: str) -> None:
    # Once it is imported, the module would stand under the name.
    loaded = importlib.import_module(f"spach_nas.{package}")
    modules = {path.stem for path in (PACKAGE / package).glob("*.py")}
    assert modules.isdisjoint(loaded.__all__)
