"""Models of timm trained and scored by the same loop as ours."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load, save_file

from full_tools import CLASSES, STREAMED, write_images
from spach_nas.errors import ArchitectureError, BundleError
from spach_nas.full_size.evaluate import evaluate
from spach_nas.full_size.run_folder import read_curve
from spach_nas.full_size.training_plan import TrainingPlan, TrainingRequest, plan_training
from spach_nas.full_size.training_run import run_training
from spach_nas.networks.timm_networks import build_any
from spach_nas.space.timm_reference import TimmModel


def plan(folder: Path, source: str, *changes: str, init: str | None = None) -> TrainingPlan:
    return plan_training(
        TrainingRequest(
            source=source,
            data=str(folder / "images"),
            out=folder / "run",
            init=init,
            changes=(*STREAMED, "image_size=32", "epochs=2", *changes),
        )
    )


def test_a_trained_model_is_loaded_by_timm_and_scored(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    planned = plan(tmp_path, "timm/test_vit")
    assert planned.job.architecture == TimmModel(
        name="test_vit", image_size=(32, 32), num_classes=len(CLASSES)
    )
    bundle = run_training(planned)
    assert len(read_curve(tmp_path / "run")) == 2
    found = evaluate(str(bundle), data=str(tmp_path / "images"), batch_sizes=(2,))
    assert found.images == 12 and 0 <= found.top1 <= 1
    network = timm.create_model(f"local-dir:{bundle}", pretrained=True).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    config = network.pretrained_cfg
    assert tuple(config["input_size"]) == (3, 32, 32) and config["num_classes"] == 3
    (bundle / "README.md").write_text("else")
    with pytest.raises(BundleError, match=r"README\.md: was changed"):
        evaluate(str(bundle), data=str(tmp_path / "images"))


def test_a_training_begins_with_weights_from_a_file_and_a_new_head(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    torch.manual_seed(1)
    source = build_any(TimmModel(name="test_resnet", image_size=(32, 32)))
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    planned = plan(tmp_path, "timm/test_resnet", init=str(tmp_path / "weights.safetensors"))
    assert planned.weights is not None
    # timm's weights expect timm's pixels.
    assert planned.job.normalisation.mean == tuple(source.pretrained_cfg["mean"])
    begun, given = load(planned.weights), source.state_dict()
    assert begun["fc.weight"].shape[0] == len(CLASSES)
    assert all(torch.equal(begun[name], given[name]) for name in begun if "fc" not in name)


@pytest.mark.parametrize(
    ("source", "init", "error", "line"),
    [
        ("timm/test_vitt", None, ArchitectureError, "timm/test_vitt: no such model of timm; did"),
        ("timm/test_vit", "official", BundleError, "--init official: no such file; expected pre"),
        ("timm/inception_v3", None, ArchitectureError, "cannot take images of 32x32 px"),
        ("timm/test_vit", "broken", BundleError, "broken cannot be loaded ("),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    tmp_path: Path, source: str, init: str | None, error: type[Exception], line: str
) -> None:
    write_images(tmp_path / "images")
    if init == "broken":
        init = str(tmp_path / "broken")
        Path(init).write_bytes(b"no weights")
    with pytest.raises(error) as raised:
        plan(tmp_path, source, init=init)
    assert line in str(raised.value)
    assert not (tmp_path / "run").exists()
