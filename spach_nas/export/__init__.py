"""The way out: an architecture as a bundle that PyTorch, timm, the hub and ONNX users can load."""

from spach_nas.export.bundle import (
    load_architecture,
    load_model,
    load_preprocessing,
    load_weights,
    write_bundle,
)
from spach_nas.export.exporting import export, export_all
from spach_nas.export.formats import FORMATS, OPSET, OPSETS, parse_formats
from spach_nas.export.proof import read_proof
from spach_nas.export.source import Choice, Scale, choose, choose_top
from spach_nas.export.verification import Verification, verify

__all__ = [
    "FORMATS",
    "OPSET",
    "OPSETS",
    "Choice",
    "Scale",
    "Verification",
    "choose",
    "choose_top",
    "export",
    "export_all",
    "load_architecture",
    "load_model",
    "load_preprocessing",
    "load_weights",
    "parse_formats",
    "read_proof",
    "verify",
    "write_bundle",
]
