"""Forms in small number formats: what they hold, how they are judged, what is refused."""

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from conftest import run_main
from effort import slow
from full_tools import tiny
from network_tools import randomised
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.errors import BundleError, DataError
from spach_nas.export import Choice, export, read_proof, verify
from spach_nas.export.formats import as_run
from spach_nas.export.proof import Accuracy
from spach_nas.export.samples import embedded_sample
from spach_nas.networks import Spach
from spach_nas.networks.onnx_number_formats import int8_bytes

NAMES = ("ant", "bee", "cat")
IMAGES = Preprocessing(mean=(0.5, 0.4, 0.6), std=(0.3, 0.3, 0.3), class_names=NAMES)
BOTH = ("onnx_fp16", "onnx_int8")


PIXELS = np.random.default_rng(3).integers(0, 256, (90, 4, 4, 3)).repeat(4, 1).repeat(4, 2)


def logits_of(network: Spach) -> torch.Tensor:
    inputs = (PIXELS / 255 - np.array(IMAGES.mean)) / np.array(IMAGES.std)
    return as_run(network.eval())(torch.from_numpy(inputs.transpose(0, 3, 1, 2)).float())


@cache
def network() -> Spach:
    """It sees all classes about equally often."""
    made = randomised(tiny())
    with torch.no_grad():
        made.head.bias -= logits_of(made).median(0).values
    return made


def choice() -> Choice:
    return Choice(
        architecture=tiny(),
        name="mine",
        weights=save(dict(network().state_dict())),
        preprocessing=IMAGES,
    )


def write_images(root: Path, *, names: tuple[str, ...] = NAMES, labelled: bool = True) -> Path:
    """Noise in patches, in the folder of the class that the network sees in it."""
    seen = logits_of(network()).argmax(1).tolist()
    for index, (image, label) in enumerate(zip(PIXELS, seen, strict=True)):
        place = label if labelled else index // 3 % len(names)
        folder = root / ("train" if index % 3 else "val") / names[place]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{index}.png")
    return root


@slow
def test_small_formats_hold_what_they_say_and_are_scored_beside_the_network(
    tmp_path: Path,
) -> None:
    data = write_images(tmp_path / "data")
    out = export(choice(), out=tmp_path / "net", formats=BOTH, data=str(data), max_loss=1)
    kinds = {
        name: {item.data_type for item in onnx.load(out / f"model_{name}.onnx").graph.initializer}
        for name in ("fp16", "int8")
    }
    assert onnx.TensorProto.FLOAT16 in kinds["fp16"]
    assert onnx.TensorProto.FLOAT not in kinds["fp16"]
    assert onnx.TensorProto.INT8 in kinds["int8"]
    proof = read_proof(out / "parity.json")
    rows = {item["form"]: item for item in proof["forms"] if item["form"] in BOTH}
    assert rows["onnx_fp16"]["max_difference"] < rows["onnx_int8"]["max_difference"]
    assert rows["onnx_int8"]["tolerance"] is None
    # By hand: each image through ONNX Runtime.
    for recorded in proof["accuracy"]:
        session = onnxruntime.InferenceSession(
            out / f"model_{recorded['form'].removeprefix('onnx_')}.onnx"
        )
        hits = []
        for path in sorted((data / "val").rglob("*.png")):
            pixels = np.asarray(Image.open(path)) / 255
            x = ((pixels - np.array(IMAGES.mean)) / np.array(IMAGES.std)).transpose(2, 0, 1)
            (logits,) = session.run(None, {"image": x[None].astype(np.float32)})
            hits.append(NAMES[logits[0].argmax()] == path.parent.name)
        assert recorded["float32_top1"] == 1 and recorded["images"] == len(hits) == 30
        assert recorded["top1"] == pytest.approx(np.mean(hits))
    again = verify(out, data=str(data))
    assert again.problems == () and len(again.accuracies) == 2
    assert [item.top1 for item in again.accuracies] == [item["top1"] for item in proof["accuracy"]]
    assert "Top-1 of onnx_int8 on 30 validation images" in (out / "README.md").read_text()
    # Half of the images are now in the folder of another class.
    wrong = write_images(tmp_path / "wrong", labelled=False)
    assert all(item.float32_top1 < 1 for item in verify(out, data=str(wrong)).accuracies)


@pytest.mark.parametrize(("top1", "holds"), [(0.9, True), (0.89, True), (0.88, False), (1, True)])
def test_a_small_format_may_lose_what_is_stated(top1: float, holds: bool) -> None:
    item = Accuracy(
        form="onnx_int8", data="", images=100, top1=top1, float32_top1=0.9, max_loss=0.01
    )
    assert item.holds == holds


def test_a_format_that_loses_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_images(tmp_path / "data")
    sample = embedded_sample(tiny()).images

    def spoilt(model: bytes, _: object) -> bytes:
        # Calibrated on what no image looks like.
        return int8_bytes(model, [sample * 1e-4])

    monkeypatch.setattr("spach_nas.export.formats.int8_bytes", spoilt)
    with pytest.raises(BundleError, match=r"onnx_int8: top-1 .*--max-loss\)\nnothing was written"):
        export(choice(), out=tmp_path / "net", formats=("onnx_int8",), data=str(data))
    assert not (tmp_path / "net").exists()


def test_images_that_do_not_fit_are_told_before_anything_is_made(tmp_path: Path) -> None:
    def refused(error: type[Exception], match: str, **more: object) -> None:
        options = {"formats": BOTH, **more}
        with pytest.raises(error, match=match):
            export(choice(), out=tmp_path / "net", tell=pytest.fail, **options)  # type: ignore[arg-type]

    refused(BundleError, "onnx_int8: needs images .* expected --data")
    refused(BundleError, "--data: .* expected onnx_fp16 or onnx_int8", formats=None, data="x")
    refused(DataError, "neither a folder nor a data set", data=str(tmp_path / "none"))
    other = write_images(tmp_path / "other", names=("ant", "bee", "cow"))
    refused(DataError, "does not know 1 of its 3 classes: 'cow'", data=str(other))
    fewer = write_images(tmp_path / "fewer", names=("ant", "bee"), labelled=False)
    refused(DataError, "lacks 1 of the 3 classes of mine, such as 'cat'", data=str(fewer))


def test_images_for_a_bundle_without_small_formats_are_told(tmp_path: Path) -> None:
    out = export(choice(), out=tmp_path / "net")
    with pytest.raises(BundleError, match="holds no onnx_fp16 and no onnx_int8"):
        verify(out, data="fashion-mini")


def test_unknown_formats_are_told(tmp_path: Path) -> None:
    code, lines = run_main("export", "conv_xxs", "--out", str(tmp_path), "--formats", "onnx_int4")
    assert code == 2
    assert "onnx_int8" in "\n".join(lines)
