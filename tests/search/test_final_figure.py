"""The accuracy on the test images of the best network, at the end of a search."""

from pathlib import Path

import pytest

from own_data import write_folder
from search_tools import drive, make_study
from spach_nas.config.study_files import DATA_JSON
from spach_nas.data import load_train_and_validation
from spach_nas.data.preprocessing import preprocessing, to_json
from spach_nas.errors import DataError
from spach_nas.evaluators import ProxyEvaluator
from spach_nas.search import run
from spach_nas.study.results import open_study

CLASSES = tuple("abcdefghij")


def finished_study(folder: Path, *, splits: tuple[str, ...]) -> Path:
    """A study of one training on a folder of grey images, before its end is written."""
    root = write_folder(folder / "images", splits=splits, classes=CLASSES, mode="L", count=3)
    study = make_study(
        folder,
        data={"name": "folder", "root": str(root)},
        training={"epochs": 1, "batch_size": 8},
        search__trials=1,
        search__startup_trials=1,
    )
    images = load_train_and_validation(study.config.data, image_size=study.config.image_size)
    evaluator = ProxyEvaluator(settings=study.config.training)
    drive(study, lambda request: evaluator(request, images))
    path = folder / "study"
    (path / DATA_JSON).write_text(to_json(preprocessing(images)))
    return path


def test_broken_test_images_are_told_and_cost_nothing_but_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "write_study_report", lambda _: None)
    study = finished_study(tmp_path, splits=("train", "test"))
    broken = tmp_path / "images" / "test" / "c" / "1.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"c/1\.png: no image") as caught:
        run.finish(open_study(study))
    assert "the accuracy on the test images is missing" in str(caught.value)
    assert "test accuracy" not in (study / "best" / "README.md").read_text()
    broken.write_bytes(whole)
    run.finish(open_study(study))
    assert "test accuracy" in (study / "best" / "README.md").read_text()


def test_without_a_test_split_there_is_no_figure_and_nothing_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "write_study_report", lambda _: None)
    study = finished_study(tmp_path, splits=("train", "val"))
    run.finish(open_study(study))
    assert "test accuracy" not in (study / "best" / "README.md").read_text()
