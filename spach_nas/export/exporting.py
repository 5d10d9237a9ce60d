"""Turns a chosen network into a bundle with its proof."""

from collections.abc import Sequence
from pathlib import Path

from spach_nas.errors import BundleError, one_line, one_of
from spach_nas.export.bundle import (
    FORMATS,
    README,
    SMALL_FORMATS,
    load_weights,
    write_core,
    write_manifest,
    write_samples,
)
from spach_nas.export.card import DRAWING, card, drawing
from spach_nas.export.choice import Choice
from spach_nas.export.formats import FORMS, Calibration
from spach_nas.export.proof import (
    PARITY,
    Accuracy,
    Proof,
    Tell,
    prove,
    score_small,
    write_proof,
)
from spach_nas.export.samples import bundle_sample, own_pixels
from spach_nas.export.scored_images import (
    MAX_LOSS,
    ScoredImages,
    named_settings,
    read_scored_images,
)
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
    data: str | None = None,
    max_loss: float = MAX_LOSS,
    keep_samples: bool = True,
    tell: Tell = lambda _: None,
) -> Path:
    """Write the bundle of a network, completely or not at all.

    Args:
        choice: The network to export.
        out: A folder that does not exist yet.
        test_accuracy: Accuracy on the test split in [0, 1], if it was measured.
        formats: Names of `FORMATS` and `SMALL_FORMATS`. None means all of `FORMATS` that can be
            made here; `parity.json` says why others were left out. `safetensors` is always written.
        opset: Opset of the ONNX forms, from 18 to 23.
        data: A folder or the name of a data set, on whose training images `onnx_int8` is
            calibrated, and on whose validation images small formats are scored. None means that of
            the study, if the network comes from one.
        max_loss: By how much the top-1 of a small format may be lower than the network's, in
            [0, 1].
        keep_samples: Whether to store a few images of the data in the bundle, for `verify`.
        tell: Receives progress messages of a few words.

    Returns:
        The folder.

    Raises:
        BundleError: The folder exists already or cannot be written, a requested format cannot be
            made, the outputs of a form differ from those of the network, or a small format loses
            too much accuracy.
        DataError: The images are missing, or of other classes than the network's.
    """
    check_new(out)  # before the network is built, which takes longer
    trained = choice.weights is not None
    if not trained and set(formats or ()) - {"safetensors"}:
        raise BundleError(
            f"{choice.name}: has no trained weights, and {', '.join(sorted(formats or ()))} need "
            "them; expected a trained network, or no --formats"
        )
    images = _scored_images(choice, formats, data=data)
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
        calibration = () if images is None else images.calibration
        left_out = (
            _write_forms(folder, network, formats, opset=opset, calibration=calibration, tell=tell)
            if trained
            else {}
        )
        tell("reading images to compare on")
        pixels = own_pixels(choice) if keep_samples else None
        if pixels is not None:
            write_samples(folder, pixels)
        # Read back from the bundle, so that `verify` uses exactly the same images.
        sample = bundle_sample(folder, choice.architecture, choice.preprocessing)
        proof = prove(folder, network, trained=trained, sample=sample, tell=tell, skip=set())
        _settle(folder, proof, required=formats, left_out=left_out)
        accuracies: tuple[Accuracy, ...] = ()
        if images is not None:
            tell("scoring small formats")
            accuracies = score_small(folder, network, images, max_loss=max_loss)
            _refuse_inaccurate(accuracies)
        write_proof(
            folder / PARITY,
            proof,
            left_out=left_out,
            network=network,
            opset=opset,
            sample=sample if trained else None,
            accuracies=accuracies,
        )
        (folder / DRAWING).write_text(drawing(choice.architecture), encoding="utf-8")
        text = card(
            choice,
            proof=proof,
            left_out=left_out,
            test_accuracy=test_accuracy,
            samples=0 if pixels is None else len(pixels),
            accuracies=accuracies,
        )
        (folder / README).write_text(text, encoding="utf-8")
        write_manifest(folder)
    return out


def _scored_images(
    choice: Choice, formats: Sequence[str] | None, *, data: str | None
) -> ScoredImages | None:
    """The images to calibrate and score small formats on; None if there are no small formats."""
    small = [name for name in SMALL_FORMATS if name in (formats or ())]
    settings = choice.config.data if choice.config is not None else None
    if data is not None:
        if not small:
            raise BundleError(f"--data: {data}; expected {one_of(SMALL_FORMATS)} among --formats")
        settings = named_settings(data)
    if not small or choice.preprocessing is None:
        return None
    if settings is None:
        if "onnx_int8" in small:
            raise BundleError(
                "--formats onnx_int8: needs images to be calibrated on; expected --data"
            )
        return None
    return read_scored_images(
        settings,
        preprocessing=choice.preprocessing,
        architecture=choice.architecture,
        source=choice.name,
    )


def _refuse_inaccurate(accuracies: Sequence[Accuracy]) -> None:
    lines = [str(item) for item in accuracies if not item.holds]
    if lines:
        raise BundleError("\n".join([*lines, "nothing was written"]))


def _write_forms(
    folder: Path,
    network: Spach,
    formats: Sequence[str] | None,
    *,
    opset: int,
    calibration: Calibration,
    tell: Tell,
) -> dict[str, str]:
    """Write the forms that need tracing; returns why forms were left out, by name."""
    names = FORMATS if formats is None else formats
    wanted = [form for form in FORMS.values() if form.make is not None and form.name in names]
    left_out = {form.name: form.cannot_make for form in wanted if form.cannot_make}
    _refuse(left_out, required=formats)
    for form in wanted:
        if form.make is None or form.name in left_out:
            continue
        tell(f"making {form.file}")
        try:
            data = form.make(network, opset, calibration)
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
