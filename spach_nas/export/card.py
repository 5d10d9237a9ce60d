"""The README.md of a bundle: a model card for people who find it without its history."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from spach_nas.config.objectives import OBJECTIVES
from spach_nas.cost.closed_form import cost
from spach_nas.export.choice import Choice
from spach_nas.export.proof import Accuracy, Proof
from spach_nas.report.drawing import DRAWN_HEIGHT, describe, draw, drawn_width
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import home, plugin_mixers
from spach_nas.space.references import REFERENCES
from spach_nas.study.records import Record
from spach_nas.units import format_count
from spach_nas.version import __version__

DRAWING = "architecture.svg"
_MARGIN = 8
# For data sets whose terms are known: licence on the hub, credit, name on the hub.
_FASHION = ("mit", "Fashion-MNIST, Zalando SE, MIT", "zalando-datasets/fashion_mnist")
_KNOWN_DATA = {"fashion-mini": _FASHION, "fashion-mnist": _FASHION}


def drawing(architecture: Architecture) -> str:
    """The drawing as a separate file, with a white background because no page provides colours."""
    wide = drawn_width(architecture) + 2 * _MARGIN
    high = DRAWN_HEIGHT + 2 * _MARGIN
    # A nested SVG keeps its own coordinates; only its position is added.
    inner = draw(architecture).replace("<svg ", f'<svg x="{_MARGIN}" y="{_MARGIN}" ', 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:g}" height="{high:g}" '
        f'viewBox="0 0 {wide:g} {high:g}" color="#1a1f26">'
        f'<rect width="100%" height="100%" rx="4" fill="#fff"/>{inner}</svg>\n'
    )


def card(
    choice: Choice,
    *,
    proof: Proof,
    left_out: Mapping[str, str],
    test_accuracy: float | None = None,
    samples: int = 0,
    accuracies: Sequence[Accuracy] = (),
) -> str:
    """Text of the README.md.

    Args:
        choice: The network to export.
        proof: How closely the forms agree.
        left_out: Why forms are missing, by their names.
        test_accuracy: Accuracy on the test split in [0, 1], if it was measured.
        samples: Number of images in the bundle.
        accuracies: Those of small forms.
    """
    architecture, reference = choice.architecture, REFERENCES.get(choice.name)
    data = None if choice.config is None else choice.config.data.name
    place, neighbours = _neighbours(choice)
    return _template().render(
        choice=choice,
        trained=choice.weights is not None,
        record=choice.record,
        front_matter=_front_matter(choice, data, test_accuracy),
        description=describe(architecture),
        drawing=DRAWING,
        architecture=architecture,
        cost=cost(architecture),
        version=__version__,
        test_accuracy=test_accuracy,
        is_reference=reference is not None,
        published=None if reference is None else reference.top1,
        place=place,
        neighbours=neighbours,
        plugin_imports=_plugin_imports(architecture),
        forms={item.form for item in proof.agreements},
        proof=proof,
        left_out=left_out,
        samples=samples,
        accuracies=accuracies,
        data_terms=_KNOWN_DATA[data][1] if data in _KNOWN_DATA else None,
    )


@cache
def _template() -> Template:
    # Markdown, in which nothing is escaped.
    environment = Environment(
        loader=PackageLoader("spach_nas.export"),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["amount"] = format_count
    environment.filters["figures"] = lambda values: ", ".join(f"{value:.4f}" for value in values)
    environment.filters["accuracy"] = _accuracy
    return environment.get_template("card.md.jinja")


def _accuracy(record: Record) -> str:
    found = OBJECTIVES["accuracy"].of(record)
    return "" if found is None else f"{found:.4f}"


def _neighbours(choice: Choice) -> tuple[int | None, Sequence[Record]]:
    """The place on the front of the study, from 1, and the records to show with the network's."""
    record, front = choice.record, choice.front
    if record is None or not front:
        return None, ()
    trials = [member.trial for member in front]
    if record.trial in trials:
        index = trials.index(record.trial)
        return index + 1, front[max(0, index - 1) : index + 2]
    macs = record.target_cost.macs
    near = sorted(front, key=lambda one: abs(one.target_cost.macs - macs))[:2]
    return None, sorted([*near, record], key=lambda one: one.target_cost.macs)


def _plugin_imports(architecture: Architecture) -> str:
    """Lines that import the mixers that do not belong to this package."""
    names = [name for stage in architecture.stages for name in stage.mixers]
    modules = dict.fromkeys(home(spec) for spec in plugin_mixers(names))
    return "".join(f"import {module}  # registers its mixers\n" for module in modules)


def _front_matter(choice: Choice, data: str | None, test_accuracy: float | None) -> str:
    """The YAML at the top of the card, which the Hugging Face hub reads."""
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
    if choice.weights is not None and data is not None:
        # No licence is stated for other data, because this package cannot know it.
        hub_name = data.removeprefix("hfds/")
        if data in _KNOWN_DATA:
            plain["license"], _, hub_name = _KNOWN_DATA[data]
        results = [
            {
                "task": {"type": "image-classification"},
                "dataset": {"name": data, "type": hub_name, "split": split},
                "metrics": [{"type": "accuracy", "value": round(value, 4), "name": name}],
            }
            for split, value, name in _measured(choice, test_accuracy)
        ]
        plain["datasets"] = [hub_name]
        plain["metrics"] = ["accuracy"]
        plain["model-index"] = [{"name": choice.name, "results": results}]
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def _measured(choice: Choice, test_accuracy: float | None) -> list[tuple[str, float, str]]:
    """Split, accuracy in [0, 1] and its description."""
    found = [] if test_accuracy is None else [("test", test_accuracy, "test accuracy")]
    if choice.record is not None and choice.record.curve:
        accuracy = choice.record.curve[-1].accuracy
        found.append(("validation", accuracy, "validation accuracy, used for selection"))
    return found
