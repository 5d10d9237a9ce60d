"""Verifies that a bundle is unchanged, and that its forms agree on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spach_nas.errors import BundleError
from spach_nas.export.bundle import WEIGHTS, load_architecture, load_model, load_preprocessing
from spach_nas.export.manifest import check_manifest

if TYPE_CHECKING:
    from spach_nas.export.proof import Agreement, Tell
    from spach_nas.export.samples import Sample
    from spach_nas.networks import Spach


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """The result of a verification.

    Attributes:
        bundle: sha256 of the whole bundle, to compare with the published one.
        problems: A line for each problem; empty if there is none.
        unchecked: Forms that this machine cannot run, and what is missing.
        agreements: The comparison of each form with the network on this machine.
        images: Description of the images used.
    """

    bundle: str
    problems: tuple[str, ...]
    unchecked: tuple[str, ...] = ()
    agreements: "tuple[Agreement, ...]" = ()
    images: str = ""


def verify(folder: str | Path, *, tell: "Tell" = lambda _: None) -> Verification:
    """Check every file against the manifest, then compare every form with the network.

    Nothing is loaded from a bundle whose files differ from its manifest, and nothing in a file is
    executed. The images are those stored in the bundle, or else noise like its training images, the
    same on every machine.

    Args:
        folder: A bundle.
        tell: Receives progress messages of a few words.

    Raises:
        BundleError: The folder is not a bundle, or its manifest is damaged.
    """
    folder = Path(folder)
    tell("reading all files")
    bundle, problems = check_manifest(folder)
    # Nothing is loaded from files that are not those of the manifest.
    if problems:
        return Verification(bundle=bundle, problems=tuple(problems))
    try:
        load_architecture(folder)
    except BundleError as problem:
        return Verification(bundle=bundle, problems=(str(problem),))
    from spach_nas.export.proof import PARITY, present_forms, prove, read_proof
    from spach_nas.export.samples import bundle_sample

    try:
        network, proof = load_model(folder), read_proof(folder / PARITY)
        sample = bundle_sample(folder, network.architecture, load_preprocessing(folder))
    except BundleError as problem:
        return Verification(bundle=bundle, problems=(str(problem),))
    lacking = {form.name: form.cannot_run for form in present_forms(folder) if form.cannot_run}
    trained = (folder / WEIGHTS).is_file()
    found = prove(folder, network, trained=trained, sample=sample, tell=tell, skip=set(lacking))
    agreements = found.agreements
    if trained:
        agreements += (_recorded(network, proof, sample),)
    return Verification(
        bundle=bundle,
        problems=(
            *(f"{folder}: {item}" for item in agreements if not item.holds),
            *(f"{folder}: {name}: cannot be run: {why}" for name, why in found.failed.items()),
        ),
        unchecked=tuple(f"{name}: {reason}" for name, reason in lacking.items()),
        agreements=agreements,
        images=found.images,
    )


def _recorded(network: "Spach", proof: Mapping[str, Any], sample: "Sample") -> "Agreement":
    """Compare the network's logits with those recorded at the export."""
    import torch

    from spach_nas.export.proof import compare, probe
    from spach_nas.export.samples import embedded_sample

    try:
        expected = torch.tensor(proof["probe"]["logits"], dtype=torch.float32)
        if proof["probe"]["images"] != sample.origin:
            # A bundle from before bundles stored images.
            sample = embedded_sample(network.architecture)
    except (KeyError, TypeError, ValueError):
        expected = torch.empty(0)
    computed = probe(network, sample)
    return compare("recorded", "bundle", logits=computed, expected=expected)
