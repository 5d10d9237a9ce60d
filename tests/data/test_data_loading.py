"""Names of data sets, settings, and the sets that come by timm."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import IterableDataset

from own_data import write_set
from spach_nas.config.training_settings import DataSettings
from spach_nas.data import data_shape, load_test, load_train_and_validation, validate_settings
from spach_nas.data.fashion import read_idx
from spach_nas.data.reader import DataChoice, open_data
from spach_nas.errors import ConfigError, DataError

SIZE = (8, 8)


def test_a_near_miss_of_a_name_is_recognised() -> None:
    with pytest.raises(DataError, match=r"fashion-minni.*did you mean 'fashion-mini'\?"):
        validate_settings(DataSettings(name="fashion-minni"))


@pytest.mark.parametrize("name", ["", "cifar10", "torch", "nonsense/cifar10"])
def test_an_unknown_name_lists_the_legal_ones(name: str) -> None:
    with pytest.raises(DataError, match=r"expected fashion-mini, .*folder, .*torch/\.\.\., .*tfds"):
        validate_settings(DataSettings(name=name))


@pytest.mark.parametrize("validation", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_out_of_range_is_refused(validation: float) -> None:
    with pytest.raises(
        ConfigError, match=r"validation: .*; expected (more than 0 and less than 1|a finite)"
    ):
        DataSettings(name="fashion-mini", validation=validation)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="split_seed: -1; expected at least 0"):
        DataSettings(name="fashion-mini", split_seed=-1)


def test_the_split_depends_on_its_seed_only() -> None:
    first, again, other = (
        load_train_and_validation(
            DataSettings(name="fashion-mini", split_seed=seed), image_size=(28, 28)
        )
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.validation.images, again.validation.images)
    assert not np.array_equal(first.validation.images, other.validation.images)


def test_data_sets_need_no_torch() -> None:
    code = (
        "import sys; from spach_nas.data import *; "
        "from spach_nas.config.training_settings import DataSettings;"
        "data_shape(DataSettings(name='fashion-mini'));"
        "load_train_and_validation(DataSettings(name='fashion-mini'), image_size=(32, 32));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "root", "message"),
    [
        ("torch/cifar10", None, "root: is missing; expected the folder of torch/cifar10"),
        ("torch/cifar10", "nowhere", "is not a folder"),
        ("torch/", ".", "is only a prefix"),
        ("torch/image_folder", ".", "may mix train and test; expected name: folder"),
        ("hfds/cifar10", None, "may have to be downloaded; expected download: true"),
        ("wds/set", None, "root: is missing"),
    ],
)
def test_a_set_of_timms_is_checked_before_it_is_opened(
    tmp_path: Path, name: str, root: str | None, message: str
) -> None:
    settings = DataSettings(name=name, root=None if root is None else tmp_path / root)
    with pytest.raises(DataError, match=message):
        validate_settings(settings)


@pytest.mark.parametrize("name", ["torch/cifar10", "torch/nonsense", "wds/nonsense", "tfds/mnist"])
def test_what_timm_cannot_open_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name}: split train cannot be opened: .+") as caught:
        data_shape(DataSettings(name=name, root=tmp_path))
    assert "\n" not in str(caught.value)


def test_a_set_of_torchvisions_is_read_split_by_split(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    write_set(raw, train=40, test=20)
    settings = DataSettings(name="torch/fashion_mnist", root=tmp_path, validation=0.25)
    shape = data_shape(settings)
    assert (shape.in_channels, shape.num_classes) == (1, 10)
    splits = load_train_and_validation(settings, image_size=(28, 28))
    assert (len(splits.train), len(splits.validation)) == (30, 10)
    assert splits.train.class_names[9] == "Ankle boot"
    test = load_test(settings, image_size=(28, 28))
    np.testing.assert_array_equal(test.images[..., 0], read_idx(raw / "t10k-images-idx3-ubyte"))
    np.testing.assert_array_equal(test.labels, read_idx(raw / "t10k-labels-idx1-ubyte"))


class _Stream(IterableDataset[tuple[Image.Image, int]]):
    """What timm gives for a webdataset: an iterable of pairs, without names of classes."""

    def __init__(self, labels: list[int]) -> None:
        self.labels = labels
        self.reader = object()

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        for label in self.labels:
            yield Image.new("RGB", (10, 6), (label, 0, 0)), label

    def __len__(self) -> int:
        return len(self.labels)


def _install(monkeypatch: pytest.MonkeyPatch, splits: dict[str, list[int]]) -> None:
    def create_dataset(name: str, *, split: str, **_: Any) -> _Stream:
        return _Stream(splits[split])

    monkeypatch.setattr("timm.data.create_dataset", create_dataset)


def test_a_stream_is_read_whole_and_its_labels_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _install(monkeypatch, {"train": [0, 2, 1, 0, 1, 2], "validation": [2, 2, 0]})
    settings = DataSettings(name="wds/stream", root=tmp_path, validation=0.5)
    shape = data_shape(settings)
    assert (shape.in_channels, shape.num_classes) == (3, 3)
    splits = load_train_and_validation(settings, image_size=SIZE)
    np.testing.assert_array_equal(np.sort(splits.train.labels), [0, 1, 2])
    # Without a split called test, the one called validation serves.
    test = load_test(settings, image_size=SIZE)
    np.testing.assert_array_equal(test.labels, [2, 2, 0])
    np.testing.assert_array_equal(test.images[:, 4, 4, 0], [2, 2, 0])


@pytest.mark.parametrize("labels", [[], [-1, -1], [0, 7]])
def test_a_split_without_proper_labels_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, labels: list[int]
) -> None:
    _install(monkeypatch, {"train": [0, 1, 0, 1], "test": labels})
    with pytest.raises(DataError, match="has no labels from 0 to 1"):
        load_test(DataSettings(name="wds/unlabelled", root=tmp_path), image_size=SIZE)


def test_an_image_that_timm_cannot_read_is_not_replaced_by_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from timm.data import ImageDataset
    from timm.data.readers import create_reader

    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("RGB", SIZE).save(tmp_path / name / f"{number}.png")
    (tmp_path / "dog" / "1.png").write_bytes(b"no image")
    dataset = ImageDataset(str(tmp_path), reader=create_reader("", root=str(tmp_path)))
    monkeypatch.setattr("timm.data.create_dataset", lambda *_, **__: dataset)
    with pytest.raises(DataError, match=r"hfds/set: image 4: no image\nhfds/set: 1 broken image"):
        load_train_and_validation(
            DataSettings(name="hfds/set", root=tmp_path, download=True), image_size=SIZE
        )


class _NoImages:
    """A library's reader of labels, whose images nobody is to ask for."""

    class_to_idx: ClassVar[dict[str, int]] = {"ant": 0, "bee": 1}

    def iter_targets(self) -> Iterator[int]:
        yield from [0, 1, 1, 0, 1, 0]

    def __getitem__(self, _: int) -> tuple[Any, int]:
        raise AssertionError("reads an image to know its label")


class _Labelled:
    reader = _NoImages()

    def __len__(self) -> int:
        return 6


def test_labels_are_read_without_images_where_a_library_can(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("timm.data.create_dataset", lambda *_, **__: _Labelled())
    settings = DataSettings(name="hfds/labels", root=tmp_path, download=True, validation=0.34)
    data = open_data(DataChoice(settings=settings, channels=3))
    assert data.validation is not None
    np.testing.assert_array_equal(np.sort(data.train.labels), [0, 0, 1, 1])
    np.testing.assert_array_equal(np.sort(data.validation.labels), [0, 1])
