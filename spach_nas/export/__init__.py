"""The way out: an architecture as a bundle that PyTorch and timm users can load."""

from spach_nas.export.bundle import Preprocessing, load_model, load_weights, write_bundle
from spach_nas.export.source import Choice, Scale, choose

__all__ = [
    "Choice",
    "Preprocessing",
    "Scale",
    "choose",
    "load_model",
    "load_weights",
    "write_bundle",
]
