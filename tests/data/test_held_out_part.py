"""A folder with train only: every command finds the part again that the search held out."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from full_tools import CLASSES, plan_in, tiny, write_images
from own_data import write_folder
from spach_nas.config.recipe import load_recipe
from spach_nas.config.training_settings import DataSettings
from spach_nas.data import load_train_and_validation
from spach_nas.data.images import HeldOut
from spach_nas.data.preprocessing import Preprocessing, read_preprocessing, to_json
from spach_nas.data.reader import DataChoice, check_data, check_split, default_split, open_data
from spach_nas.errors import DataError
from spach_nas.export.bundle import load_preprocessing, write_core
from spach_nas.full_size.run_folder import known_files
from spach_nas.full_size.training_plan import TrainingRequest, data_choice, plan_training
from spach_nas.full_size.training_run import prepare

PART = HeldOut(share=1 / 3, seed=4)


def choice_of(root: Path | str, *, part: HeldOut | None = PART, **changes: object) -> DataChoice:
    options = replace(load_recipe("short").data, **changes)  # type: ignore[arg-type]
    return replace(data_choice(str(root), options, channels=3), held_out=part)


def searched(root: Path, *, part: HeldOut, **changes: object) -> list[bytes]:
    """Bytes of the validation images of a search."""
    settings = DataSettings(
        name="folder",
        root=root,
        validation=part.share,
        split_seed=part.seed,
        **changes,  # type: ignore[arg-type]
    )
    splits = load_train_and_validation(settings, image_size=(12, 12))
    assert splits.held_out == part
    return [image.tobytes() for image in splits.validation.images]


def test_evaluation_and_training_find_the_images_that_the_search_held_out(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    expected = searched(root, part=PART)
    assert len(expected) == 8
    pictures, notes = check_split(choice_of(root), "validation")
    assert [image.tobytes() for image in pictures.in_memory((12, 12)).images] == expected
    assert default_split(choice_of(root)) == "validation"
    (note,) = notes
    assert "0.333333 of each class by seed 4, as the network's search or training did" in note
    data = check_data(choice_of(root))
    assert data.validation is not None
    assert [image.tobytes() for image in data.validation.in_memory((12, 12)).images] == expected
    assert data.held_out == PART
    assert any("as the network's search or training did" in note for note in data.notes)


def test_broken_files_move_no_other_image_into_the_part(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    for name in ("ant/2.png", "dog/0.png"):
        (root / "train" / name).write_bytes(b"no image")
    expected = searched(root, part=PART, skip_broken=True)
    choice = choice_of(root, skip_broken=True)
    pictures, notes = check_split(choice, "validation")
    assert [image.tobytes() for image in pictures.in_memory((12, 12)).images] == expected
    assert any(note.startswith("2 broken files are left out") for note in notes)
    data = check_data(choice)
    assert data.validation is not None
    assert [image.tobytes() for image in data.validation.in_memory((12, 12)).images] == expected


def test_what_the_options_say_comes_before_what_the_search_did(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    half = open_data(choice_of(root, validation=0.5))
    assert half.validation is not None
    assert len(half.validation) == 12
    assert open_data(choice_of(root, validation=0)).validation is None
    own = write_folder(tmp_path / "own", splits=("train", "val"), count=3)
    data = open_data(choice_of(own))
    assert data.held_out is None
    assert data.validation is not None
    assert len(data.validation) == 12


def test_without_a_search_there_is_nothing_to_evaluate_on_in_train_alone(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    with pytest.raises(DataError, match="has no validation split, and the network does not say"):
        check_split(choice_of(root, part=None), "validation")
    with pytest.raises(DataError, match="has no test split"):
        check_split(choice_of(root), "test")


def test_the_part_of_a_set_with_a_name_is_found_too() -> None:
    settings = DataSettings(name="fashion-mini", validation=PART.share, split_seed=PART.seed)
    expected = load_train_and_validation(settings, image_size=(28, 28)).validation
    choice = replace(choice_of("fashion-mini"), channels=1)
    pictures, _ = check_split(choice, "validation")
    assert pictures.held is not None
    assert (pictures.held.images == expected.images).all()
    data = open_data(choice)
    assert data.validation is not None
    assert len(data.validation) == len(expected)


def test_a_part_goes_with_study_bundle_and_run(tmp_path: Path) -> None:
    images = Preprocessing(mean=(0.5,) * 3, std=(0.2,) * 3, class_names=CLASSES, held_out=PART)
    path = tmp_path / "data.json"
    path.write_text(to_json(images))
    assert read_preprocessing(path).held_out == PART
    plain = json.loads(path.read_text())
    del plain["held_out"]
    path.write_text(json.dumps(plain))
    assert read_preprocessing(path) == images, "a study of before is of the same images"

    bundle = tmp_path / "bundle"
    bundle.mkdir()
    write_core(bundle, architecture=tiny(), weights=None, preprocessing=images)
    found = load_preprocessing(bundle)
    assert found is not None
    assert found.held_out == PART
    from spach_nas.export.bundle import write_manifest

    write_manifest(bundle)
    root = write_images(tmp_path / "images", splits=("train",), counts=(9,))
    request = TrainingRequest(
        source=str(bundle),
        data=str(root),
        recipe="short",
        out=tmp_path / "run",
        changes=("epochs=3", "batch_size=8"),
    )
    plan = plan_training(request)
    assert plan.data.held_out == PART
    assert (len(plan.data.train), len(plan.data.validation or ())) == (18, 9)
    assert plan.job.preprocessing.held_out == PART
    prepare(plan)
    assert known_files(tmp_path / "run")["held_out"] == {"share": 1 / 3, "seed": 4}
    again = plan_training(replace(request, resume=True))
    assert again.data.validation is not None
    assert list(again.data.validation.files) == list((plan.data.validation or again).files)
    # Images of other classes are others.
    (root / "train" / "ant").rename(root / "train" / "asp")
    other = plan_training(replace(request, out=tmp_path / "other"))
    assert str(other.data.held_out) == "0.2 of each class by seed 0"


def test_a_run_of_before_goes_on_with_a_tenth_of_fashion_mnist(tmp_path: Path) -> None:
    changes = ("image_size=32", "epochs=2", "batch_size=64")
    plan = plan_in(tmp_path, *changes, "data.validation=0.1", data="fashion-mini", recipe="short")
    prepare(plan)
    path = tmp_path / "run" / "run.json"
    plain = json.loads(path.read_text())
    del plain["files"]["held_out"]
    plain["origin"]["recipe"]["data"]["validation"] = None
    path.write_text(json.dumps(plain))
    again = plan_in(tmp_path, *changes, data="fashion-mini", recipe="short", resume=True)
    assert len(again.data.train) == 7_200


def test_a_validation_split_that_is_gone_is_not_replaced_by_training_images(
    tmp_path: Path,
) -> None:
    """As on a machine of a cluster that sees another folder than the one that planned."""
    root = write_folder(tmp_path, splits=("train", "val"))
    planned = check_data(choice_of(root)).choice
    shutil.rmtree(root / "val")
    with pytest.raises(DataError, match="has no val/ or validation/ next to train/; expected the"):
        open_data(planned)
