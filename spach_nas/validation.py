"""From YAML to typed values: checked by pydantic, with messages in our own words."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from spach_nas.errors import ConfigError, SpachNasError, did_you_mean, one_line, one_of
from spach_nas.foreign_words import meant, note, ours_for

T = TypeVar("T")
_LONGEST_VALUE = 60
_MOST_PLACES = 2
# A number with a leading zero: YAML 1.1 reads 010 as 8.
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
# Bounds the values of a file: aliases of aliases can stand for billions of them.
_MOST_VALUES = 20_000
# Bounds the depth of a file: an alias may contain itself.
_MOST_LEVELS = 100
# What was expected, by the first part of pydantic's kind of error.
_EXPECTED = {
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "path": "a path",
    "string": "a text",
    "tuple": "a list",
}
# Words for bounds, by their names in pydantic and in a JSON Schema.
_BOUNDS = {
    ("gt", "exclusiveMinimum"): "more than",
    ("ge", "minimum"): "at least",
    ("lt", "exclusiveMaximum"): "less than",
    ("le", "maximum"): "at most",
}
_OUT_OF_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
Keys = tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """The contents of a YAML file with line numbers.

    Attributes:
        path: The file, as the user named it.
        data: Plain data: mappings, lists, texts and numbers.
        lines: Line number of each key and of each item of a list, from 1.
    """

    path: str
    data: Any
    lines: Mapping[Keys, int]

    def place(self, keys: Sequence[int | str]) -> str:
        """`search.yaml:12`: the line of the innermost of these keys that is in the file."""
        for length in range(len(keys), 0, -1):
            line = self.lines.get(tuple(keys[:length]))
            if line:
                return f"{self.path}:{line}"
        return self.path


def read_yaml(path: str | Path, *, error: type[SpachNasError]) -> Any:
    """The data of a YAML file, as `read_document` reads it."""
    return read_document(path, error=error).data


def read_document(path: str | Path, *, error: type[SpachNasError]) -> Document:
    """The plain data in a YAML file; nothing in it is executed.

    `no`, `on`, `1:30` and `2024-01-31` are texts, while YAML 1.1 reads them as false, true, 90 and
    a date.

    Raises:
        SpachNasError: As `error`, if the file is missing or is not YAML, if a key is repeated (YAML
            would silently keep the last value), or if a number begins with a zero (YAML 1.1 would
            read it as octal).
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        lines: dict[Keys, int] = {}
        data, mistakes = _parse(text, lines)
    except OSError as problem:
        raise error(f"{path}: {problem.strerror or problem}; expected a YAML file") from None
    except UnicodeDecodeError:
        raise error(f"{path}: is not text; expected a YAML file") from None
    except RecursionError:
        raise error(f"{path}: is nested too deeply; expected a YAML file") from None
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = f":{mark.line + 1}" if mark else ""
        said = ", ".join(filter(None, (problem.context, problem.problem)))
        raise error(f"{path}{line}: is not YAML: {said}") from None
    except (yaml.YAMLError, ValueError) as problem:  # ValueError: a number of 5,000 digits
        raise error(f"{path}: is not YAML: {one_line(problem)}") from None
    document = Document(path=str(path), data=data, lines=lines)
    if mistakes:
        raise error(
            "\n".join(f"{path}{f':{line}' if line else ''}: {said}" for line, said in mistakes)
        )
    return document


def read_yaml_value(text: str) -> Any:
    """One value as `read_yaml` reads it.

    Raises:
        ValueError: It is not YAML; the message says why.
    """
    try:
        data, mistakes = _parse(text, {})
    except (yaml.YAMLError, RecursionError):
        raise ValueError(f"{text!r} is not YAML") from None
    for _, mistake in mistakes:
        raise ValueError(mistake)
    return data


class _Loader(yaml.SafeLoader):
    """Reads plain words as YAML 1.2 does."""


# For each first character of a word, the types to try, in this order.
_Loader.yaml_implicit_resolvers = {
    letter: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.removeprefix("tag:yaml.org,2002:") not in ("bool", "int", "float", "timestamp")
    ]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern, _letters in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+][0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})$"), list(_letters)
    )


def _parse(text: str, lines: dict[Keys, int]) -> tuple[Any, list[tuple[int, str]]]:
    """The data, and line and text of each mistake; with mistakes, the data are None."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        mistakes = list(dict.fromkeys(_mistakes(root, lines)))
        data = None if mistakes or root is None else loader.construct_document(root)
    finally:
        loader.dispose()
    return data, mistakes


def _mistakes(root: yaml.Node | None, lines: dict[Keys, int]) -> Iterator[tuple[int, str]]:
    """Yield line and text of each mistake, and fill in the line of each key."""
    nodes: list[tuple[yaml.Node | None, Keys]] = [(root, ())]
    for _ in range(_MOST_VALUES):
        if not nodes:
            return
        node, keys = nodes.pop()
        if len(keys) > _MOST_LEVELS:
            yield 0, "is nested too deeply; expected a YAML file"
            return
        if isinstance(node, yaml.ScalarNode):
            if node.tag.endswith(":int") and _OCTAL.fullmatch(node.value):
                place = f"{_path(keys)}: " if keys else ""
                decimal = int(node.value.replace("_", ""))
                yield (
                    node.start_mark.line + 1,
                    f"{place}{node.value}; expected {decimal}, or '{node.value}' in quotes: YAML "
                    "takes a leading zero for an octal number",
                )
        elif isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                lines[*keys, number] = item.start_mark.line + 1
                nodes.append((item, (*keys, number)))
        elif isinstance(node, yaml.MappingNode):
            own: dict[str, int] = {}
            for key, value in node.value:
                # Keys that are not scalars are refused when the data are constructed.
                if not isinstance(key, yaml.ScalarNode):
                    continue
                line, inner = key.start_mark.line + 1, (*keys, key.value)
                if key.value in own:
                    before = f"is repeated, first on line {own[key.value]}"
                    yield line, f"{_path(inner)}: {before}; expected it once"
                own[key.value] = lines[inner] = line
                nodes.append((value, inner))
    yield 0, f"holds more than {_MOST_VALUES} values; expected a file that a person wrote"


# For every section of a file: unknown keys are mistakes.
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Written:
    """Annotates a type with a JSON Schema that is known only at run time.

    Attributes:
        schema: Returns the schema.
    """

    schema: Callable[[], dict[str, Any]]

    def __get_pydantic_json_schema__(self, _: Any, handler: Any) -> dict[str, Any]:
        """Called by pydantic."""
        return self.schema()


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Base of the sections of YAML files: each field states its type, bounds and meaning.

    The text below a field is its description in the JSON Schema and on the reference pages. Values
    made in Python are checked like those read from a file.

    Raises:
        SpachNasError: As `error`, with a line for each mistake.
    """

    __pydantic_config__ = STRICT
    error: ClassVar[type[SpachNasError]] = ConfigError

    def __post_init__(self) -> None:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        kind: Any = type(self)
        validate(_fields_of(kind), values, where="", error=self.error)


@cache
def _fields_of(cls: type) -> TypeAdapter[BaseModel]:
    # An adapter of the class itself would construct the class, and so never stop checking.
    hints = get_type_hints(cls, include_extras=True)
    items = {item.name: (hints[item.name], ...) for item in fields(cls)}
    return TypeAdapter(create_model(cls.__name__, **items))  # type: ignore[call-overload]


def validate(
    adapter: TypeAdapter[T],
    data: Any,
    *,
    where: str | Document,
    error: type[SpachNasError],
    context: Mapping[str, Any] | None = None,
) -> T:
    """`data` as the adapter's type.

    Args:
        adapter: The type, for pydantic.
        data: Plain data.
        where: Start of every line of the message: the name of the value, which may be empty, or the
            file, which adds line numbers.
        error: Which error to raise.
        context: Further information for validators.

    Raises:
        SpachNasError: As `error`, with one line `where: key.path: what; expected` for each mistake.
    """
    try:
        return adapter.validate_python(data, context=context)
    except ValidationError as problem:
        schema = adapter.json_schema()
        lines = []
        for detail in problem.errors(include_url=False):
            lines += [line for line in _lines(detail, data, schema, where) if line not in lines]
        raise error("\n".join(lines)) from None


def _lines(detail: Any, data: Any, schema: dict[str, Any], where: str | Document) -> list[str]:
    kind = detail["type"]
    loc = detail["loc"][:-1] if kind == "invalid_key" else detail["loc"]
    keys = _keys(loc, data, missing=kind == "missing")
    if kind == "value_error":  # raised by our own types, one mistake a line
        lines = str(detail["ctx"]["error"]).split("\n")
        inner = {*_legal_keys(schema, keys), *_keys_at(data, keys)}
    else:
        lines, inner = [_explain(kind, detail, keys, schema)], set()
    path = _path(keys)
    return [_told(where, _place(path, line, inner)) for line in lines]


def _told(where: str | Document, line: str) -> str:
    if isinstance(where, Document):
        # A check of several keys at once begins its text with the key that it is about.
        start = re.match(r"[\w-]+(\[\d+\]|\.[\w-]+)*(?=:)", line)
        parts = re.findall(r"[\w-]+", start[0]) if start else []
        where = where.place([int(part) if part.isdigit() else part for part in parts])
    return f"{where}: {line}" if where else line


def _place(path: str, line: str, inner: Collection[str]) -> str:
    """`training` and `epochs: 0; expected ...` as `training.epochs: 0; expected ...`."""
    name = re.match(r"(\w+)[:.\[]", line)
    join = "." if name and name[1] in inner else ": "
    return f"{path}{join}{line}" if path else line


def _explain(kind: str, detail: Any, keys: Sequence[int | str], schema: dict[str, Any]) -> str:
    value = _short(detail["input"])
    if kind == "invalid_key":
        return f"unknown key {value}; expected {one_of(_legal_keys(schema, keys)) or 'a text'}"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        legal = _legal_keys(schema, keys[:-1])
        expected = f"; expected {one_of(legal)}" if legal else ""
        word = str(keys[-1])
        here, elsewhere = did_you_mean(word, legal), _elsewhere(word, schema)
        # Another tool's word for a key of another section is not a misspelt key of this one.
        foreign = ours_for(word) and not meant(word, legal)
        return f"unknown key{expected}{(elsewhere or here) if foreign else (here or elsewhere)}"
    if kind == "missing":
        return "is missing"
    if kind == "literal_error":
        words = detail["ctx"]["expected"].replace(" or ", ", ").split(", ")
        legal = [word.strip("'") for word in words]
        hint = did_you_mean(detail["input"], legal) if isinstance(detail["input"], str) else ""
        return f"{value}; expected {one_of(legal)}{hint}"
    if kind in _OUT_OF_BOUNDS:
        # The schema has both bounds, pydantic's error only the one that is broken.
        stated = map(bound_words, (*_nodes_at(schema, keys), detail["ctx"]))
        return f"{value}; expected {next(filter(None, stated))}"
    if kind in ("dataclass_type", "model_type", "dict_type", "model_attributes_type"):
        return f"{value}; expected a mapping of keys to values"
    message = _EXPECTED.get(kind.split("_")[0]) or detail["msg"].removeprefix("Input should be ")
    return f"{value}; expected {message[:1].lower()}{message[1:]}"


def places_of(word: str, schema: dict[str, Any]) -> list[str]:
    """Paths of the keys with a name, or with another tool's name: `training.learning_rate`.

    Args:
        word: The name, as the user wrote it.
        schema: JSON Schema of the whole file.
    """
    paths = list(_paths(schema, schema, ""))
    for name in (word.strip("-").replace("-", "_"), *ours_for(word)):
        found = [path for path in paths if path == name or path.endswith(f".{name}")]
        if found:
            return found
    return []


def _elsewhere(word: str, schema: dict[str, Any]) -> str:
    places = places_of(word, schema)[:_MOST_PLACES]
    if not places:
        return ""
    said = note(word, places[0].rsplit(".", 1)[-1])
    return f"; did you mean {one_of(places)}{f' ({said})' if said else ''}?"


def _paths(node: dict[str, Any], schema: dict[str, Any], path: str) -> Iterator[str]:
    for option in _alternatives(node, schema):
        for name, inner in option.get("properties", {}).items():
            here = f"{path}.{name}".removeprefix(".")
            yield here
            yield from _paths(inner, schema, here)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _keys(loc: Sequence[int | str], data: Any, *, missing: bool) -> list[int | str]:
    # Pydantic adds the branch of a union that it tried, which the user never wrote.
    keys: list[int | str] = []
    for position, key in enumerate(loc):
        if isinstance(data, dict) and (key in data or (missing and position == len(loc) - 1)):
            keys.append(key)
            data = data.get(key)
        elif isinstance(data, list | tuple) and isinstance(key, int) and key < len(data):
            keys.append(key)
            data = data[key]
    return keys


def _keys_at(data: Any, keys: Sequence[int | str]) -> list[str]:
    for key in keys:
        data = data[key]
    return [str(key) for key in data] if isinstance(data, dict) else []


def _path(keys: Sequence[int | str]) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.removeprefix(".")


def bound_words(node: Mapping[str, Any]) -> str:
    """The bounds of a number in a JSON Schema: `at least 0 and less than 1`."""
    found = [
        f"{word} {node[name]:g}"
        for names, word in _BOUNDS.items()
        for name in names
        if name in node
    ]
    return " and ".join(found)


def _legal_keys(schema: dict[str, Any], keys: Sequence[int | str]) -> list[str]:
    return sorted({name for node in _nodes_at(schema, keys) for name in node.get("properties", {})})


def _nodes_at(schema: dict[str, Any], keys: Sequence[int | str]) -> list[dict[str, Any]]:
    nodes = _alternatives(schema, schema)
    for key in keys:
        inner: list[dict[str, Any]] = []
        for node in nodes:
            step = (
                node.get("items") if isinstance(key, int) else node.get("properties", {}).get(key)
            )
            inner += _alternatives(step, schema) if isinstance(step, dict) else []
        nodes = inner
    return nodes


def _alternatives(node: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _alternatives(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], schema)
    options = node.get("anyOf") or node.get("oneOf")
    if options:
        return [found for option in options for found in _alternatives(option, schema)]
    return [node]
