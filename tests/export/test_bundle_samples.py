"""The images that a bundle keeps, on which `verify` compares its forms."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from full_tools import tiny
from spach_nas.data.images import HeldOut
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.errors import BundleError
from spach_nas.export import Choice, choose, export, load_model, verify
from spach_nas.export.bundle import load_preprocessing, read_samples, write_manifest
from spach_nas.export.samples import bundle_sample, embedded_sample
from spach_nas.networks import build

KEPT = np.random.default_rng(5).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
IMAGES = Preprocessing(
    mean=(0.5, 0.2, 0.7),
    std=(0.1, 0.05, 0.2),
    class_names=("ant", "bee", "cat"),
    held_out=HeldOut(share=0.25, seed=3),
)


def choice() -> Choice:
    from safetensors.torch import save

    torch.manual_seed(0)
    network = build(tiny())
    return Choice(
        architecture=tiny(),
        name="mine",
        weights=save(network.state_dict()),
        preprocessing=IMAGES,
        samples=KEPT,
    )


def test_a_bundle_keeps_images_and_verify_compares_on_them(tmp_path: Path) -> None:
    folder = export(choice(), out=tmp_path / "bundle")
    np.testing.assert_array_equal(read_samples(folder), KEPT)
    found = verify(folder)
    assert found.problems == ()
    assert found.images == "the 10 images in samples.npz"
    assert "recorded" in {item.form for item in found.agreements}
    sample = bundle_sample(folder, tiny(), IMAGES)
    expected = (KEPT[3] / 255 - np.array(IMAGES.mean)) / np.array(IMAGES.std)
    np.testing.assert_allclose(sample.images[3].permute(1, 2, 0), expected, atol=1e-5)
    probe = json.loads((folder / "parity.json").read_text())["probe"]["logits"]
    with torch.inference_mode():
        np.testing.assert_allclose(probe, load_model(folder)(sample.images[:3]), atol=1e-5)
    assert "`samples.npz` holds 10 images of the network" in (folder / "README.md").read_text()
    # They go on with a bundle that is exported again.
    np.testing.assert_array_equal(choose(folder).samples, KEPT)
    assert load_preprocessing(folder) == IMAGES
    assert choose(folder).preprocessing.held_out == IMAGES.held_out


def test_without_kept_images_noise_like_them_stands_in(tmp_path: Path) -> None:
    folder = export(choice(), out=tmp_path / "bundle", keep_samples=False)
    assert not (folder / "samples.npz").exists()
    assert "samples.npz" not in (folder / "README.md").read_text()
    assert verify(folder).problems == ()
    assert "noise with the mean and deviation" in verify(folder).images
    images = bundle_sample(folder, tiny(), IMAGES).images
    # Normalised by the statistics of the data, it has those of a normalised image.
    assert images.mean(dim=(0, 2, 3)).abs().max() < 0.3
    assert (images.std(dim=(0, 2, 3)) - 1).abs().max() < 0.25


def test_a_bundle_of_before_is_verified_on_the_images_of_before(tmp_path: Path) -> None:
    folder = export(choice(), out=tmp_path / "bundle", keep_samples=False)
    parity = json.loads((folder / "parity.json").read_text())
    embedded = embedded_sample(tiny())
    with torch.inference_mode():
        logits = load_model(folder)(embedded.images[:3]).tolist()
    parity["probe"] = {"images": embedded.origin, "logits": logits}
    (folder / "parity.json").write_text(json.dumps(parity))
    write_manifest(folder)
    assert verify(folder).problems == ()
    parity["probe"]["logits"][0][0] += 1.0
    (folder / "parity.json").write_text(json.dumps(parity))
    write_manifest(folder)
    assert len(verify(folder).problems) == 1


def test_a_network_that_was_not_trained_keeps_none(tmp_path: Path) -> None:
    untrained = replace(choice(), weights=None, preprocessing=None)
    folder = export(untrained, out=tmp_path / "bundle")
    assert read_samples(folder) is None
    assert "embedded Fashion-MNIST" in verify(folder).images


@pytest.mark.parametrize("content", [b"", b"PK no archive"])
def test_damaged_samples_are_told(tmp_path: Path, content: bytes) -> None:
    folder = export(choice(), out=tmp_path / "bundle")
    (folder / "samples.npz").write_bytes(content)
    write_manifest(folder)
    with pytest.raises(BundleError, match=r"samples\.npz: is damaged"):
        read_samples(folder)
    (problem,) = verify(folder).problems
    assert "samples.npz: is damaged" in problem
    np.savez(folder / "samples.npz", images=KEPT[:, :8])
    write_manifest(folder)
    assert "expected (16, 16, 3)" in verify(folder).problems[0]
