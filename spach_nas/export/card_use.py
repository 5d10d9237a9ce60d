"""How to load each form of a bundle, for its model card."""

from collections.abc import Sequence

from spach_nas.data.preprocessing import Preprocessing
from spach_nas.export.formats import INPUT, ONNX, OUTPUT, PT2
from spach_nas.export.source import Choice
from spach_nas.space.mixers import home, plugin_mixers


def use_section(choice: Choice, *, forms: Sequence[str]) -> str:
    """Text that shows the code for the forms that are there."""
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
    return f"resized, and {preprocessing.crop_share:.3g} of the shorter side cut from the centre"


def _plugin_imports(choice: Choice) -> str:
    """Lines that bring in the mixers that do not come with this package."""
    names = [name for stage in choice.architecture.stages for name in stage.mixers]
    modules = dict.fromkeys(home(spec) for spec in plugin_mixers(names))
    return "".join(f"import {module}  # brings in its mixers\n" for module in modules)
