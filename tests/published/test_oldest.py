"""Lower bounds are promises: each is the version that something was tested with."""

import os
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
# What users install; the others are for whoever works on the package.
EXTRAS = ("export", "static")
# What the whole suite ran with. The first three are too large to install twice; torch 2.12 traces
# no token-MLP for any batch; QMCSampler of Optuna 4.5 fails in our spaces.
LARGE = {"torch": "2.14", "torchvision": "0.29", "ray": "2.60", "optuna": "5.0"}


def bounds() -> dict[str, Version]:
    """Lower bound of each requirement, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"]]
    for extra in EXTRAS:
        texts += project["optional-dependencies"][extra]
    found = {}
    for requirement in map(Requirement, texts):
        (bound,) = requirement.specifier
        assert bound.operator == ">=", requirement
        found[requirement.name] = Version(bound.version)
    return found


def pins() -> dict[str, Version]:
    """Versions in `.ci/oldest.txt`, by name."""
    lines = (ROOT / ".ci" / "oldest.txt").read_text().splitlines()
    return {
        name: Version(pinned)
        for name, _, pinned in (line.partition("==") for line in lines)
        if pinned and not name.startswith("#")
    }


def test_every_lower_bound_is_a_version_that_is_tested() -> None:
    tested = pins() | {name: Version(text) for name, text in LARGE.items()}
    for name, bound in bounds().items():
        assert tested.get(name) == bound, name


def test_the_script_names_tests_that_exist() -> None:
    text = (ROOT / ".ci" / "oldest.sh").read_text()
    named = re.findall(r"tests/[\w/]+\.py", text)
    assert len(named) >= 10
    assert all((ROOT / name).is_file() for name in named)
    assert os.access(ROOT / ".ci" / "oldest.sh", os.X_OK)


def test_no_installed_version_is_older_than_promised() -> None:
    for name, bound in bounds().items():
        assert Version(version(name)) >= bound, name
