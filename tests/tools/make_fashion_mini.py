"""Make the embedded `fashion_mini.npz`: `python tests/tools/make_fashion_mini.py`.

It holds the first 800 images of each class of Fashion-MNIST's train split and the first 200 of each
class of its test split, in the order of the source (Xiao et al. 2017, arXiv:1708.07747). The source
is Debian's package `dataset-fashion-mnist` or any folder with the four idx files; what they hold is
checked by hash, so that everyone makes the same file.
"""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spach_nas.data.fashion import DEBIAN_FOLDER, MINI_FILE, fashion_path, read_idx, read_plain
from spach_nas.errors import DataError

TRAIN_PER_CLASS = 800
TEST_PER_CLASS = 200
# sha256 of the decompressed files: the gzip headers of the sources differ.
_SHA256 = {
    ("train", "images"): "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ("train", "labels"): "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ("test", "images"): "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ("test", "labels"): "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def first_of_each_class(labels: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.int64]:
    """Indices of the first `count` images of each class, in the order of the source."""
    classes = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(classes))


def make(source: Path, *, out: Path) -> None:
    """Write the small set.

    Raises:
        DataError: The source is missing, or is not Fashion-MNIST.
    """
    for (split, kind), expected in _SHA256.items():
        path = fashion_path(source, split=split, kind=kind)
        if hashlib.sha256(read_plain(path)).hexdigest() != expected:
            raise DataError(f"{path}: is not the file of Fashion-MNIST")
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    for split, count in (("train", TRAIN_PER_CLASS), ("test", TEST_PER_CLASS)):
        labels = read_idx(fashion_path(source, split=split, kind="labels"))
        images = read_idx(fashion_path(source, split=split, kind="images"))
        chosen = first_of_each_class(labels, count)
        arrays |= {f"{split}_images": images[chosen], f"{split}_labels": labels[chosen]}
    np.savez_compressed(out, allow_pickle=False, **arrays)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--source", type=Path, default=DEBIAN_FOLDER)
    parser.add_argument("--out", type=Path, default=MINI_FILE)
    options = parser.parse_args(arguments)
    make(options.source, out=options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
