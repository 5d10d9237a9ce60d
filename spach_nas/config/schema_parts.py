"""The parts of the schema that types alone do not tell, all in this one place.

Some types are read from more than one notation (`12.3G`, a list or a range), some values are
checked by code. Whatever this schema refuses, the reader of the file refuses as well; what depends
on several keys at once only the reader finds. A number written as a text (`"3"`) is the exception:
the reader takes it, an editor should not.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spach_nas import units
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.sampler_registry import has_sampler, sampler_names
from spach_nas.space import choices
from spach_nas.space.mixers import known_mixers, mixer_names
from spach_nas.space.references import REFERENCES

Node = dict[str, Any]

WHOLE: Node = {"type": "integer"}
NUMBER: Node = {"type": "number"}
TEXT: Node = {"type": "string"}
FLAG: Node = {"type": "boolean"}
_AMOUNT = r"^\s*[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?\s*"
_SHARE: Node = {"exclusiveMinimum": 0, "maximum": 1}
_BELOW_1: Node = {"minimum": 0, "exclusiveMaximum": 1}
_POSITIVE: Node = {"exclusiveMinimum": 0}
_FROM_0: Node = {"minimum": 0}
_FROM_1: Node = {"minimum": 1}
_RANGE: Node = {
    "title": "range of whole numbers, both ends included",
    "type": "object",
    "properties": {"from": WHOLE, "to": WHOLE, "step": WHOLE | _FROM_1 | {"default": 1}},
    "required": ["from", "to"],
    "additionalProperties": False,
}
_OPTION: Node = {"type": ["number", "string", "boolean"]}


def choice(item: Node, name: str) -> Node:
    """One value, a list, or for whole numbers a range."""
    several: Node = {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}
    ranges = [_RANGE] if item["type"] in ("integer", "number") else []
    return {"title": f"choice of {name}", "anyOf": [item, several, *ranges]}


def either(*nodes: Node) -> Node:
    """Any of these."""
    flat = [part for node in nodes for part in node.get("anyOf", [node])]
    titles = [node["title"] for node in nodes if "title" in node]
    return {"title": ", or ".join(titles), "anyOf": flat}


def one_of_names(names: Sequence[str]) -> Node:
    """A text out of a few."""
    return {"type": "string", "enum": list(names)}


def _options() -> Node:
    mixer_names()  # brings in what is installed
    legal = {key: item for spec in known_mixers().values() for key, item in spec.options.items()}
    return {
        "title": "choices by name",
        "type": "object",
        "properties": {
            key: choice({"type": _OPTION["type"], "enum": list(values)}, "values")
            for key, values in legal.items()
        },
        "additionalProperties": False,
    }


def _sampler() -> Node:
    has_sampler("")  # brings in what is installed
    return {
        "title": "one of the names, or a class of optuna.samplers",
        "anyOf": [
            one_of_names(sampler_names()),
            {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]*Sampler$"},
        ],
    }


def _scores() -> list[str]:
    return [item.name for item in OBJECTIVES.values() if item.source == "score"]


def _objectives() -> Node:
    scores = _scores()
    return {
        "title": f"mapping with {' or '.join(scores)}",
        "type": "object",
        "properties": {
            item.name: {"const": item.direction, "description": f"{item.label}."}
            for item in OBJECTIVES.values()
        },
        "anyOf": [{"required": [name]} for name in scores],
        "additionalProperties": False,
    }


def by_type() -> list[tuple[Any, Node]]:
    """What a value of a type may be written as; pairs, since not all types can be hashed."""
    whole = choice(WHOLE | _POSITIVE, "whole numbers above 0")
    return [
        (units.Whole, WHOLE),
        (units.Real, NUMBER),
        (
            units.Count,
            {
                "title": "count such as 12.3G, 63.2M, 500k or 1000",
                "type": ["integer", "string"],
                "minimum": 0,
                "pattern": f"{_AMOUNT}[kKmMgGtT]?\\s*$",
            },
        ),
        (
            units.Seconds,
            {
                "title": "duration such as 90s, 5m, 2h, 1d or a number of seconds",
                "type": ["number", "string"],
                "pattern": f"{_AMOUNT}([sSmMhHdD]|[mM][iI][nN])?\\s*$",
            },
        ),
        (
            units.Latency,
            TEXT
            | {
                "title": "latency such as 12ms, 800us or 1.5s",
                "pattern": f"{_AMOUNT}([nNuUmM]?[sS])\\s*$",
            },
        ),
        (
            units.Size,
            {
                "title": "size such as 32 (a square), [32, 48] or 32x48",
                "type": ["integer", "string", "array"],
                "minimum": 1,
                "pattern": r"^\s*[0-9]{1,9}\s*([xX]\s*[0-9]{1,9}\s*)?$",
                "items": WHOLE | _FROM_1,
                "minItems": 1,
                "maxItems": 2,
            },
        ),
        (choices.Counts, whole),
        (choices.CountsFromZero, choice(WHOLE | _FROM_0, "whole numbers from 0")),
        (choices.Ratios, choice(NUMBER | _POSITIVE, "numbers above 0")),
        (choices.Flags, choice(FLAG, "true and false")),
        (choices.Names, choice(one_of_names(mixer_names()), "mixers")),
        (choices.OptionChoices, _options()),
        (Path, TEXT | {"title": "path"}),
        (str, TEXT),
        (bool, FLAG),
    ]


def by_place() -> dict[str, Node]:
    """What replaces the type of a key, by `Class.key`."""
    return {
        "SearchConfig.study": {
            "title": "letters, digits, `.`, `_` and `-`",
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        },
        "SearchConfig.objectives": _objectives(),
        "SearchConfig.references": {
            "title": "list of the paper's models",
            "type": "array",
            "items": one_of_names(tuple(REFERENCES)),
        },
        "SearchSettings.sampler": _sampler(),
        "SearchSettings.sampler_options": {
            "title": "arguments by name",
            "type": "object",
            "additionalProperties": {"type": ["number", "string", "boolean", "null"]},
        },
        "SearchSpace.stem": choice(one_of_names(("conv1", "conv4")), "stems"),
        "StageSpace.depth": choice(
            WHOLE | {"minimum": 1, "maximum": 200}, "whole numbers from 1 to 200"
        ),
        "Rungs.rank": one_of_names(("front", *_scores())),
        "Resources.gpus_per_trial": {
            "title": "`auto`, a share of one GPU, or a whole number",
            "anyOf": [
                {"const": "auto"},
                NUMBER | {"minimum": 0, "maximum": 1},
                WHOLE | _FROM_1,
            ],
        },
    }


# What the dataclasses check themselves.
BOUNDS: dict[str, Node] = {
    "DataSettings.root": {"minLength": 1},
    "DataSettings.validation": {"exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "DataSettings.split_seed": _FROM_0,
    "Augmentation.crop_padding": _FROM_0,
    "TrainingSettings.epochs": _FROM_1,
    "TrainingSettings.seed": _FROM_0,
    "TrainingSettings.data_share": _SHARE,
    "TrainingSettings.batch_size": _FROM_1,
    "TrainingSettings.learning_rate": _POSITIVE,
    "TrainingSettings.weight_decay": _FROM_0,
    "TrainingSettings.warmup_share": _BELOW_1,
    "TrainingSettings.label_smoothing": _BELOW_1,
    "TrainingSettings.drop_path_rate": _BELOW_1,
    "SearchSettings.trials": _FROM_1,
    "SearchSettings.max_duration": _POSITIVE,
    "SearchSettings.seed": _FROM_0,
    "SearchSettings.startup_trials": _FROM_1,
    "SearchSettings.stop_after_failures": _FROM_1,
    "LatencySettings.batch_size": _FROM_1,
    "LatencySettings.threads": _FROM_1,
    "Level.epochs": _FROM_1,
    "Level.data_share": _SHARE,
    "Rungs.reduction": {"minimum": 2},
    "Resources.cpus_per_trial": _POSITIVE,
    "Resources.max_concurrent": _FROM_1,
    "Resources.address": {"minLength": 1},
    "ProxyRule.patch_size": _FROM_1,
    "ProxyRule.width_scale": _POSITIVE,
    "ProxyRule.depth_scale": _SHARE,
    "SearchSpace.in_channels": _FROM_1,
    "SearchSpace.num_classes": _FROM_1,
    "SearchSpace.stages": {"minItems": 1},
    "HeadsRule.width_per_head": _FROM_1,
}
