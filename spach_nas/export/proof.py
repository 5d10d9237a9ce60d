"""The proof in a bundle: every form is run and compared with the network.

parity.json    results of each form, the images used, and logits to compare with on other machines
"""

import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from spach_nas.errors import BundleError, one_line
from spach_nas.export.bundle import (
    SMALL_FORMATS,
    WEIGHTS,
    check_manifest,
    load_architecture,
    load_model,
    load_preprocessing,
)
from spach_nas.export.formats import FORMS, RELATIVE_TOLERANCE, Form, Run, as_run
from spach_nas.export.samples import BATCHES, Sample, bundle_sample, embedded_sample
from spach_nas.export.scored_images import (
    MAX_LOSS,
    ScoredImages,
    named_settings,
    read_scored_images,
)
from spach_nas.networks import Spach, build
from spach_nas.version import __version__

WeightsName = Literal["bundle", "random"]
SEED = 20_108


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """A form compared with the network, on the same images with the same weights.

    Attributes:
        form: Name of the form.
        weights: The bundle's own, or seeded random ones under which every part matters.
        images: Number of images.
        max_difference: Largest absolute difference of two logits; lower is better.
        mean_difference: Mean absolute difference; lower is better.
        top1_agreement: Share of images with the same most likely class; higher is better.
        scale: Root mean square of the network's logits.
        relative_tolerance: See `Form`.
    """

    form: str
    weights: WeightsName
    images: int
    max_difference: float
    mean_difference: float
    top1_agreement: float
    scale: float
    relative_tolerance: float | None = RELATIVE_TOLERANCE

    @property
    def tolerance(self) -> float | None:
        """The largest difference that counts as rounding; None if any finite one does."""
        return None if self.relative_tolerance is None else self.relative_tolerance * self.scale

    @property
    def holds(self) -> bool:
        """Whether the form agrees with the network; not if there is a NaN."""
        largest = self.tolerance
        return self.max_difference <= (sys.float_info.max if largest is None else largest)

    def __str__(self) -> str:
        largest = self.tolerance
        return (
            f"{self.form} with {self.weights} weights: differs by up to {self.max_difference:.1e} "
            f"on {self.images} images; expected "
            f"{'a number' if largest is None else f'at most {largest:.1e}'}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """Top-1 of a small form beside that of the network, on the same images.

    Attributes:
        form: Name of the form.
        data: Description of the images.
        images: Number of images.
        top1: Of the form, in [0, 1]; higher is better.
        float32_top1: Of the network, in [0, 1].
        max_loss: By how much the form's may be lower.
    """

    form: str
    data: str
    images: int
    top1: float
    float32_top1: float
    max_loss: float

    @property
    def holds(self) -> bool:
        """Whether the form loses no more than allowed."""
        # Equal shares of images may differ in their last bit.
        return self.float32_top1 - self.top1 <= self.max_loss + 1e-9

    def __str__(self) -> str:
        return (
            f"{self.form}: top-1 {self.top1:.1%} on {self.images} {self.data}, the network "
            f"{self.float32_top1:.1%}; expected a loss of at most {self.max_loss:.1%} (--max-loss)"
        )


def score_small(
    folder: Path, network: Spach, images: ScoredImages, *, max_loss: float
) -> tuple[Accuracy, ...]:
    """Top-1 of every small form in a folder that can be run here, beside the network's.

    Args:
        folder: A bundle, which may be unfinished.
        network: The network in evaluation mode, with the bundle's weights.
        images: The images to score.
        max_loss: By how much top-1 may be lower, in [0, 1].
    """
    forms = [form for form in present_forms(folder) if form.is_small and not form.cannot_run]
    whole = _top1(as_run(network.eval()), images) if forms else 0.0
    return tuple(
        Accuracy(
            form=form.name,
            data=images.origin,
            images=images.count,
            top1=_top1(form.open(folder)(None), images),
            float32_top1=whole,
            max_loss=max_loss,
        )
        for form in forms
    )


def _top1(run: Run, images: ScoredImages) -> float:
    hits = sum(int((run(x).argmax(1) == labels).sum()) for x, labels in images.scored)
    return hits / images.count


def run_batches(run: Run, sample: Sample) -> Tensor:
    """Logits of all images, (N, K), in the batches of the sample."""
    return torch.cat([run(images) for images in sample.batches])


def compare(
    form: str,
    weights: WeightsName,
    *,
    logits: Tensor,
    expected: Tensor,
    relative_tolerance: float | None = RELATIVE_TOLERANCE,
) -> Agreement:
    """Compare a form's `logits` (N, K) with the network's, `expected` (N, K)."""
    if logits.shape != expected.shape:
        worst = mean = float("inf")
        same = 0.0
    else:
        differences = (logits.double() - expected.double()).abs()
        worst, mean = differences.max().item(), differences.mean().item()
        same = (logits.argmax(1) == expected.argmax(1)).double().mean().item()
    return Agreement(
        form=form,
        weights=weights,
        images=len(expected),
        max_difference=worst,
        mean_difference=mean,
        top1_agreement=same,
        scale=expected.double().square().mean().sqrt().item() if expected.numel() else 0.0,
        relative_tolerance=relative_tolerance,
    )


def random_weights(network: Spach, *, seed: int = SEED) -> Mapping[str, Tensor]:
    """Seeded weights under which every part matters, by the names of the state dict.

    A new network would hide errors: its head is 0, and its gamma_1 of 1e-4 hides the mixers. Here
    matrices preserve the scale of their inputs, gamma_1 and norms are around 1, biases and the
    means of BatchNorm around 0, and its variances above 0.5.
    """
    generator = np.random.default_rng(seed)
    return {
        name: _draw(name, value, generator) if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }


def _draw(name: str, value: Tensor, generator: np.random.Generator) -> Tensor:
    noise = generator.standard_normal(tuple(value.shape))
    if name.endswith("running_var"):
        noise = 0.5 + np.abs(noise)
    elif value.ndim == 1:
        noise = 0.3 * noise + (1.0 if name.endswith(("weight", "gamma_1")) else 0.0)
    elif value.ndim > 1:
        noise = noise / value[0].numel() ** 0.5
    return torch.from_numpy(np.asarray(noise)).to(value.dtype)


PARITY = "parity.json"
_PROBE_IMAGES = 3
_PACKAGES = ("torch", "timm", "safetensors", "onnx", "onnxscript", "onnxruntime")

# Receives progress messages of a few words.
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """The results for all forms of a bundle.

    Attributes:
        agreements: The comparison of each form with each kind of weights.
        failed: Why forms could not be run, by their names.
        images: Description of the images used.
    """

    agreements: tuple[Agreement, ...]
    failed: Mapping[str, str]
    images: str

    @property
    def broken(self) -> tuple[Agreement, ...]:
        """The comparisons that show a difference."""
        return tuple(item for item in self.agreements if not item.holds)


def present_forms(folder: Path) -> tuple[Form, ...]:
    """The forms whose files are in a bundle; without weights, only timm's."""
    return tuple(form for form in FORMS.values() if (folder / form.file).is_file())


def prove(
    folder: Path, network: Spach, *, trained: bool, sample: Sample, tell: Tell, skip: set[str]
) -> Proof:
    """Compare every form in a folder with the network.

    Args:
        folder: A bundle, which may be unfinished.
        network: The network in evaluation mode, with the bundle's weights if it has any.
        trained: Whether there are weights.
        sample: The images to run.
        tell: Receives progress messages.
        skip: Names of forms to leave out.
    """
    kinds: dict[WeightsName, Mapping[str, Tensor] | None] = {"random": random_weights(network)}
    if trained:
        kinds = {"bundle": None, **kinds}
    expected = {
        name: run_batches(_reference(network, weights), sample) for name, weights in kinds.items()
    }
    # NaN differs from everything, itself included, and would look like broken forms.
    for logits in expected.values():
        _check_finite(logits, folder=folder)
    agreements: list[Agreement] = []
    failed: dict[str, str] = {}
    for form in present_forms(folder):
        if form.name in skip:
            continue
        tell(f"comparing {form.name} with the network")
        try:
            opened = form.open(folder)
            agreements += [
                compare(
                    form.name,
                    name,
                    logits=run_batches(opened(weights), sample),
                    expected=expected[name],
                    relative_tolerance=form.relative_tolerance,
                )
                for name, weights in kinds.items()
                # A small form has the weights that it was made and calibrated for.
                if weights is None or not form.is_small
            ]
        # Another library's runtime may raise anything for a graph that it cannot run.
        except Exception as problem:
            failed[form.name] = one_line(problem)
    return Proof(agreements=tuple(agreements), failed=failed, images=sample.origin)


def _reference(network: Spach, weights: Mapping[str, Tensor] | None) -> Run:
    if weights is not None:
        # Another network, since the caller's must keep its weights.
        network = build(network.architecture)
        network.load_state_dict(weights)
    return as_run(network.eval())


def _check_finite(logits: Tensor, *, folder: Path) -> None:
    if not logits.isfinite().all():
        raise BundleError(
            f"{folder.name}: the network's logits are not finite, so no form can be compared; "
            "expected weights of a training that converged"
        )


def probe(network: Spach, sample: Sample) -> Tensor:
    """Logits on the first images, (3, K), which other machines compare theirs with."""
    with torch.inference_mode():
        logits: Tensor = network(sample.images[:_PROBE_IMAGES])
    return logits


def write_proof(
    path: Path,
    proof: Proof,
    *,
    left_out: Mapping[str, str],
    network: Spach,
    opset: int,
    sample: Sample | None,
    accuracies: Sequence[Accuracy] = (),
) -> None:
    """Write `parity.json`.

    Args:
        path: The file to write.
        proof: The results for the forms.
        left_out: Why forms are missing, by their names.
        network: The network with the bundle's weights.
        opset: Opset of the ONNX form.
        sample: Images to record the network's logits on. None if it has no weights.
        accuracies: Those of small forms.
    """
    plain: dict[str, Any] = {
        "made_with": {"spach-nas": __version__, **_versions()},
        "machine": f"{platform.system()} {platform.machine()}, CPU",
        "images": proof.images,
        "batch_sizes": list(BATCHES),
        "relative_tolerance": RELATIVE_TOLERANCE,
        "random_weights_seed": SEED,
        "onnx_opset": opset,
        "forms": [_agreement(item) for item in proof.agreements],
        "left_out": dict(left_out),
    }
    if accuracies:
        plain["accuracy"] = [asdict(item) for item in accuracies]
    if sample is not None:
        plain["probe"] = {"images": sample.origin, "logits": probe(network, sample).tolist()}
    path.write_text(json.dumps(plain, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_proof(path: Path) -> dict[str, Any]:
    """The content of `parity.json`.

    Raises:
        BundleError: The file is missing or damaged.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(plain, dict) and isinstance(plain["left_out"], dict):
            return plain
    except (OSError, ValueError, KeyError):
        pass
    raise BundleError(f"{path}: missing or damaged; expected the file as exported")


def _agreement(item: Agreement) -> dict[str, Any]:
    return asdict(item) | {"tolerance": item.tolerance}


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """The result of a verification.

    Attributes:
        bundle: sha256 of the whole bundle, to compare with the published one.
        problems: A line for each problem; empty if there is none.
        unchecked: Forms that this machine cannot run, and what is missing.
        agreements: The comparison of each form with the network on this machine.
        images: Description of the images used.
        accuracies: Those of small forms, if data were given.
    """

    bundle: str
    problems: tuple[str, ...]
    unchecked: tuple[str, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    images: str = ""
    accuracies: tuple[Accuracy, ...] = ()


def verify(
    folder: str | Path, *, data: str | None = None, tell: Tell = lambda _: None
) -> Verification:
    """Check every file against the manifest, then compare every form with the network.

    Nothing is loaded from a bundle whose files differ from its manifest, and nothing in a file is
    executed. The images are those stored in the bundle, or else noise like its training images, the
    same on every machine.

    Args:
        folder: A bundle.
        data: A folder or the name of a data set, to score small forms on again.
        tell: Receives progress messages of a few words.

    Raises:
        BundleError: The folder is not a bundle, or its manifest is damaged.
        DataError: The images are missing, or of other classes than the network's.
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
    try:
        network, proof = load_model(folder), read_proof(folder / PARITY)
        sample = bundle_sample(folder, network.architecture, load_preprocessing(folder))
    except BundleError as problem:
        return Verification(bundle=bundle, problems=(str(problem),))
    accuracies: tuple[Accuracy, ...] = ()
    if data is not None:
        tell("scoring small forms")
        accuracies = _scored_again(folder, network, proof, data=data)
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
            *(f"{folder}: {item}" for item in accuracies if not item.holds),
            *(f"{folder}: {name}: cannot be run: {why}" for name, why in found.failed.items()),
        ),
        unchecked=tuple(f"{name}: {reason}" for name, reason in lacking.items()),
        agreements=agreements,
        images=found.images,
        accuracies=accuracies,
    )


def _scored_again(
    folder: Path, network: Spach, proof: Mapping[str, Any], *, data: str
) -> tuple[Accuracy, ...]:
    preprocessing = load_preprocessing(folder)
    if preprocessing is None or not any(form.is_small for form in present_forms(folder)):
        raise BundleError(
            f"{folder}: holds no {' and no '.join(SMALL_FORMATS)}; expected no --data"
        )
    images = read_scored_images(
        named_settings(data),
        preprocessing=preprocessing,
        architecture=network.architecture,
        source=str(folder),
    )
    recorded = proof.get("accuracy") or [{"max_loss": MAX_LOSS}]
    max_loss = max(float(item["max_loss"]) for item in recorded)
    return score_small(folder, network, images, max_loss=max_loss)


def _recorded(network: Spach, proof: Mapping[str, Any], sample: Sample) -> Agreement:
    """Compare the network's logits with those recorded at the export."""
    try:
        expected = torch.tensor(proof["probe"]["logits"], dtype=torch.float32)
        if proof["probe"]["images"] != sample.origin:
            # A bundle from before bundles stored images.
            sample = embedded_sample(network.architecture)
    except (KeyError, TypeError, ValueError):
        expected = torch.empty(0)
    computed = probe(network, sample)
    return compare("recorded", "bundle", logits=computed, expected=expected)
