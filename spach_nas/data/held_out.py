"""Draws a stratified, seeded share of a set of images: held-out validation, shares of rungs.

The draw depends only on the labels and a seed, never on a trial, so that all candidates of a study
are trained and scored on the same images.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spach_nas.data.images import Labels
from spach_nas.errors import DataError

Indices = npt.NDArray[np.int64]
# Determines the order in which images join a growing share. There is no reason to change it.
_SHARE_SEED = 20108


def split_validation(
    labels: Labels, share: float, *, seed: int, names: Sequence[str] = ()
) -> tuple[Indices, Indices]:
    """Indices of the train part and of the validation part, each in ascending order.

    Args:
        labels: Labels of all images, (N,).
        share: Share of each class that is held out for validation. At least one image is, and at
            least one remains for training.
        seed: Determines which images are held out.
        names: Names of the classes, for messages.

    Raises:
        DataError: A class has only one image.
    """
    train, validation = [], []
    for label, order in _shuffled_classes(labels, seed):
        if len(order) < 2:
            name = repr(names[label]) if names else label
            raise DataError(
                f"class {name} has 1 image; expected at least 2, one of them for validation"
            )
        count = min(max(1, _nearest(share * len(order))), len(order) - 1)
        validation.append(order[:count])
        train.append(order[count:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(validation))


def nested_share(labels: Labels, share: float) -> Indices:
    """Indices of a share of each class, ascending; a smaller share is part of every larger one.

    Args:
        labels: Labels of all images, (N,).
        share: In (0, 1]. At least one image of each class is taken.
    """
    parts = [
        order[: max(1, _nearest(share * len(order)))]
        for _, order in _shuffled_classes(labels, _SHARE_SEED)
    ]
    return np.sort(np.concatenate(parts))


def _shuffled_classes(labels: Labels, seed: int) -> list[tuple[int, Indices]]:
    # Each class has its own generator, so that its draw does not depend on the other classes.
    return [
        (
            int(label),
            np.random.default_rng((seed, int(label))).permutation(np.flatnonzero(labels == label)),
        )
        for label in np.unique(labels)
    ]


def _nearest(value: float) -> int:
    return int(value + 0.5)
