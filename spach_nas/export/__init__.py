"""Exports a network as a bundle for PyTorch, timm, the Hugging Face hub and ONNX."""

from typing import TYPE_CHECKING

from spach_nas.lazy_import import late

if TYPE_CHECKING:
    from spach_nas.export.bundle import (
        load_architecture,
        load_model,
        load_preprocessing,
        load_weights,
        write_bundle,
    )
    from spach_nas.export.choice import Choice, Scale, choose, choose_top
    from spach_nas.export.exporting import export, export_all
    from spach_nas.export.format_names import FORMATS, OPSET, OPSETS, parse_formats
    from spach_nas.export.proof import read_proof
    from spach_nas.export.verification import Verification, verify

__getattr__ = late(
    __name__,
    {
        "Choice": "choice",
        "FORMATS": "format_names",
        "OPSET": "format_names",
        "OPSETS": "format_names",
        "Scale": "choice",
        "Verification": "verification",
        "choose": "choice",
        "choose_top": "choice",
        "export": "exporting",
        "export_all": "exporting",
        "load_architecture": "bundle",
        "load_model": "bundle",
        "load_preprocessing": "bundle",
        "load_weights": "bundle",
        "parse_formats": "format_names",
        "read_proof": "proof",
        "verify": "verification",
        "write_bundle": "bundle",
    },
)
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
