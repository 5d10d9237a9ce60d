"""Fashion-MNIST: idx files, the whole set, the embedded set and its maker."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from make_fashion_mini import first_of_each_class, main
from needs import FASHION_MNIST
from own_data import idx, write_set
from spach_nas.config.training_settings import DataSettings
from spach_nas.data import DataSplits, data_shape, load_test, load_train_and_validation
from spach_nas.data.fashion import CLASS_NAMES, DEBIAN_FOLDER, MINI_FILE, read_idx
from spach_nas.errors import DataError

MINI = DataSettings(name="fashion-mini", validation=0.2)
needs_debian_package = pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason=FASHION_MNIST)


def test_an_idx_file_is_read_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "some-idx3-ubyte"
    content = (
        b"\0\0\x08\x03"
        + b"\0\0\0\x02"
        + b"\0\0\0\x01"
        + b"\0\0\0\x03"
        + bytes([1, 2, 3, 4, 5, 255])
    )
    for data in (content, gzip.compress(content)):
        path.write_bytes(data)
        np.testing.assert_array_equal(read_idx(path), [[[1, 2, 3]], [[4, 5, 255]]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an idx file"),
        (b"\x89PNG....", "is not an idx file"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "is not an idx file of unsigned bytes"),
        (b"\0\0\x08\x02\0\0\0\x01", "is truncated"),
        (b"\0\0\x08\x01\0\0\0\x05abc", "holds 3 bytes; expected 5"),
        (b"\0\0\x08\x03" + b"\xff" * 12 + b"x", "holds 1 bytes"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x01a", mtime=0)[:-9], "cannot be read"),
        (b"\x1f\x8b" + b"junk" * 5, "cannot be read"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_the_embedded_set_has_800_and_200_images_of_each_class() -> None:
    with np.load(MINI_FILE, allow_pickle=False) as arrays:
        for split, count in (("train", 800), ("test", 200)):
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
            assert images.shape == (10 * count, 28, 28)
            assert images.dtype == labels.dtype == np.uint8
            np.testing.assert_array_equal(np.bincount(labels), [count] * 10)
    assert MINI_FILE.stat().st_size < 5e6
    assert "Zalando SE" in MINI_FILE.with_name("FASHION_MNIST_LICENSE.txt").read_text()


def mini() -> DataSplits:
    return load_train_and_validation(MINI, image_size=(32, 32))


def test_the_embedded_splits_share_no_image() -> None:
    splits = mini()
    parts = [splits.train, splits.validation, load_test(MINI, image_size=(32, 32))]
    assert [len(part) for part in parts] == [6400, 1600, 2000]
    hashes = [{image.tobytes() for image in part.images} for part in parts]
    assert [len(found) for found in hashes] == [6400, 1600, 2000]
    assert not hashes[0] & hashes[1] and not hashes[0] & hashes[2] and not hashes[1] & hashes[2]
    for part in parts:
        np.testing.assert_array_equal(np.bincount(part.labels), [len(part) // 10] * 10)
        assert part.class_names == CLASS_NAMES


def test_the_normalisation_is_that_of_the_train_part() -> None:
    splits = mini()
    assert splits.normalisation.mean == pytest.approx([splits.train.images.mean() / 255])
    assert splits.normalisation.std == pytest.approx([splits.train.images.std() / 255])


@pytest.mark.parametrize("packed", [False, True])
def test_the_whole_set_is_read_from_any_folder_of_idx_files(tmp_path: Path, packed: bool) -> None:
    write_set(tmp_path, train=50, test=20, packed=packed)
    settings = DataSettings(name="fashion-mnist", root=tmp_path, validation=0.4)
    assert data_shape(settings).in_channels == 1
    assert data_shape(settings).num_classes == 10
    splits = load_train_and_validation(settings, image_size=(32, 32))
    assert splits.train.images.shape == (30, 32, 32, 1)
    assert splits.validation.images.shape == (20, 32, 32, 1)
    test = load_test(settings, image_size=(28, 28))
    suffix = ".gz" if packed else ""
    source = read_idx(tmp_path / f"t10k-images-idx3-ubyte{suffix}")
    np.testing.assert_array_equal(test.images[..., 0], source)


def test_a_missing_file_names_the_package(tmp_path: Path) -> None:
    write_set(tmp_path, train=20, test=20)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    settings = DataSettings(name="fashion-mnist", root=tmp_path)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.*dataset-fashion-mnist"):
        data_shape(settings)


@pytest.mark.parametrize(
    ("count", "message"),
    [(19, r"\(20, 28, 28\) and labels of \(19,\)"), (20, "has label 200; expected 0 to 9")],
)
def test_labels_that_do_not_fit_the_images_are_refused(
    tmp_path: Path, count: int, message: str
) -> None:
    write_set(tmp_path, train=20, test=20)
    labels = np.full(count, 200, dtype=np.uint8)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    settings = DataSettings(name="fashion-mnist", root=tmp_path)
    with pytest.raises(DataError, match=message):
        load_train_and_validation(settings, image_size=(32, 32))


def test_the_embedded_set_takes_no_root(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="takes no root"):
        data_shape(DataSettings(name="fashion-mini", root=tmp_path))


def test_the_first_of_each_class_are_taken_in_the_order_of_the_source() -> None:
    labels = np.array([1, 0, 1, 1, 0, 0, 2], dtype=np.uint8)
    np.testing.assert_array_equal(first_of_each_class(labels, 2), [0, 1, 2, 4, 6])


@needs_debian_package
def test_the_maker_reproduces_the_embedded_file(tmp_path: Path) -> None:
    made = tmp_path / "again.npz"
    main(["--out", str(made)])
    with np.load(made, allow_pickle=False) as new, np.load(MINI_FILE, allow_pickle=False) as old:
        assert sorted(new) == sorted(old)
        for name in old:
            np.testing.assert_array_equal(new[name], old[name])


def test_the_maker_refuses_files_that_are_not_fashion_mnist(tmp_path: Path) -> None:
    write_set(tmp_path, train=20, test=20)
    out = tmp_path / "mini.npz"
    with pytest.raises(DataError, match="is not the file of Fashion-MNIST"):
        main(["--source", str(tmp_path), "--out", str(out)])
    assert not out.exists()
