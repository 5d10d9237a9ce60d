"""Plain data in, typed values out: pydantic at the edge, its complaints in our words."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from spach_nas.errors import SpachNasError, did_you_mean, one_of

T = TypeVar("T")
_LONGEST_VALUE = 60


def read_yaml(path: Path, *, error: type[SpachNasError]) -> Any:
    """The plain data in a YAML file, by `yaml.safe_load`: nothing in it is executed.

    Raises:
        SpachNasError: As `error`, when the file is missing or is no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(f"{path}: {problem.strerror or problem}; expected a YAML file") from None
    except UnicodeDecodeError:
        raise error(f"{path}: is no text; expected a YAML file") from None
    except yaml.YAMLError as problem:
        text = " ".join(str(problem).split())
        raise error(f"{path}: is no YAML: {text}") from None


def validate(
    adapter: TypeAdapter[T], data: Any, *, where: str, error: type[SpachNasError]
) -> T:
    """`data` as the adapter's type.

    Args:
        adapter: The type, for pydantic.
        data: What `yaml.safe_load` or `json.load` gave.
        where: Name of the file or value, which starts every line of the message.
        error: Which error to raise.

    Raises:
        SpachNasError: As `error`, with one line `where: key.path: what; expected` for each mistake.
    """
    try:
        return adapter.validate_python(data)
    except ValidationError as problem:
        schema = adapter.json_schema()
        lines = []
        for detail in problem.errors(include_url=False):
            line = _line(detail, data, schema, where)
            if line not in lines:
                lines.append(line)
        raise error("\n".join(lines)) from None


def _line(detail: Any, data: Any, schema: dict[str, Any], where: str) -> str:
    keys = _keys(detail["loc"], data)
    path = _path(keys)
    prefix = f"{where}: {path}: " if path else f"{where}: "
    kind, value = detail["type"], _short(detail["input"])
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        legal = _legal_keys(schema, keys[:-1])
        expected = f"; expected {one_of(legal)}" if legal else ""
        return f"{prefix}unknown key{expected}{did_you_mean(str(keys[-1]), legal)}"
    if kind == "missing":
        return f"{prefix}is missing"
    if kind == "value_error":
        return f"{prefix}{detail['ctx']['error']}"
    if kind == "literal_error":
        legal = [word.strip("'") for word in detail["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        hint = did_you_mean(detail["input"], legal) if isinstance(detail["input"], str) else ""
        return f"{prefix}{value}; expected {one_of(legal)}{hint}"
    if kind in ("dataclass_type", "model_type", "dict_type"):
        return f"{prefix}{value}; expected a mapping of keys to values"
    message = detail["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"{prefix}{value}; expected {message[:1].lower()}{message[1:]}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _keys(loc: Sequence[int | str], data: Any) -> list[int | str]:
    # Pydantic adds the branch of a union that it tried, which the user never wrote.
    keys: list[int | str] = []
    for position, key in enumerate(loc):
        if isinstance(data, dict) and (key in data or position == len(loc) - 1):
            keys.append(key)
            data = data.get(key)
        elif isinstance(data, list | tuple) and isinstance(key, int) and key < len(data):
            keys.append(key)
            data = data[key]
    return keys


def _path(keys: Sequence[int | str]) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.removeprefix(".")


def _legal_keys(schema: dict[str, Any], keys: Sequence[int | str]) -> list[str]:
    nodes = _alternatives(schema, schema)
    for key in keys:
        inner: list[dict[str, Any]] = []
        for node in nodes:
            step = node.get("items") if isinstance(key, int) else node.get("properties", {}).get(key)
            inner += _alternatives(step, schema) if isinstance(step, dict) else []
        nodes = inner
    return sorted({name for node in nodes for name in node.get("properties", {})})


def _alternatives(node: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _alternatives(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], schema)
    if "anyOf" in node:
        return [found for option in node["anyOf"] for found in _alternatives(option, schema)]
    return [node]
