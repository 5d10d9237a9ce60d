"""Exports a network as a bundle for PyTorch, timm, the Hugging Face hub and ONNX."""

from typing import TYPE_CHECKING

from spach_nas.lazy_import import late

if TYPE_CHECKING:
    from spach_nas.export.bundle import load_model, load_weights
    from spach_nas.export.choice import Choice, choose
    from spach_nas.export.exporting import export
    from spach_nas.export.proof import read_proof, verify

__all__ = [
    "Choice",
    "choose",
    "export",
    "load_model",
    "load_weights",
    "read_proof",
    "verify",
]
_MODULES = ("choice", "choice", "exporting", "bundle", "bundle", "proof", "proof")
__getattr__ = late(__name__, dict(zip(__all__, _MODULES, strict=True)))
