"""The JSON Schemas of search YAMLs and search spaces, for editors and for the reference pages.

Pydantic makes them from the types that read the files. Here they are put into the form that most
editors support: draft 7, without references, each key with its description and default.

What such a schema refuses, the reader of the file refuses as well, except for a number written as a
text (`"3"`). Mistakes that involve several keys are found by the reader only.
"""

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from spach_nas.config.evaluator_registry import EvaluatorChoice, written
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.space.search_space import SearchSpace
from spach_nas.validation import STRICT

Node = dict[str, Any]
# The draft that all editors support.
_DRAFT = "http://json-schema.org/draft-07/schema#"
_FILE = {"title": "a file, or a shipped space by its name", "type": "string"}
# For types with custom validators, pydantic writes bounds under their Python names.
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
}


def search_schema() -> Node:
    """The JSON Schema of a search YAML, with the mixers and samplers that are registered now."""
    schema = _schema(SearchConfig)
    keys = schema["properties"]
    said = keys["space"].pop("description")
    keys["space"] = {"description": said, "anyOf": [_FILE, keys["space"]]}
    return {"$schema": _DRAFT, "title": "A search", **schema}


def space_schema() -> Node:
    """The JSON Schema of a search space file, with the mixers that are registered now."""
    return {"$schema": _DRAFT, "title": "A search space", **_schema(SearchSpace)}


class _Generator(GenerateJsonSchema):
    """Without titles that only repeat a name, and with defaults that a function makes."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def get_default_value(self, schema: Any) -> Any:
        found = schema["default"] if "default" in schema else schema["default_factory"]()
        return written(found) if isinstance(found, EvaluatorChoice) else found


def _schema(cls: type) -> Node:
    # Only here: pydantic reads the texts below fields from the source code, which takes longer than
    # checking a file.
    STRICT["use_attribute_docstrings"] = True
    try:
        schema = TypeAdapter(cls).json_schema(schema_generator=_Generator)
    finally:
        del STRICT["use_attribute_docstrings"]
    node: Node = _plain(schema, schema.pop("$defs"))
    del node["title"]
    return node


def _plain(node: Any, parts: Node) -> Any:
    """A schema without references, in the words of draft 7."""
    if isinstance(node, list):
        return [_plain(item, parts) for item in node]
    if not isinstance(node, dict):
        return node
    node = {_BOUNDS.get(key, key): _plain(item, parts) for key, item in node.items()}
    if "$ref" in node:
        part = _plain(parts[node.pop("$ref").rsplit("/", 1)[-1]], parts)
        # The description of the key, then that of the section.
        texts = [item["description"] for item in (node, part) if "description" in item]
        node = {key: item for key, item in part.items() if key != "title"} | node
        node |= {"description": " ".join(texts)}
    options = node.pop("oneOf", None) or node.get("anyOf")
    if options:
        node["anyOf"] = [flat for item in options for flat in _options(item)]
    if isinstance(node.get("description"), str):
        node["description"] = " ".join(node["description"].split())
    default = node.get("default")
    if isinstance(default, list) and len(default) == 1 and options:
        node["default"] = default[0]  # a choice of one value is written as the value
    elif default == [] and node.get("type") == "object":
        node["default"] = {}  # pairs by name are written as a mapping
    if isinstance(default, dict) and "properties" in node:
        node["default"] = _departures(default, node)
    return node


def _options(node: Node) -> list[Node]:
    """The alternatives of an alternative that consists of nothing else."""
    return node["anyOf"] if node.keys() == {"anyOf"} else [node]


def _departures(default: Node, node: Node) -> Node:
    """The part of a section's default in which it differs from the defaults of its keys."""
    found = {}
    for name, value in default.items():
        key = node["properties"].get(name, {})
        if isinstance(value, dict) and "properties" in key:
            value = _departures(value, key)
        if value is not None and value != key.get("default"):
            found[name] = value
    return found
