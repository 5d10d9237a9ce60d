"""Images for trainings: splits that share none, files of every kind, broken ones named."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torchvision.transforms import Compose

from full_tools import CLASSES, plan_in, write_images
from own_data import write_set
from spach_nas.config.recipe import load_recipe
from spach_nas.config.training_settings import DataSettings
from spach_nas.data import load_train_and_validation
from spach_nas.data.reader import OpenData, check_data, default_split, open_split
from spach_nas.errors import ConfigError, DataError, SpachNasError, StudyError
from spach_nas.full_size.training_plan import data_choice
from spach_nas.full_size.training_run import prepare
from spach_nas.full_size.worker import train_worker
from spach_nas.training import choose_runtime
from spach_nas.training.loaders import mend_posterize, scoring_batches


def checked(name: Path | str, **changes: object) -> OpenData:
    options = replace(load_recipe("short").data, **changes)  # type: ignore[arg-type]
    return check_data(data_choice(str(name), options))


def broken_jpeg(path: Path) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[:-300])


def test_validation_is_the_folders_own_and_never_training_images(tmp_path: Path) -> None:
    data = checked(write_images(tmp_path))
    assert (len(data.train), len(data.validation or [])) == (27, 12)
    assert data.train.class_names == CLASSES
    assert data.validation is not None
    assert not set(data.train.files) & set(data.validation.files)
    assert data.notes == ()


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_the_validation_folder_may_have_its_usual_names(tmp_path: Path, name: str) -> None:
    data = checked(write_images(tmp_path, splits=("train", name)))
    assert data.validation is not None
    assert len(data.validation) == 12


def test_a_share_of_train_is_held_out_where_there_is_no_validation_split(tmp_path: Path) -> None:
    root = write_images(tmp_path, splits=("train", "test"))
    fifth = checked(root)
    assert fifth.validation is not None
    assert (len(fifth.train), len(fifth.validation)) == (21, 6)
    note = "validation images: held out of the train split, 0.2 of each class by seed 0"
    assert fifth.notes == (note,)
    data = checked(root, validation=1 / 3)
    assert data.validation is not None
    assert (len(data.train), len(data.validation)) == (18, 9)
    assert not set(data.train.files) & set(data.validation.files)
    assert all("test" not in path.parts[-3:] for path in data.train.files)
    assert checked(root, validation=0).validation is None


def test_a_library_set_is_split_as_in_a_search_and_its_test_images_choose_nothing(
    tmp_path: Path,
) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    write_set(raw, train=50, test=20)
    data = checked("torch/fashion_mnist", root=tmp_path)
    settings = DataSettings(name="torch/fashion_mnist", root=tmp_path)
    searched = load_train_and_validation(settings, image_size=(28, 28))
    assert data.validation is not None
    for part, same in ((data.train, searched.train), (data.validation, searched.validation)):
        np.testing.assert_array_equal(part.in_memory((28, 28)).images, same.images)
    choice = data.choice
    assert default_split(choice) == "test"
    assert len(open_split(choice, "test")) == 20
    with pytest.raises(DataError, match="images by position"):
        checked("wds/some", root=tmp_path)


def test_a_run_that_validated_on_the_test_images_is_refused_with_what_to_do(
    tmp_path: Path,
) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    write_set(raw, train=50, test=20)
    changes = (f"data.root={tmp_path}", "image_size=32")
    prepare(plan_in(tmp_path, *changes, data="torch/fashion_mnist", recipe="short"))
    path = tmp_path / "run" / "run.json"
    plain = json.loads(path.read_text())
    plain["origin"] |= {"training images": 50, "validation images": 20}
    path.write_text(json.dumps(plain))
    with pytest.raises(StudyError, match=r"began to validate on the test images.*--out"):
        plan_in(tmp_path, *changes, data="torch/fashion_mnist", recipe="short", resume=True)


def test_a_validation_folder_that_is_a_copy_of_train_is_refused(tmp_path: Path) -> None:
    root = write_images(tmp_path)
    for path in (root / "train").rglob("*.png"):
        (root / "val" / path.parent.name / f"copy-{path.name}").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"15 of 27 validation images are training images"):
        checked(root)


def test_a_single_double_is_told_and_no_error(tmp_path: Path) -> None:
    root = write_images(tmp_path, counts=(9, 8))
    (root / "val" / "ant" / "0.png").write_bytes((root / "train" / "bee" / "0.png").read_bytes())
    assert any("1 of 24 validation images" in note for note in checked(root).notes)


def test_broken_files_are_named_and_counted_and_left_out_only_if_asked(tmp_path: Path) -> None:
    root = write_images(tmp_path)
    broken_jpeg(root / "train" / "bee" / "cut.jpg")
    (root / "val" / "cat" / "none.png").write_text("no image", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        checked(root)
    text = str(caught.value)
    assert "bee/cut.jpg: " in text
    assert "cat/none.png: no image" in text
    assert "2 broken image files" in text
    data = checked(root, skip_broken=True)
    assert len(data.train) == 27
    assert any(note.startswith("2 broken files are left out") for note in data.notes)


def test_a_class_of_broken_files_alone_is_empty(tmp_path: Path) -> None:
    root = write_images(tmp_path)
    for path in (root / "train" / "bee").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="bee: has no intact image"):
        checked(root, skip_broken=True)


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    root = write_images(tmp_path)
    for path in (root / "val" / "cat").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="val/cat: has no image"):
        checked(root)


def test_a_broken_file_that_nobody_looked_for_stops_by_its_name(tmp_path: Path) -> None:
    root = write_images(tmp_path)
    broken_jpeg(root / "train" / "bee" / "cut.jpg")
    data = checked(root, check_images=False)
    with pytest.raises(DataError, match=r"bee/cut\.jpg: cannot be read as an image"):
        data.train.in_memory((8, 8))


def picture(mode: str) -> Image.Image:
    ramp = np.linspace(0, 255, 24 * 24).reshape(24, 24).astype(np.uint8)
    colour = np.stack([ramp, ramp.T, 255 - ramp], axis=-1)
    if mode == "I;16":
        return Image.fromarray(ramp.astype(np.uint16) * 257)
    if mode == "RGBA":
        return Image.fromarray(np.dstack([colour, np.full_like(ramp, 200)]))
    if mode == "P":
        return Image.fromarray(colour).quantize(256)
    if mode == "L":
        return Image.fromarray(ramp)
    return Image.fromarray(colour).convert(mode)


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "P", "CMYK", "1", "LA"])
def test_images_of_every_mode_become_rgb_and_are_counted(tmp_path: Path, mode: str) -> None:
    root = write_images(tmp_path)
    suffix = "tif" if mode == "CMYK" else "png"
    picture(mode).save(root / "train" / "ant" / f"odd.{suffix}")
    data = checked(root)
    assert any(note.startswith("converted to RGB: 1 ") for note in data.notes)
    position = next(i for i, path in enumerate(data.train.files) if path.stem == "odd")
    pixels = np.asarray(data.train.image(position)).astype(float)
    assert pixels.shape == (24, 24, 3)
    # Naive: what the ramp is, within the steps of palette and CMYK.
    if mode not in ("1",):
        ramp = np.linspace(0, 255, 24 * 24).reshape(24, 24)
        grey = mode in ("L", "I;16", "LA")
        expected = np.stack([ramp, ramp.T, 255 - ramp], axis=-1)
        if mode in ("L", "I;16"):
            expected = np.stack([ramp] * 3, axis=-1)
        if mode != "LA":
            assert np.abs(pixels - expected).mean() < (1.5 if grey else 8)


def test_grey_images_alone_make_a_grey_network(tmp_path: Path) -> None:
    root = tmp_path / "grey"
    generator = np.random.default_rng(2)
    for split in ("train", "val"):
        for name in CLASSES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                noise = generator.integers(0, 255, (18, 18))
                Image.fromarray(noise.astype(np.uint8)).save(folder / f"{number}.png")
    plan = plan_in(tmp_path, data=root)
    assert plan.job.architecture.in_channels == 1
    assert any("1 channels instead of 3" in note for note in plan.notes)
    # RandAugment runs on grey images, too.
    prepare(plan)
    train_worker(plan.job, data=plan.data)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_operation_of_rand_augment_takes_every_strength(mode: str) -> None:
    """Pillow refuses to keep 0 bits, which timm asks for at the highest strength."""
    image = picture("L") if mode == "L" else picture("RGB")
    mean = (100,) * len(image.getbands())
    transform = rand_augment_transform("rand-m9-mstd0.5-inc1", {"img_mean": mean})
    mend_posterize(Compose([transform]))
    for operation in transform.ops:
        operation.prob, operation.magnitude_std = 1.0, 0.0
        for strength in range(11):
            operation.magnitude = strength
            changed = operation(image)
            assert (changed.size, changed.mode) == (image.size, image.mode)
            if operation.name == "PosterizeIncreasing":
                levels = {value for _, value in changed.convert("L").getcolors(256)}
                assert (levels == {0}) == (strength == 10)


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size: 64; expected at most the 27"):
        plan_in(tmp_path, "batch_size=64")


def test_padding_small_images_to_a_large_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"image_size: 64x64.*28x28"):
        plan_in(tmp_path, "image_size=64", data="fashion-mini", recipe="short")


@pytest.mark.parametrize("name", ["fashion-minni", "/nowhere"])
def test_unknown_data_are_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is neither a folder nor a data set"):
        plan_in(tmp_path, data=name)


def test_a_run_of_another_training_is_not_gone_on_with(tmp_path: Path) -> None:
    prepare(plan_in(tmp_path))
    with pytest.raises(StudyError, match=r"exists already and is never overwritten.*--resume"):
        plan_in(tmp_path)
    with pytest.raises(StudyError) as caught:
        plan_in(tmp_path, "seed=3", "augmentation.mixup=0.5", resume=True)
    lines = str(caught.value).split("\n")
    assert len(lines) == 2
    assert any("recipe.seed: 3; expected 0, as the training began" in line for line in lines)
    free = ("final=last", "data.loader_processes=1", "checkpoint_steps=2")
    assert plan_in(tmp_path, *free, resume=True).resumed
    (tmp_path / "images" / "train" / "ant" / "0.png").unlink()
    with pytest.raises(SpachNasError, match="training images: 26; expected 27"):
        plan_in(tmp_path, resume=True)


def test_evaluation_resizes_and_crops_as_the_paper_does(tmp_path: Path) -> None:
    """Shorter side to size / 0.875 by Pillow's bicubic, centre crop, ImageNet's statistics."""
    root = write_images(tmp_path / "images")
    plan = plan_in(tmp_path, data=root)
    pictures = open_split(plan.job.data, "validation")
    batches = scoring_batches(
        pictures,
        preprocessing=plan.job.preprocessing,
        image_size=(16, 16),
        runtime=choose_runtime(device="cpu"),
        batch_size=5,
        processes=0,
    )
    got = torch.cat([images for images, _ in batches()])
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for index, path in enumerate(pictures.files):
        image = Image.open(path).convert("RGB")
        side = int(np.floor(16 / 0.875))
        scale = side / min(image.size)
        size = tuple(side if s == min(image.size) else int(s * scale) for s in image.size)
        pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC)).astype(np.float64)
        top, left = (round((extent - 16) / 2) for extent in pixels.shape[:2])
        cut = pixels[top : top + 16, left : left + 16]
        expected = ((cut / 255 - mean) / std).transpose(2, 0, 1)
        np.testing.assert_allclose(got[index].numpy(), expected, atol=1e-4)
