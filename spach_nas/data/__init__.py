"""Data sets as images in memory; free of torch until a name needs timm."""

from spach_nas.data.images import DataSplits, ImageSet, Normalisation
from spach_nas.data.reader import (
    data_set_names,
    data_shape,
    has_test,
    load_test,
    load_train_and_validation,
    validate_settings,
)

__all__ = [
    "DataSplits",
    "ImageSet",
    "Normalisation",
    "data_set_names",
    "data_shape",
    "has_test",
    "load_test",
    "load_train_and_validation",
    "validate_settings",
]
