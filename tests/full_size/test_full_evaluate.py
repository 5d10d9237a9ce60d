"""Scores of a bundle against naive numpy; weights that trainings begin with."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load, save

from bundles import write_bundle
from conftest import run_main
from full_tools import CLASSES, plan_in, tiny, write_images
from network_tools import randomised
from spach_nas.data.images import to_size
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.errors import ArchitectureError, BundleError, DataError
from spach_nas.full_size.evaluate import evaluate
from spach_nas.networks import save_official
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import get_reference

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def bundle_of(
    folder: Path, architecture: Architecture, *, classes: tuple[str, ...] = CLASSES
) -> Path:
    network = randomised(architecture)
    weights = save({name: value.contiguous() for name, value in network.state_dict().items()})
    preprocessing = Preprocessing(mean=MEAN, std=STD, class_names=classes)
    return write_bundle(
        folder,
        architecture=architecture,
        weights=weights,
        preprocessing=preprocessing,
    )


def test_scores_equal_naive_numpy(tmp_path: Path) -> None:
    names = ("zebra", *reversed(CLASSES), "yak", "wasp", "owl")
    architecture = replace(tiny(), num_classes=len(names))
    bundle = bundle_of(tmp_path / "bundle", architecture, classes=names)
    root = write_images(tmp_path / "images", splits=("train", "test"))
    result = evaluate(str(bundle), data=str(root), batch_sizes=(2, 3))
    network = randomised(architecture).eval()
    hits1, hits5, losses = {name: [] for name in names}, {name: [] for name in names}, []
    for path in sorted((root / "test").rglob("*.*")):
        image = to_size(np.asarray(Image.open(path)), (16, 16)) / 255.0
        pixels = torch.tensor((image - np.array(MEAN)) / np.array(STD)).permute(2, 0, 1)[None]
        with torch.no_grad():
            logits = network(pixels.float())[0].double().numpy()
        label = path.parent.name
        order = [names[i] for i in np.argsort(-logits)]
        hits1[label].append(order[0] == label)
        hits5[label].append(label in order[:5])
        chances = np.exp(logits - logits.max())
        losses.append(-np.log(chances[names.index(label)] / chances.sum()))
    assert result.split == "test"
    assert result.images == 12
    assert result.top1 == sum(map(sum, hits1.values())) / 12
    assert result.top5 == sum(map(sum, hits5.values())) / 12
    assert 0 < result.top5 < 1
    assert result.loss == pytest.approx(np.mean(losses), rel=1e-5)
    for item in result.classes:
        seen = hits1[item.name]
        assert item.images == len(seen)
        assert item.top1 == (sum(seen) / len(seen) if seen else None)
        assert item.top5 == (sum(hits5[item.name]) / len(seen) if seen else None)
    assert [speed.batch_size for speed in result.speeds] == [2, 3]
    assert all(
        speed.images_per_s == pytest.approx(1e3 * speed.batch_size / speed.latency_ms)
        for speed in result.speeds
    )


def test_the_command_prints_json_and_tells_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundle_of(tmp_path / "bundle", tiny())
    root = write_images(tmp_path / "images")
    arguments = ("evaluate", str(bundle), "--data", str(root))
    assert run_main(*arguments, "--json", "--batch-size", "1")[0] == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["split"] == "validation"
    assert plain["images"] == 12
    assert run_main(*arguments)[0] == 0
    table = capsys.readouterr().out
    assert all(name in table for name in (*CLASSES, "top-1", "latency"))
    code, errors = run_main(*arguments, "--split", "test")
    assert (code, "has no test split" in errors[-1]) == (2, True)
    code, errors = run_main(*arguments, "--batch-size", "0,x")
    assert (code, "--batch-size: '0'" in errors[-1]) == (2, True)


def test_other_classes_are_refused(tmp_path: Path) -> None:
    root = write_images(tmp_path / "images")
    two = bundle_of(tmp_path / "two", replace(tiny(), num_classes=2), classes=("ant", "bee"))
    with pytest.raises(DataError, match="has 3 classes; expected at most the 2 of"):
        evaluate(str(two), data=str(root))
    other = bundle_of(tmp_path / "other", tiny(), classes=("ant", "bee", "dog"))
    with pytest.raises(DataError, match="does not know 1 of its 3 classes: 'cat'"):
        evaluate(str(other), data=str(root))


def test_a_bundle_without_weights_or_with_a_pickle_is_refused(tmp_path: Path) -> None:
    root = write_images(tmp_path / "images")
    empty = write_bundle(tmp_path / "empty", architecture=tiny())
    with pytest.raises(BundleError, match="no trained weights"):
        evaluate(str(empty), data=str(root))
    with pytest.raises(BundleError, match="no trained weights"):
        plan_in(tmp_path, data=root, init=str(empty))
    bundle = bundle_of(tmp_path / "bundle", tiny())
    torch.save({"x": torch.zeros(1)}, bundle / "model.safetensors")
    for action in (
        lambda: evaluate(str(bundle), data=str(root)),
        lambda: plan_in(tmp_path, data=root, init=str(bundle)),
    ):
        with pytest.raises(BundleError, match="safetensors"):
            action()


def test_a_training_begins_with_a_bundles_weights_and_pixels(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", tiny())
    plan = plan_in(tmp_path, init=str(bundle))
    assert plan.weights is not None
    wanted = randomised(tiny()).state_dict()
    got = load(plan.weights)
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    assert plan.job.normalisation.mean == MEAN


def test_other_classes_get_a_new_head_and_it_is_said(tmp_path: Path) -> None:
    before = replace(tiny(), num_classes=7)
    bundle = bundle_of(tmp_path / "bundle", before, classes=tuple("abcdefg"))
    plan = plan_in(tmp_path, init=str(bundle))
    assert any("a new head of 3 classes instead of 7" in note for note in plan.notes)
    assert plan.weights is not None
    got, wanted = load(plan.weights), randomised(before).state_dict()
    assert not got["head.weight"].any()
    assert got["head.weight"].shape == (3, 16)
    assert all(torch.equal(got[n], wanted[n]) for n in wanted if not n.startswith("head."))


def test_another_image_size_is_taken_where_the_mixers_take_it(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    attention = bundle_of(tmp_path / "attention", tiny())
    plan = plan_in(tmp_path, "image_size=32", data=images, init=str(attention))
    assert plan.job.architecture.image_size == (32, 32)
    assert any("image size 32x32 instead of 16x16" in note for note in plan.notes)
    mlp = bundle_of(tmp_path / "mlp", tiny(mixer="mlp"))
    options = {"data": images, "init": str(mlp), "architecture": tiny(mixer="mlp")}
    with pytest.raises(ArchitectureError, match="the only size of the weights of its mlp mixers"):
        plan_in(tmp_path, "image_size=32", **options)  # type: ignore[arg-type]


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", tiny(mixer="mlp"))
    with pytest.raises(BundleError, match=r"tensors do not fit, such as stages\.1\.blocks\.1"):
        plan_in(tmp_path, init=str(bundle))


def test_official_weights_belong_to_the_model_that_is_named(tmp_path: Path) -> None:
    from spach_nas.export.named_networks import load_initial
    from spach_nas.full_size.initial import fitted

    name = "trans_ms_xxs"
    network = randomised(get_reference(name).architecture)
    path = tmp_path / "official.pth"
    save_official(network, path)
    initial = load_initial(f"official:{path}", model=name)
    adapted = replace(network.architecture, num_classes=10)
    weights, note = fitted(initial, adapted, resample_tokens=False)
    state, got = network.state_dict(), load(weights)
    assert all(torch.equal(got[key], state[key]) for key in state if not key.startswith("head."))
    assert "a new head of 10 classes instead of 1000" in note
    with pytest.raises(BundleError, match="belongs to a model of the paper"):
        load_initial(f"official:{path}", model="tiny.yaml")
    with pytest.raises(BundleError, match="expected official:PATH, or the folder"):
        load_initial(str(path), model=name)
    with pytest.raises(BundleError, match=f"--init {tmp_path}: holds no records.jsonl"):
        load_initial(str(tmp_path), model=name)
