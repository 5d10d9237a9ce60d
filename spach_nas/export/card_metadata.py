"""The YAML at the head of a model card, as the Hugging Face hub reads it."""

from typing import Any

import yaml

from spach_nas.export.source import Choice
from spach_nas.space.references import REFERENCES

# Of the data sets whose terms are known here: licence for the hub, credit, name there.
_KNOWN_DATA = {
    "fashion-mini": ("mit", "Fashion-MNIST, Zalando SE, MIT", "zalando-datasets/fashion_mnist"),
    "fashion-mnist": ("mit", "Fashion-MNIST, Zalando SE, MIT", "zalando-datasets/fashion_mnist"),
}


def front_matter(choice: Choice, *, test_accuracy: float | None = None) -> str:
    """The block between `---` lines, those included.

    Args:
        choice: What is exported.
        test_accuracy: On the test split, in [0, 1], when it was measured.
    """
    plain: dict[str, Any] = {
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": [
            "image-classification",
            "timm",
            "spach",
            "neural-architecture-search",
            "spach-nas",
        ],
    }
    data = _data_name(choice)
    if choice.weights is not None and data in _KNOWN_DATA:
        plain["license"] = _KNOWN_DATA[data][0]
    if choice.weights is not None and data is not None:
        plain["datasets"] = [_hub_name(data)]
        plain["metrics"] = ["accuracy"]
        plain["model-index"] = [_results(choice, data=data, test_accuracy=test_accuracy)]
    return f"---\n{yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)}---"


def licence_note(choice: Choice) -> str:
    """Whose terms hold for the code, the weights and the data."""
    parts = ["spach-nas is under the MIT licence."]
    if choice.name in REFERENCES:
        parts.append("The architecture is that of the paper; this is code of our own.")
    data = _data_name(choice)
    if choice.weights is not None and data in _KNOWN_DATA:
        parts.append(f"The weights were trained on {_KNOWN_DATA[data][1]}.")
    elif choice.weights is not None:
        parts.append(
            "What holds for the weights depends on the images that they were trained on: whoever "
            "passes them on has to say so here."
        )
    return " ".join(parts)


def _data_name(choice: Choice) -> str | None:
    return None if choice.config is None else choice.config.data.name


def _hub_name(data: str) -> str:
    return _KNOWN_DATA[data][2] if data in _KNOWN_DATA else data.removeprefix("hfds/")


def _results(choice: Choice, *, data: str, test_accuracy: float | None) -> dict[str, Any]:
    measured = []
    if test_accuracy is not None:
        measured.append(("test", round(test_accuracy, 4), "test accuracy"))
    if choice.record is not None and choice.record.curve:
        accuracy = round(choice.record.curve[-1].accuracy, 4)
        measured.append(("validation", accuracy, "validation accuracy, which chose it"))
    return {
        "name": choice.name,
        "results": [
            {
                "task": {"type": "image-classification"},
                "dataset": {"name": data, "type": _hub_name(data), "split": split},
                "metrics": [{"type": "accuracy", "value": value, "name": name}],
            }
            for split, value, name in measured
        ],
    }
