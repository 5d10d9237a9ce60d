"""Bundles without proof, for tests of what reads them."""

from pathlib import Path

from spach_nas.data.preprocessing import Preprocessing
from spach_nas.export.bundle import README, write_core, write_manifest
from spach_nas.space.architecture import Architecture


def write_bundle(
    out: Path,
    *,
    architecture: Architecture,
    weights: bytes | None = None,
    preprocessing: Preprocessing | None = None,
) -> Path:
    out.mkdir()
    write_core(out, architecture=architecture, weights=weights, preprocessing=preprocessing)
    (out / README).write_text("")
    write_manifest(out)
    return out
