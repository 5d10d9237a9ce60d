"""Recipes as YAML files.

`spach` is the paper's, `short` is for small data on a CPU. A file of your own may begin with
`base: short`; what it leaves out is that recipe's, and `spach`'s without a base.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from spach_nas.errors import ConfigError, did_you_mean, one_of
from spach_nas.full_size.recipe import Recipe
from spach_nas.validation import read_yaml, read_yaml_value, validate

_FOLDER = Path(__file__).with_name("recipes")
_DEFAULT_BASE = "spach"


def recipe_names() -> tuple[str, ...]:
    """The shipped recipes."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_recipe(source: str | Path, *, changes: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        source: A shipped recipe's name, or a YAML file.
        changes: `key.path=value` each, the value as YAML has it; they go over the file.

    Raises:
        ConfigError: One line for each mistake.
    """
    path = _find(str(source))
    data = _with_base(path)
    mistakes = [_change(data, change) for change in changes]
    if any(mistakes):
        raise ConfigError("\n".join(filter(None, mistakes)))
    return parse_recipe(data, where=str(source))


def parse_recipe(data: Any, *, where: str) -> Recipe:
    """A recipe from plain values, all of them given.

    Raises:
        ConfigError: One line `where: key.path: what; expected` for each mistake.
    """
    return validate(_adapter(), data, where=where, error=ConfigError)


def recipe_text(recipe: Recipe) -> str:
    """The recipe as YAML."""
    text: str = yaml.safe_dump(recipe.as_dict(), sort_keys=False)
    return text


def _find(source: str) -> Path:
    if source in recipe_names():
        return _FOLDER / f"{source}.yaml"
    path = Path(source)
    if path.is_file():
        return path
    names = recipe_names()
    raise ConfigError(
        f"{source}: no such recipe; expected {one_of((*names, 'a YAML file'))}"
        f"{did_you_mean(source, names)}"
    )


def _with_base(path: Path) -> dict[str, Any]:
    data = read_yaml(path, error=ConfigError)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: {data!r}; expected a mapping of keys to values")
    shipped = path.parent == _FOLDER
    base = data.pop("base", None if shipped else _DEFAULT_BASE)
    if base is None:
        return data
    if base not in recipe_names():
        raise ConfigError(
            f"{path}: base: {base!r}; expected {one_of(recipe_names())}"
            f"{did_you_mean(str(base), recipe_names())}"
        )
    return _merged(read_yaml(_FOLDER / f"{base}.yaml", error=ConfigError), data)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        both = isinstance(inner, dict) and isinstance(value, dict)
        merged[key] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return merged


def _change(data: dict[str, Any], change: str) -> str:
    """Make one change in place; what is wrong with it."""
    path, equals, text = change.partition("=")
    if not equals or not path:
        return f"--set {change}: expected KEY=VALUE, such as epochs=10 or data.validation=0.1"
    *outer, last = path.split(".")
    for key in outer:
        inner = data.setdefault(key, {})
        if not isinstance(inner, dict):
            return f"--set {change}: {key} has no keys in it"
        data = inner
    try:
        data[last] = read_yaml_value(text)
    except ValueError as problem:
        return f"--set {change}: {problem}"
    return ""


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe."""
    return _adapter().json_schema()


@cache
def _adapter() -> TypeAdapter[Recipe]:
    return TypeAdapter(Recipe)
