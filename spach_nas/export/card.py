"""From a choice to a bundle with its README.md: what a person who finds it has to know."""

from pathlib import Path

from spach_nas.cost import cost
from spach_nas.export.bundle import write_bundle
from spach_nas.export.source import Choice
from spach_nas.mixers import plugin_mixers
from spach_nas.plugins import home
from spach_nas.references import REFERENCES
from spach_nas.units import format_count
from spach_nas.version import __version__


def export(choice: Choice, *, out: Path, test_accuracy: float | None = None) -> Path:
    """Write the bundle of a choice.

    Args:
        choice: What is exported.
        out: A folder that does not exist yet.
        test_accuracy: On the test split, in [0, 1], when it was measured.

    Returns:
        The folder.

    Raises:
        BundleError: The folder exists already or cannot be written.
    """
    return write_bundle(
        out,
        architecture=choice.architecture,
        card=card(choice, test_accuracy=test_accuracy),
        weights=choice.weights,
        preprocessing=choice.preprocessing,
    )


def card(choice: Choice, *, test_accuracy: float | None = None) -> str:
    """Text of the README.md.

    Args:
        choice: What is exported.
        test_accuracy: On the test split, in [0, 1], when it was measured.
    """
    architecture, figures = choice.architecture, cost(choice.architecture)
    height, width = architecture.image_size
    parts = [
        f"# SPACH network, {choice.name}",
        f"```\n{architecture}\n```",
        "A vision backbone of the SPACH frame (Zhao et al. 2021, arXiv:2108.13002), written by "
        f"spach-nas {__version__}.",
        "\n".join(
            [
                "| | |",
                "|---|---|",
                f"| architecture | `{architecture.arch_id}` |",
                f"| input | {architecture.in_channels} x {height} x {width} |",
                f"| classes | {architecture.num_classes} |",
                f"| parameters | {figures.params:,} ({format_count(figures.params)}) |",
                f"| multiply-accumulates | {figures.macs:,} ({format_count(figures.macs)}) |",
                *_score_rows(choice, test_accuracy),
            ]
        ),
        "## Use\n\n" + _use(choice),
    ]
    if choice.record is not None and choice.weights is not None:
        parts.append(_proxy_note(choice))
    if choice.search_yaml is not None:
        parts.append(f"## Found by\n\n```yaml\n{choice.search_yaml.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def _score_rows(choice: Choice, test_accuracy: float | None) -> list[str]:
    rows = []
    if choice.record is not None and choice.record.curve:
        epochs = choice.record.fidelity.epochs
        rows.append(
            f"| validation accuracy of the proxy | {choice.record.curve[-1].accuracy:.4f} after "
            f"{epochs} epochs |"
        )
    if test_accuracy is not None:
        rows.append(f"| test accuracy | {test_accuracy:.4f} |")
    published = REFERENCES.get(choice.name)
    if published is not None and published.top1 is not None:
        rows.append(f"| published ImageNet-1K top-1 | {published.top1} % |")
    return rows


def _plugin_imports(choice: Choice) -> str:
    """Lines that bring in the mixers that do not come with this package."""
    names = [name for stage in choice.architecture.stages for name in stage.mixers]
    modules = dict.fromkeys(home(spec) for spec in plugin_mixers(names))
    return "".join(f"import {module}  # brings in its mixers\n" for module in modules)


def _use(choice: Choice) -> str:
    imports = _plugin_imports(choice)
    if choice.weights is None:
        return (
            "There are no weights here: this network has not been trained at this size.\n\n"
            f"```python\nimport spach_nas\n{imports}\n"
            'network = spach_nas.load_model("this folder")  # freshly initialised\n```'
        )
    assert choice.preprocessing is not None, "weights come with their preprocessing"
    mean = ", ".join(f"{value:.4f}" for value in choice.preprocessing.mean)
    std = ", ".join(f"{value:.4f}" for value in choice.preprocessing.std)
    return (
        f"```python\nimport spach_nas, timm\n{imports}\n"
        'network = spach_nas.load_model("this folder")\n'
        'same = timm.create_model("local-dir:this folder", pretrained=True)\n```\n\n'
        f"Input: pixels in [0, 1], minus {mean}, divided by {std}; images smaller than the input "
        "are padded with zeros on all sides.\n\n"
        f"Classes, in order: {', '.join(choice.preprocessing.class_names)}."
    )


def _proxy_note(choice: Choice) -> str:
    assert choice.record is not None, "only a study has proxies"
    target = choice.record.target_cost
    return (
        "## Limits of use\n\n"
        "This is the proxy that the search trained for a short time to rank architectures. Its "
        f"target has {format_count(target.params)} parameters and {format_count(target.macs)} "
        "multiply-accumulates and has to be trained at full size: export it with "
        "`--scale target`."
    )
