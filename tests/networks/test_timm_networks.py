"""Networks of timm beside ours: names without its import, inputs told early, exact cost."""

import subprocess
import sys

import pytest
import timm
import torch

from spach_nas.errors import ArchitectureError
from spach_nas.networks.timm_networks import build_any, check_timm, named_timm, timm_cost
from spach_nas.space.scaling import DataShape
from spach_nas.space.timm_reference import TimmModel, published, timm_name, timm_names

SHAPE = DataShape(in_channels=1, num_classes=10)


def vit_macs(*, side: int, patch: int, width: int, depth: int, classes: int) -> int:
    """A vision transformer with a class token, by hand."""
    positions = (side // patch) ** 2
    tokens = positions + 1
    stem = positions * 3 * patch * patch * width
    attention = 4 * tokens * width * width + 2 * tokens * tokens * width
    channel_mlp = 2 * tokens * width * 4 * width
    return stem + depth * (attention + channel_mlp) + width * classes


def test_names_are_those_of_timm_itself() -> None:
    ours = {name for name in timm.list_models() if name.startswith("spach")}
    assert timm_names() == set(timm.list_models()) - ours
    assert timm_name("timm/resnet18.tv_in1k") == "resnet18.tv_in1k"


def test_a_misspelt_name_is_told_with_the_nearest_before_torch_is_loaded() -> None:
    code = (
        "import sys\n"
        "from spach_nas.space.timm_reference import timm_name\n"
        "from spach_nas.errors import ArchitectureError\n"
        "try: timm_name('timm/caformer_s17')\n"
        "except ArchitectureError as e: print(e)\n"
        "print('torch' in sys.modules, 'timm' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = told.stdout.splitlines()
    assert first.startswith("timm/caformer_s17: no such model of timm; did you mean 'caformer_s1")
    assert second == "False False"


def test_traced_cost_counts_fused_attention_as_the_closed_form_of_a_vit_does() -> None:
    model = named_timm("timm/deit_tiny_patch16_224")
    assert str(model) == "timm/deit_tiny_patch16_224, 224x224 px, 3 channels and 1,000 classes"
    wanted = vit_macs(side=224, patch=16, width=192, depth=12, classes=1000)
    found = timm_cost(model)
    assert (found.macs, found.params) == (wanted, 5_717_416)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_maxvit"])
def test_models_are_built_for_other_sizes_channels_and_classes(name: str) -> None:
    model = named_timm(f"timm/{name}", shape=SHAPE, image_size=(64, 64))
    network = build_any(model, drop_path_rate=0.1).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 1, 64, 64)).shape == (2, 10)


def test_an_input_that_a_model_cannot_take_is_told_with_its_own() -> None:
    with pytest.raises(ArchitectureError) as raised:
        named_timm("timm/inception_v3", image_size=(32, 32))
    assert str(raised.value).startswith("timm/inception_v3: cannot take images of 32x32 px (")
    assert str(raised.value).endswith("its own size is 299x299")


def test_an_unknown_tag_is_told() -> None:
    with pytest.raises(ArchitectureError, match=r"timm/resnet18\.mine: Invalid pretrained tag"):
        named_timm("timm/resnet18.mine")
    check_timm(TimmModel(name="test_resnet", image_size=(32, 32)))


def test_published_accuracies_are_facts_about_models_of_timm() -> None:
    found = published("resnet50")
    assert found == published("resnet50.a1_in1k") == ("resnet50.a1_in1k", 224, 80.382)
    assert str(found) == "80.4 % at 224 px (resnet50.a1_in1k)"
    assert published("resnet50.tv_in1k") is None
    assert published("test_vit") is None


@pytest.mark.slow
def test_every_model_in_the_table_takes_the_size_of_its_accuracy() -> None:
    from spach_nas.space import timm_reference

    for row in timm_reference._accuracies():
        name, _, tag = row.model.partition(".")
        assert name in timm_names()
        # Only ImageNet-1k: neither larger sets nor a teacher.
        assert tag.endswith("in1k") and not {"22k", "12k", "21k", "dist"} & set(tag.split("_"))
        assert row.model in timm.list_pretrained(f"{name}.*")
        assert 50 < row.top1 < 90
