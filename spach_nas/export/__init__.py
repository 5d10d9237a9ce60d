"""The way out: an architecture as a bundle that PyTorch and timm users can load."""

from spach_nas.export.bundle import load_model, load_weights, write_bundle
from spach_nas.export.card import export
from spach_nas.export.source import Choice, Scale, choose

__all__ = [
    "Choice",
    "Scale",
    "choose",
    "export",
    "load_model",
    "load_weights",
    "write_bundle",
]
