"""From the dataclasses that a YAML file is read into to one JSON Schema, without references.

Types, keys and defaults are those of the fields, descriptions those of the docstrings; what they
do not tell stands in `parts`.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from spach_nas.config.docstrings import attributes, body
from spach_nas.config.schema_parts import BOUNDS, Node, by_place, by_type, either, one_of_names
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.space.choices import Counts, Names
from spach_nas.space.layouts import Layout
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Arrangement, Heads, HeadsRule, Times, Width

# The draft that all editors know.
_DRAFT = "http://json-schema.org/draft-07/schema#"
# Types that are written as choices or as a mapping.
_FORMS: tuple[tuple[Any, Any, type, str], ...] = (
    (Heads, Counts, HeadsRule, "a rule"),
    (Width, Counts, Times, "a multiple of the stage before"),
    (Arrangement, Names, Layout, "a layout"),
)


def search_schema() -> Node:
    """The JSON Schema of a search YAML, with the mixers and samplers that are registered now."""
    return {"$schema": _DRAFT, "title": "A search", **_object(SearchConfig)}


def space_schema() -> Node:
    """The JSON Schema of a search space file, with the mixers that are registered now."""
    return {"$schema": _DRAFT, "title": "A search space", **_object(SearchSpace)}


def _object(cls: type) -> Node:
    """A mapping with a key for each field of a dataclass."""
    hints = get_type_hints(cls, include_extras=True)
    texts = attributes(cls)
    items = fields(cls)
    node: Node = {
        "type": "object",
        "description": body(cls),
        "properties": {item.name: _key(cls, item, hints[item.name], texts) for item in items},
        "required": [item.name for item in items if _default(item) is MISSING],
        "additionalProperties": False,
    }
    return {key: value for key, value in node.items() if value or key == "additionalProperties"}


def _key(cls: type, item: "Field[Any]", hint: Any, texts: Mapping[str, str]) -> Node:
    place = f"{cls.__name__}.{item.name}"
    found = by_place().get(place)
    found = dict(_node(hint) if found is None else found) | BOUNDS.get(place, {})
    # What a section says of itself follows what its key says of it.
    said = " ".join(part.description or "" for part in _field_infos(hint))
    found["description"] = (
        f"{said or texts.get(item.name, '')} {found.get('description', '')}".strip()
    )
    default = _default(item)
    if default is MISSING:
        return found
    # Pairs by name are a tuple in a frozen value, and a mapping in a file.
    empty = found.get("type") == "object" and default == ()
    return found | {"default": {} if empty else _plain(default)}


def _field_infos(hint: Any) -> list[FieldInfo]:
    return [part for part in getattr(hint, "__metadata__", ()) if isinstance(part, FieldInfo)]


def _node(hint: Any) -> Node:
    if _field_infos(hint):
        rest = [part for part in hint.__metadata__ if not isinstance(part, FieldInfo)]
        hint = Annotated[hint.__origin__, *rest] if rest else hint.__origin__
    for known, node in by_type():
        if hint == known:
            return node
    for known, choices, cls, title in _FORMS:
        if hint == known:
            return either(_node(choices), _object(cls) | {"title": title})
    if hint is SearchSpace:
        file = {"title": "a file, or a shipped space by its name", "type": "string"}
        return either(file, _object(SearchSpace) | {"title": "the choices themselves"})
    return _composed(hint)


def _composed(hint: Any) -> Node:
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return one_of_names(arguments)
    if get_origin(hint) is Annotated:  # by a check that is no matter of notation
        return _node(arguments[0])
    if get_origin(hint) is tuple and arguments[1:] == (...,):
        return {"type": "array", "items": _node(arguments[0])}
    if NoneType in arguments:
        [inner] = (argument for argument in arguments if argument is not NoneType)
        return _or_null(_node(inner))
    assert is_dataclass(hint), f"{hint}: no part of the schema says how it is written"
    return _object(hint)  # type: ignore[arg-type]


def _or_null(node: Node) -> Node:
    if "anyOf" in node:
        return node | {"anyOf": [*node["anyOf"], {"type": "null"}]}
    if "enum" in node:
        node = node | {"enum": [*node["enum"], None]}
    types = node["type"] if isinstance(node["type"], list) else [node["type"]]
    return node | {"type": [*types, "null"]}


def _default(item: "Field[Any]") -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()


def _plain(value: Any) -> Any:
    """A default as a file would say it: one value where there is no choice."""
    if is_dataclass(value):
        return {
            item.name: _plain(getattr(value, item.name))
            for item in fields(value)
            if getattr(value, item.name) != _default(item)
        }
    if isinstance(value, tuple):
        return _plain(value[0]) if len(value) == 1 else [_plain(item) for item in value]
    return value
