"""The README.md of a bundle: a model card for people who find it without its history."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from spach_nas.config.objectives import OBJECTIVES
from spach_nas.cost.closed_form import cost
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.export.bundle import SAMPLES
from spach_nas.export.choice import Choice
from spach_nas.export.formats import INPUT, ONNX, OUTPUT, PT2
from spach_nas.export.proof import Proof
from spach_nas.report.drawing import DRAWN_HEIGHT, describe, draw, drawn_width
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import home, plugin_mixers
from spach_nas.space.references import REFERENCES
from spach_nas.study import pareto
from spach_nas.study.records import Record
from spach_nas.units import format_count
from spach_nas.version import __version__

DRAWING = "architecture.svg"
_MARGIN = 8


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
    proof: Proof | None = None,
    left_out: Mapping[str, str] | None = None,
    test_accuracy: float | None = None,
    samples: int = 0,
) -> str:
    """Text of the README.md.

    Args:
        choice: The network to export.
        proof: How closely the forms agree.
        left_out: Why forms are missing, by their names.
        test_accuracy: Accuracy on the test split in [0, 1], if it was measured.
        samples: Number of images in the bundle.
    """
    forms = () if proof is None else tuple(dict.fromkeys(item.form for item in proof.agreements))
    parts = [
        front_matter(choice, test_accuracy=test_accuracy),
        f"# SPACH network, {choice.name}",
        f"![{describe(choice.architecture)}]({DRAWING})",
        f"`{choice.architecture}`",
        "A vision backbone of the SPACH framework (Zhao et al. 2021, "
        "[arXiv:2108.13002](https://arxiv.org/abs/2108.13002)), written by "
        f"spach-nas {__version__}.",
        "\n".join(["| | |", "|---|---|", *_facts(choice, test_accuracy)]),
        *_place(choice),
        "## Use\n\n" + use_section(choice, forms=forms),
        *([] if choice.training is None else [choice.training]),
        *_proof_section(proof, left_out or {}),
        *_samples_section(samples),
        "## Limits of use\n\n" + _limits_of_use(choice),
        "## Licence\n\n" + licence_note(choice),
    ]
    if choice.search_yaml is not None:
        parts.append(f"## Found by\n\n```yaml\n{choice.search_yaml.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def _facts(choice: Choice, test_accuracy: float | None) -> list[str]:
    architecture, figures = choice.architecture, cost(choice.architecture)
    height, width = architecture.image_size
    rows = [
        ("architecture", f"`{architecture.arch_id}`"),
        ("input", f"{architecture.in_channels} x {height} x {width}"),
        ("classes", f"{architecture.num_classes}"),
        ("parameters", f"{figures.params:,} ({format_count(figures.params)})"),
        ("multiply-accumulates", f"{figures.macs:,} ({format_count(figures.macs)})"),
    ]
    if choice.record is not None and choice.config is not None:
        seeds = f"search {choice.config.search.seed}, training {choice.record.seed}"
        rows += [("data", choice.config.data.name), ("seeds", seeds)]
    rows += _scores(choice, test_accuracy)
    return [f"| {name} | {value} |" for name, value in rows]


def _scores(choice: Choice, test_accuracy: float | None) -> list[tuple[str, str]]:
    rows = []
    if choice.record is not None and choice.record.curve:
        epochs = choice.record.fidelity.epochs
        text = f"{choice.record.curve[-1].accuracy:.4f} after {epochs} epochs"
        rows.append(("validation accuracy of the proxy", f"{text}; the search selected by it"))
    if test_accuracy is not None:
        rows.append(("test accuracy", f"{test_accuracy:.4f}"))
    published = REFERENCES.get(choice.name)
    if choice.weights is None and published is not None and published.top1 is not None:
        note = "with the paper's weights, which are not included"
        rows.append(("published ImageNet-1K top-1", f"{published.top1} %, {note}"))
    return rows


def _place(choice: Choice) -> list[str]:
    """The place of the network in the front of its study, with its neighbours."""
    record = choice.record
    if record is None or not choice.front:
        return []
    trials = [member.trial for member in choice.front]
    if record.trial in trials:
        index = trials.index(record.trial)
        text = f"Number {index + 1} of {len(trials)} on the Pareto front, cheapest first."
        shown: Sequence[Record] = choice.front[max(0, index - 1) : index + 2]
    else:
        text = "Not on the Pareto front; its nearest members:"
        near = sorted(
            choice.front, key=lambda one: abs(one.target_cost.macs - record.target_cost.macs)
        )
        shown = sorted([*near[:2], record], key=lambda one: one.target_cost.macs)
    rows = [_neighbour(one, bold=one.trial == record.trial) for one in shown]
    head = "| trial | target | target MACs | target params | accuracy |\n|---|---|---|---|---|"
    return ["## Place in the search", text, "\n".join([head, *rows])]


def _neighbour(record: Record, *, bold: bool) -> str:
    accuracy = pareto.value(record, OBJECTIVES["accuracy"])
    mark = "**" if bold else ""
    # A bar would end the cell of the table.
    name = str(record.architecture).replace("|", "\\|")
    cells = (
        f"{mark}{record.reference or record.trial}{mark}",
        f"`{name}`",
        format_count(record.target_cost.macs),
        format_count(record.target_cost.params),
        "" if accuracy is None else f"{accuracy:.4f}",
    )
    return f"| {' | '.join(cells)} |"


def _proof_section(proof: Proof | None, left_out: Mapping[str, str]) -> list[str]:
    if proof is None:
        return []
    rows = [
        f"| {item.form} | {item.weights} | {item.max_difference:.1e} | "
        f"{item.mean_difference:.1e} | {item.tolerance:.1e} | {item.top1_agreement:.0%} |"
        for item in proof.agreements
    ]
    return [
        "## Proof",
        f"Each form was compared with the network on {proof.images}: with the bundle's weights, "
        "and with random ones that make every part matter. `spach-nas verify` repeats this.",
        "| form | weights | largest difference | mean | tolerance | same top-1 |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(rows),
        *[f"Left out, {name}: {reason}." for name, reason in left_out.items()],
    ]


def _samples_section(samples: int) -> list[str]:
    if not samples:
        return []
    return [
        "## Samples",
        f"`{SAMPLES}` holds {samples} images of the network's data at the size of its input: "
        "`spach-nas verify` compares the forms on them. Passing this bundle on passes them on, "
        "too; `spach-nas export ... --no-samples` leaves them out.",
    ]


def _limits_of_use(choice: Choice) -> str:
    if choice.weights is None:
        note = "" if choice.note is None else f" Note that {choice.note}."
        return f"An architecture without weights: it has to be trained before use.{note}"
    if choice.record is None:
        return "It only knows the classes and the kind of images that it was trained on."
    target = choice.record.target_cost
    return (
        "This is the proxy that the search trained for a short time to rank architectures. Its "
        f"target has {format_count(target.params)} parameters and {format_count(target.macs)} "
        "multiply-accumulates and has to be trained at full size: export it with "
        "`--scale target`. Single short trainings differ by chance, and small proxies favour "
        "convolution: read the scores as a ranking, not as what the network can achieve."
    )


# For data sets whose terms are known: licence on the hub, credit, name on the hub.
_KNOWN_DATA = {
    "fashion-mini": ("mit", "Fashion-MNIST, Zalando SE, MIT", "zalando-datasets/fashion_mnist"),
    "fashion-mnist": ("mit", "Fashion-MNIST, Zalando SE, MIT", "zalando-datasets/fashion_mnist"),
}


def front_matter(choice: Choice, *, test_accuracy: float | None = None) -> str:
    """The YAML block for the Hugging Face hub, including its `---` lines.

    Args:
        choice: The network to export.
        test_accuracy: Accuracy on the test split in [0, 1], if it was measured.
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
    # No licence is stated for other data, because this package cannot know it.
    if choice.weights is not None and data in _KNOWN_DATA:
        plain["license"] = _KNOWN_DATA[data][0]
    if choice.weights is not None and data is not None:
        plain["datasets"] = [_hub_name(data)]
        plain["metrics"] = ["accuracy"]
        plain["model-index"] = [_results(choice, data=data, test_accuracy=test_accuracy)]
    return f"---\n{yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)}---"


def licence_note(choice: Choice) -> str:
    """The terms of use of the code, the weights and the data."""
    parts = ["spach-nas is under the MIT licence."]
    if choice.name in REFERENCES:
        parts.append("The architecture is that of the paper; the code was written independently.")
    data = _data_name(choice)
    if choice.weights is not None and data in _KNOWN_DATA:
        parts.append(f"The weights were trained on {_KNOWN_DATA[data][1]}.")
    elif choice.weights is not None:
        parts.append(
            "The terms of the weights depend on the images that they were trained on: state them "
            "here before you pass the weights on."
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
        measured.append(("validation", accuracy, "validation accuracy, used for selection"))
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


def use_section(choice: Choice, *, forms: Sequence[str]) -> str:
    """Text with code for each form in the bundle."""
    imports = _plugin_imports(choice)
    if choice.weights is None:
        return (
            "There are no weights here: this network has not been trained at this size.\n\n"
            f"```python\nimport spach_nas\n{imports}\n"
            'network = spach_nas.load_model("this folder")  # freshly initialised\n```'
        )
    parts = [
        f"```python\nimport spach_nas, timm\n{imports}\n"
        'network = spach_nas.load_model("this folder")\n'
        'same = timm.create_model("local-dir:this folder", pretrained=True)\n```',
        *_without_package(choice, forms),
        _input_note(choice),
    ]
    return "\n\n".join(parts)


def _without_package(choice: Choice, forms: Sequence[str]) -> list[str]:
    channels, (height, width) = choice.architecture.in_channels, choice.architecture.image_size
    shape = f"(batch, {channels}, {height}, {width})"
    found = []
    if "pt2" in forms:
        found.append(
            "With PyTorch alone:\n\n```python\nimport torch\n\n"
            f'network = torch.export.load("this folder/{PT2}").module()\n'
            f"logits = network(images)  # {shape}, float32\n```"
        )
    if "onnx" in forms:
        found.append(
            "With ONNX Runtime:\n\n```python\nimport onnxruntime\n\n"
            f'session = onnxruntime.InferenceSession("this folder/{ONNX}")\n'
            f'(logits,) = session.run(["{OUTPUT}"], {{"{INPUT}": images}})  # {shape}, float32\n'
            "```"
        )
    return found


def _input_note(choice: Choice) -> str:
    assert choice.preprocessing is not None, "weights come with their preprocessing"
    mean = ", ".join(f"{value:.4f}" for value in choice.preprocessing.mean)
    std = ", ".join(f"{value:.4f}" for value in choice.preprocessing.std)
    return (
        f"Input: pixels in [0, 1], minus {mean}, divided by {std}; {_sizes(choice.preprocessing)} "
        "(`preprocessing.json`).\n\n"
        f"Classes, in order: {', '.join(choice.preprocessing.class_names)}."
    )


def _sizes(preprocessing: Preprocessing) -> str:
    if preprocessing.crop_share is None:
        return "images smaller than the input are padded with zeros on all sides"
    return f"resized, then a centre crop of {preprocessing.crop_share:.3g} of the shorter side"


def _plugin_imports(choice: Choice) -> str:
    """Lines that import the mixers that do not belong to this package."""
    names = [name for stage in choice.architecture.stages for name in stage.mixers]
    modules = dict.fromkeys(home(spec) for spec in plugin_mixers(names))
    return "".join(f"import {module}  # registers its mixers\n" for module in modules)
