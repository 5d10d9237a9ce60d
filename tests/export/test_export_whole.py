"""A bundle is there whole or not at all, and every byte of it counts."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from huggingface_hub import constants

from conftest import Finished, run_main
from network_tools import images, randomised, small
from spach_nas.config.training_settings import DataSettings
from spach_nas.data import load_train_and_validation
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.data.reader import sample_validation
from spach_nas.errors import BundleError, DataError
from spach_nas.export import Choice, choose, export, load_model, read_proof, verify
from spach_nas.export.bundle import (
    MANIFEST,
    check_manifest,
    load_preprocessing,
    parse_formats,
    write_manifest,
)
from spach_nas.export.choice import choose_top
from spach_nas.export.proof import compare
from spach_nas.export.samples import embedded_sample
from spach_nas.study.records import read_records

ARCHITECTURE = small(("conv",), ("attention",))
IMAGES = Preprocessing(mean=(0.3, 0.2), std=(0.4, 0.5), class_names=tuple("abcde"))


def choice(name: str = "net") -> Choice:
    from safetensors.torch import save

    weights = save(dict(randomised(ARCHITECTURE).state_dict()))
    return Choice(architecture=ARCHITECTURE, name=name, weights=weights, preprocessing=IMAGES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle; not to be changed."""
    return export(choice(), out=tmp_path_factory.mktemp("whole") / "net")


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(whole, tmp_path / "net"))


def fail_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[Path]:
    """Let the disk be full at the write of this number, from 0; the files written so far."""
    written: list[Path] = []

    def limited(name: str) -> None:
        write = getattr(Path, name)

        def limit(self: Path, data: Any, **options: Any) -> Any:
            if len(written) == number:
                self.touch()  # a full disk leaves the name behind
                raise OSError(errno.ENOSPC, "No space left on device", str(self))
            written.append(self)
            return write(self, data, **options)

        monkeypatch.setattr(Path, name, limit)

    for name in ("write_text", "write_bytes"):
        limited(name)
    return written


def test_a_full_disk_leaves_nothing_whenever_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    chosen, number = choice(), 0
    while True:
        with monkeypatch.context() as context:
            written = fail_at(context, number)
            try:
                export(chosen, out=tmp_path / "net")
            except BundleError as problem:
                assert "No space left on device; nothing was written" in str(problem)
            else:
                break
        assert list(tmp_path.iterdir()) == []
        number += 1
    assert number == len(written) == len(list(whole.iterdir()))


def test_a_stop_at_any_step_leaves_nothing(tmp_path: Path, whole: Path) -> None:
    steps: list[str] = []
    export(choice(), out=tmp_path / "first", tell=steps.append)
    for number in range(len(steps)):
        told: list[str] = []

        def stop(step: str, number: int = number, told: list[str] = told) -> None:
            told.append(step)
            if len(told) > number:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            export(choice(), out=tmp_path / "net", tell=stop)
        assert [path.name for path in tmp_path.iterdir()] == ["first"]
    assert len(steps) >= 3


def test_a_flipped_byte_in_any_file_is_found(bundle: Path) -> None:
    for path in sorted(bundle.iterdir()):
        good = path.read_bytes()
        for position in {0, len(good) // 3, len(good) // 2, len(good) - 1}:
            path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
            if path.name == MANIFEST:
                try:
                    _, problems = check_manifest(bundle)
                except BundleError as problem:
                    problems = [str(problem)]
            else:
                problems = list(verify(bundle).problems)
            assert len(problems) >= 1, f"{path.name}, byte {position}"
            assert any(path.name in line for line in problems) or path.name == MANIFEST
        path.write_bytes(good)
    assert verify(bundle).problems == ()


def test_every_flipped_byte_of_the_manifest_is_found(bundle: Path) -> None:
    path = bundle / MANIFEST
    good = path.read_bytes()
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        try:
            _, problems = check_manifest(bundle)
        except BundleError:
            continue
        assert problems, position


def test_missing_and_foreign_files_are_named(bundle: Path) -> None:
    (bundle / "preprocessing.json").unlink()
    (bundle / "pytorch_model.bin").write_bytes(b"")
    (bundle / ".gitattributes").write_text("what the hub adds")
    assert verify(bundle).problems == (
        f"{bundle / 'preprocessing.json'}: is missing",
        f"{bundle / 'pytorch_model.bin'}: is not in the manifest",
    )
    code, lines = run_main("verify", str(bundle))
    assert code == 1
    assert len(lines) == 2


def test_a_folder_without_manifest_is_no_bundle(bundle: Path) -> None:
    (bundle / MANIFEST).unlink()
    code, lines = run_main("verify", str(bundle))
    assert code == 2
    assert lines == [f"{bundle}: holds no manifest.json; expected a bundle of `spach-nas export`"]


def test_a_target_is_proven_without_weights(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(ARCHITECTURE.to_yaml())
    out = export(choose(tmp_path / "mine.yaml"), out=tmp_path / "net", formats=None)
    assert {path.name for path in out.iterdir()} == {
        *("README.md", "architecture.svg", "architecture.yaml", "config.json"),
        *("manifest.json", "parity.json"),
    }
    found = read_proof(out / "parity.json")["forms"]
    assert [(item["form"], item["weights"]) for item in found] == [("timm", "random")]
    assert verify(out).problems == ()


def test_weights_are_not_made_up_for_a_format(tmp_path: Path) -> None:
    code, lines = run_main(
        "export", "conv_ms_xxs", "--formats", "onnx", "--out", str(tmp_path / "b")
    )
    assert code == 2
    assert "conv_ms_xxs: has no trained weights, and onnx" in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_formats_are_named_as_they_are_written() -> None:
    assert parse_formats("pt2") == ("safetensors", "pt2")
    assert parse_formats("onnx, safetensors") == ("safetensors", "onnx")
    assert parse_formats("all") == ("safetensors", "onnx", "pt2")
    with pytest.raises(BundleError, match=r"'onx'; expected .*; did you mean 'onnx'"):
        parse_formats("pt2,onx")


def test_a_bundle_says_how_images_are_prepared(whole: Path, tmp_path: Path) -> None:
    assert load_preprocessing(whole) == IMAGES
    cut = replace(IMAGES, crop_share=0.875)
    out = export(replace(choice(), preprocessing=cut), out=tmp_path / "cut")
    assert load_preprocessing(out) == cut
    assert json.loads((out / "config.json").read_text())["pretrained_cfg"]["crop_pct"] == 0.875
    assert "0.875" in (out / "README.md").read_text()
    plain = json.loads((whole / "preprocessing.json").read_text())
    assert (plain["channels"], plain["height"], plain["width"]) == (2, 16, 24)


def test_the_hub_loads_the_layout(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A cache as after a download, and no network.
    repo = tmp_path / "models--someone--net"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    shutil.copytree(whole, repo / "snapshots" / ("0" * 40))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    network = timm.create_model("hf-hub:someone/net", pretrained=True, cache_dir=tmp_path).eval()
    batch = images(ARCHITECTURE)
    with torch.inference_mode():
        assert torch.equal(network(batch), load_model(whole)(batch))
        assert network(batch).abs().max() > 0.1


def test_the_card_begins_as_the_hub_reads_it(finished_search: Finished, tmp_path: Path) -> None:
    chosen = choose(finished_search.folder)
    assert chosen.record is not None
    out = export(chosen, out=tmp_path / "net", test_accuracy=0.625)
    text = (out / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert (head["library_name"], head["license"]) == ("timm", "mit")
    results = head["model-index"][0]["results"]
    assert [(one["dataset"]["split"], one["metrics"][0]["value"]) for one in results] == [
        ("test", 0.625),
        ("validation", round(chosen.record.curve[-1].accuracy, 4)),
    ]
    assert "](architecture.svg)" in text
    assert f"**{chosen.record.trial}**" in text, "where it lies in the front"
    assert (finished_search.folder / "search.yaml").read_text().rstrip() in text
    assert "https" not in (out / "architecture.svg").read_text().replace("http://www.w3.org", "")
    assert "10 images in samples.npz" in read_proof(out / "parity.json")["images"]


def test_the_most_accurate_leave_together(finished_search: Finished, tmp_path: Path) -> None:
    front = choose(finished_search.folder).front
    best = sorted(
        front, key=lambda record: (-record.objectives["accuracy"], record.target_cost.macs)
    )
    out = tmp_path / "several"
    arguments = ("--top", "2", "--formats", "safetensors", "--no-samples", "--out", str(out))
    assert run_main("export", str(finished_search.folder), *arguments)[0] == 0
    written = [out / f"trial-{record.trial}" for record in best[:2]]
    assert sorted(out.iterdir()) == sorted(written)
    assert not any((path / "samples.npz").exists() for path in written)
    assert all(verify(path).problems == () for path in written)
    with pytest.raises(BundleError, match=rf"--top \d+: the front has .*{len(front)}"):
        choose_top(finished_search.folder, 17)
    assert len(front) < len(read_records(finished_search.folder)) + 1


@pytest.mark.parametrize("arguments", [["--top", "2", "--pick", "best"], ["--top", "0"]])
def test_contradicting_options_are_told(arguments: list[str], tmp_path: Path) -> None:
    code, _ = run_main("export", "conv_ms_s", *arguments, "--out", str(tmp_path / "b"))
    assert code == 2


def test_a_sample_is_of_the_images_that_scored() -> None:
    settings = DataSettings(name="fashion-mini")
    whole = load_train_and_validation(settings, image_size=(32, 32)).validation.images
    sample = sample_validation(settings, image_size=(32, 32), count=3)
    assert (sample == whole[[0, round((len(whole) - 1) / 2), len(whole) - 1]]).all()
    with pytest.raises(DataError):
        sample_validation(DataSettings(name="folder"), image_size=(32, 32), count=3)


def test_a_sample_of_a_folder_is_that_of_the_whole(tmp_path: Path) -> None:
    from PIL import Image

    for label in "ab":
        (tmp_path / "train" / label).mkdir(parents=True)
        for number in range(5):
            picture = Image.new("L", (9, 7), color=20 * number + 100 * (label == "b"))
            picture.save(tmp_path / "train" / label / f"{number}.png")
    settings = DataSettings(name="folder", root=tmp_path, validation=0.6, split_seed=5)
    whole = load_train_and_validation(settings, image_size=(8, 8)).validation.images
    sample = sample_validation(settings, image_size=(8, 8), count=99)
    assert (sample == whole).all()
    assert len(whole) == 6


def test_batches_of_one_two_and_seven_go_through_every_form() -> None:
    sample = embedded_sample(ARCHITECTURE)
    assert [len(batch) for batch in sample.batches] == [1, 2, 7] * 3
    assert torch.equal(torch.cat(list(sample.batches)), sample.images)
    assert sample.images.shape == (30, 2, 16, 24)
    assert not torch.equal(sample.images[:, 0], sample.images[:, 1]), "channels differ"


def test_differences_are_those_of_the_definition() -> None:
    expected = torch.tensor([[3.0, -4.0], [0.0, 5.0]])
    logits = torch.tensor([[3.5, -4.0], [0.0, -1.0]])
    found = compare("onnx", "random", logits=logits, expected=expected)
    assert (found.max_difference, found.mean_difference) == (6.0, 1.625)
    assert (found.top1_agreement, found.images) == (0.5, 2)
    assert found.scale == pytest.approx(12.5**0.5)
    assert not found.holds
    for wrong in (expected * float("nan"), expected[:1]):
        assert not compare("onnx", "random", logits=wrong, expected=expected).holds
    close = expected + 0.9e-4 * 12.5**0.5
    assert compare("onnx", "random", logits=close, expected=expected).holds


def test_a_manifest_tells_names_apart(tmp_path: Path) -> None:
    sums = set()
    for names in (("a", "b"), ("b", "a")):
        folder = tmp_path / "".join(names)
        folder.mkdir()
        for text, name in zip(("1", "2"), names, strict=True):
            (folder / name).write_text(text)
        sums.add(write_manifest(folder))
    assert len(sums) == 2
