"""Turns a chosen network into a bundle with its proof."""

from collections.abc import Sequence
from pathlib import Path

from spach_nas.errors import BundleError, one_line
from spach_nas.export.bundle import (
    README,
    load_weights,
    write_core,
    write_manifest,
    write_samples,
)
from spach_nas.export.card import DRAWING, card, drawing
from spach_nas.export.choice import Choice
from spach_nas.export.formats import FORMS
from spach_nas.export.proof import PARITY, Proof, Tell, prove, write_proof
from spach_nas.export.samples import bundle_sample, own_pixels
from spach_nas.files import check_new, staged
from spach_nas.networks import Spach, build
from spach_nas.networks.onnx_graph import OPSET


def export(
    choice: Choice,
    *,
    out: Path,
    test_accuracy: float | None = None,
    formats: Sequence[str] | None = ("safetensors",),
    opset: int = OPSET,
    keep_samples: bool = True,
    tell: Tell = lambda _: None,
) -> Path:
    """Write the bundle of a network, completely or not at all.

    Args:
        choice: The network to export.
        out: A folder that does not exist yet.
        test_accuracy: Accuracy on the test split in [0, 1], if it was measured.
        formats: Names of `FORMATS`. None means all that can be made here; `parity.json` says why
            others were left out. `safetensors` is always written.
        opset: Opset of the ONNX form, from 18 to 23.
        keep_samples: Whether to store a few images of the data in the bundle, for `verify`.
        tell: Receives progress messages of a few words.

    Returns:
        The folder.

    Raises:
        BundleError: The folder exists already or cannot be written, a requested format cannot be
            made, or the outputs of a form differ from those of the network.
    """
    check_new(out)  # before the network is built, which takes longer
    trained = choice.weights is not None
    if not trained and set(formats or ()) - {"safetensors"}:
        raise BundleError(
            f"{choice.name}: has no trained weights, and {', '.join(sorted(formats or ()))} need "
            "them; expected a trained network, or no --formats"
        )
    network = build(choice.architecture).eval()
    if choice.weights is not None:
        load_weights(network, choice.weights, where=choice.name)
    with staged(out) as folder:
        write_core(
            folder,
            architecture=choice.architecture,
            weights=choice.weights,
            preprocessing=choice.preprocessing,
        )
        left_out = _write_forms(folder, network, formats, opset=opset, tell=tell) if trained else {}
        tell("reading images to compare on")
        images = own_pixels(choice) if keep_samples else None
        if images is not None:
            write_samples(folder, images)
        # Read back from the bundle, so that `verify` uses exactly the same images.
        sample = bundle_sample(folder, choice.architecture, choice.preprocessing)
        proof = prove(folder, network, trained=trained, sample=sample, tell=tell, skip=set())
        _settle(folder, proof, required=formats, left_out=left_out)
        write_proof(
            folder / PARITY,
            proof,
            left_out=left_out,
            network=network,
            opset=opset,
            sample=sample if trained else None,
        )
        (folder / DRAWING).write_text(drawing(choice.architecture), encoding="utf-8")
        text = card(
            choice,
            proof=proof,
            left_out=left_out,
            test_accuracy=test_accuracy,
            samples=0 if images is None else len(images),
        )
        (folder / README).write_text(text, encoding="utf-8")
        write_manifest(folder)
    return out


def _write_forms(
    folder: Path, network: Spach, formats: Sequence[str] | None, *, opset: int, tell: Tell
) -> dict[str, str]:
    """Write the forms that need tracing; returns why forms were left out, by name."""
    wanted = [form for form in FORMS.values() if form.make is not None]
    if formats is not None:
        wanted = [form for form in wanted if form.name in formats]
    left_out = {form.name: form.cannot_make for form in wanted if form.cannot_make}
    _refuse(left_out, required=formats)
    for form in wanted:
        if form.make is None or form.name in left_out:
            continue
        tell(f"making {form.file}")
        try:
            data = form.make(network, opset)
        # torch has no common class for errors in tracing or conversion.
        except Exception as problem:
            left_out[form.name] = f"cannot be made: {one_line(problem)}"
            _refuse(left_out, required=formats)
            continue
        (folder / form.file).write_bytes(data)
    return left_out


def _settle(
    folder: Path, proof: Proof, *, required: Sequence[str] | None, left_out: dict[str, str]
) -> None:
    """Drop the forms that do not run, and raise if the outputs of a form differ."""
    if proof.broken:
        lines = [str(item) for item in proof.broken]
        raise BundleError("\n".join([*lines, "nothing was written"]))
    for name, reason in proof.failed.items():
        if FORMS[name].make is None:
            raise BundleError(f"{name}: cannot be run: {reason}; nothing was written")
        left_out[name] = f"cannot be run: {reason}"
        _refuse(left_out, required=required)
        (folder / FORMS[name].file).unlink()


def _refuse(left_out: dict[str, str], *, required: Sequence[str] | None) -> None:
    if required is not None and left_out:
        raise BundleError(
            "\n".join(f"--formats {name}: {reason}" for name, reason in left_out.items())
        )
