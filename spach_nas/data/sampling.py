"""A few images of a set, where the whole of it need not be read."""

import numpy as np

from spach_nas.config.training_settings import DataSettings
from spach_nas.data.decoding import evenly
from spach_nas.data.folder import FOLDER, find_splits, labelled_files, read_image
from spach_nas.data.images import Pixels
from spach_nas.data.loading import load_train_and_validation, validate_settings
from spach_nas.data.splits import split_validation


def sample_validation(settings: DataSettings, *, image_size: tuple[int, int], count: int) -> Pixels:
    """Evenly spaced images of the part that scores candidates, (n, H, W, C) with n <= `count`.

    Of a folder, only these are decoded; other sets are read whole.

    Raises:
        DataError: The data are missing, unreadable or too large for the memory.
    """
    if settings.name != "folder" or settings.skip_broken:
        whole = load_train_and_validation(settings, image_size=image_size).validation
        return whole.images[evenly(len(whole), count)]
    validate_settings(settings)
    assert settings.root is not None
    found = find_splits(settings.root, settings.validation)
    files = labelled_files(found.get("validation", found["train"]))
    if "validation" not in found:
        labels = np.array([label for _, label in files], dtype=np.int64)
        _, held_out = split_validation(labels, settings.held_out_share, seed=settings.split_seed)
        files = [files[index] for index in held_out]
    channels = FOLDER.shape(settings).in_channels
    return np.stack(
        [
            read_image(files[index][0], channels=channels, size=image_size)
            for index in evenly(len(files), count)
        ]
    )
