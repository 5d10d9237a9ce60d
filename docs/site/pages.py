"""Generates the pages of the site that come from the package: YAML reference and commands.

This is a hook of mkdocs; it adds the pages to the files in `docs/`.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from spach_nas.config.schema import search_schema, space_schema
from spach_nas.config.shipped import shipped_folder
from spach_nas.validation import bound_words

Node = dict[str, Any]
ROOT = Path(__file__).parents[2]
CSS = Path(__file__).with_name("site.css")
_TYPES = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
}
_EDITOR = """
A key that is not listed here is an error, and so is a value of another type. All mistakes in a
file are reported at once. Rules that involve several keys are checked by `{check}`.

This page is generated from the schema that `spach-nas schema {name}` prints for editors and other
tools:

```bash
spach-nas schema {name} > {name}.schema.json
```

An editor with the YAML language server (Visual Studio Code with the YAML extension, Neovim, Emacs,
Zed) completes and checks a file that begins with this line, the path being relative to the file:

```yaml
# yaml-language-server: $schema={name}.schema.json
```

`--plugin MODULE` adds your own mixers, their options and your own samplers to the schema.
"""
_CHOICES = """
## How choices are written

A key that takes a **choice** may hold one value (`width: 64`: no choice), a list
(`width: [64, 96]`), or, for whole numbers, a range that includes both ends:
`depth: {from: 2, to: 10, step: 2}` is `[2, 4, 6, 8, 10]`; the default of `step` is 1.
"""
_MISTAKES = """
A user's mistakes are reported without a traceback, one line each, with exit code 2.
"""


def pages() -> dict[str, str]:
    """All generated pages as Markdown, by file name."""
    return {
        "reference_search.md": "\n".join(_search_page()),
        "reference_space.md": "\n".join(_space_page()),
        "reference_commands.md": _commands_page(),
    }


def on_files(files: Any, config: Any) -> Any:
    """Called by mkdocs: adds the generated pages and the style."""
    from mkdocs.structure.files import File

    for name, text in {**pages(), CSS.name: CSS.read_text(encoding="utf-8")}.items():
        files.append(File.generated(config, name, content=text))
    return files


def _search_page() -> Iterator[str]:
    schema = search_schema()
    yield "# The search YAML\n\nOne file describes a whole search."
    yield _EDITOR.format(name="search", check="spach-nas search FILE --dry-run")
    yield "## An example\n\nThe shipped `quickstart`:\n"
    yield _shipped("quickstart")
    yield "## Keys of the file\n"
    yield from _keys(schema, "", elsewhere={"space": "reference_space.md"})


def _space_page() -> Iterator[str]:
    yield "# The search space YAML\n\nA file of its own, or the value of `space` in a search YAML."
    yield _EDITOR.format(name="space", check="spach-nas space FILE")
    yield "## An example\n\nThe shipped `spach_ms`; it holds the multi-stage models of the paper:\n"
    yield _shipped("spach_ms")
    yield _CHOICES
    yield "## Keys of the file\n"
    yield from _keys(space_schema(), "")


def _shipped(name: str) -> str:
    text = (shipped_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    return f"```yaml\n{text}```\n"


def _keys(node: Node, path: str, *, elsewhere: Mapping[str, str] | None = None) -> Iterator[str]:
    """The keys of a mapping, then a section for each key whose value is a mapping.

    Args:
        node: The schema of the mapping.
        path: Prefix of the keys, with a dot at its end; empty at the top.
        elsewhere: Pages of the keys whose own keys are described on another page.
    """
    pages_by_key = elsewhere or {}
    inner = {}
    for name, key in node["properties"].items():
        yield from _key(path + name, key, required=name in node.get("required", ()))
        if name in pages_by_key:
            yield f"[Its keys]({pages_by_key[name]}).\n"
        elif kinds := _kinds(key):
            if path:
                yield f"Options: [those of `{name}`](#{name}).\n"
            else:
                inner |= {f"{name}.{kind}": part for kind, part in kinds.items()}
        elif mapping := _mapping(key):
            inner[path + name] = mapping
    listed: list[tuple[str, Node]] = []
    for name, mapping in inner.items():
        yield f"\n## Keys of `{name}`\n"
        same = next((before for before, keys in listed if keys == mapping["properties"]), None)
        if same:
            yield f"The same as [those of `{same}`](#{same}).\n"
        else:
            yield from _keys(mapping, f"{name}.")
        listed.append((name, mapping["properties"]))


def _key(path: str, node: Node, *, required: bool) -> Iterator[str]:
    name = path.rsplit(".", 1)[-1]
    yield f"\n#### `{name}` {{ #{path.replace('.', '-')} .key }}\n"
    yield f"{_words(node)} · {_default(node, required=required)}\n{{ .key-facts }}\n"
    yield f"{node['description']}\n"


def _default(node: Node, *, required: bool) -> str:
    if required:
        return "required"
    default = node.get("default")
    return "optional" if default in (None, {}, []) else f"default {_value(default)}"


def _kinds(node: Node) -> dict[str, Node]:
    """By name, the mappings of a key that may hold several kinds, without those names."""
    found = {}
    options = node.get("anyOf", ())
    for part in (*options, *(inner for option in options for inner in option.get("anyOf", ()))):
        keys = dict(part.get("properties", {}))
        kind = keys.pop("name", {}).get("const")
        if kind is not None and keys:
            found[kind] = {**part, "properties": keys}
    return found


def _mapping(node: Node) -> Node | None:
    """The mapping in a key's value if its keys need a description: no range, and no constants."""
    for part in (node, *node.get("anyOf", ()), node.get("items", {})):
        keys = part.get("properties", {})
        if keys and "from" not in keys and not all("const" in key for key in keys.values()):
            return part
    return None


def _words(node: Node) -> str:
    """The type of a value, and the legal values."""
    if "const" in node:
        return _value(node["const"])
    if "enum" in node:
        return "one of " + ", ".join(map(_value, node["enum"]))
    if "title" in node:
        return node["title"] + _names(node)
    options = [item for item in node.get("anyOf", ()) if item.get("type") != "null"]
    if options:
        return " or ".join(dict.fromkeys(map(_words, options)))
    if node.get("type") == "array":
        return f"list: {_words(node['items'])}"
    if node["type"] == "object":
        return "mapping"
    if node.get("format") == "path":
        return "path"
    bounds = bound_words(node)
    return _TYPES[node["type"]] + (f", {bounds}" if bounds else "")


def _names(node: Node) -> str:
    """The legal names inside a choice or a list."""
    for part in (
        *node.get("anyOf", ()),
        node.get("items", {}),
        *node.get("properties", {}).values(),
    ):
        if "enum" in part:
            return ": " + ", ".join(map(_value, part["enum"]))
    if node.get("type") == "object" and node.get("properties"):
        return ": " + ", ".join(
            f"`{name}: {item['const']}`" for name, item in node["properties"].items()
        )
    return ""


def _value(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    plain = text.removesuffix("\n").removesuffix("\n...")
    return f"`{plain}`"


def _commands_page() -> str:
    command = [sys.executable, "-m", "typer", "spach_nas.cli", "utils", "docs"]
    done = subprocess.run([*command, "--name", "spach-nas"], capture_output=True, check=True)
    text = done.stdout.decode().replace("# `spach-nas`\n", "# Commands\n", 1)
    # The site's table of contents already lists the commands.
    text = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+", _MISTAKES, text)
    return text.replace("```console\n$ ", "```text\n")
