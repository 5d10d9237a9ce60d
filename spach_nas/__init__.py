"""Neural architecture search for hybrid vision backbones."""

from spach_nas.version import __version__

__all__ = ["__version__"]
