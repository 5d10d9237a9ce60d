"""How far the forms of a bundle agree with the network, in figures.

Letters: N images, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from spach_nas.export.formats import Run
from spach_nas.export.samples import Sample
from spach_nas.networks import Spach

WeightsName = Literal["bundle", "random"]
SEED = 20_108
# A float32 sum of n terms is off by some 2**-24 * sqrt(n) of its size, and another order of the sum
# is as right. On its way through the largest network of the paper a number is summed over about
# 10**5 terms, which makes 2e-5. Measured: 2e-6 for proxies, 6e-6 at full size, and 5e-3 or more
# where any one tensor is set to zero.
RELATIVE_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """A form beside the network, on the same images with the same weights.

    Attributes:
        form: Name of the form.
        weights: The bundle's own, or seeded random ones under which every part matters.
        images: How many.
        max_difference: Largest absolute difference of two logits; lower is better.
        mean_difference: Mean absolute difference; lower is better.
        top1_agreement: Share of images with the same most likely class; higher is better.
        scale: Root mean square of the network's logits.
    """

    form: str
    weights: WeightsName
    images: int
    max_difference: float
    mean_difference: float
    top1_agreement: float
    scale: float

    @property
    def tolerance(self) -> float:
        """The largest difference that is taken for rounding."""
        return RELATIVE_TOLERANCE * self.scale

    @property
    def holds(self) -> bool:
        """Whether the form computes what the network does; a NaN does not."""
        return self.max_difference <= self.tolerance

    def __str__(self) -> str:
        return (
            f"{self.form} with {self.weights} weights: differs by up to {self.max_difference:.1e} "
            f"on {self.images} images; expected at most {self.tolerance:.1e}"
        )


def run_batches(run: Run, sample: Sample) -> Tensor:
    """Logits of all images, (N, K), in the batches of the sample."""
    return torch.cat([run(images) for images in sample.batches])


def compare(form: str, weights: WeightsName, *, logits: Tensor, expected: Tensor) -> Agreement:
    """Figures of a form's `logits` (N, K) beside the network's, `expected` (N, K)."""
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
    )


def random_weights(network: Spach, *, seed: int = SEED) -> Mapping[str, Tensor]:
    """Seeded weights under which every part matters, by the names of the state dict.

    A fresh network hides all: its head is 0, and its gamma_1 of 1e-4 hides the mixers. Here
    matrices keep the size of what they take in, gamma_1 and norms are around 1, biases and the
    means of BatchNorm around 0, its variances above 0.5.
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
