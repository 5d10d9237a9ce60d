"""Scores of a network that nobody has trained: cheap, and no judges.

Every score is that of the proxy as `prepare_network` makes it, with seeded weights, and higher is
meant to be better. A fresh SPACH network would score nothing: its head is zero, so that all logits
and gradients are, and gamma_1 = 1e-4 hides every mixer but the convolution. So the head is drawn
Xavier-uniform and gamma_1 is 1. Others have measured that no such score ranks reliably better
than the number of parameters (Ning et al. 2021, arXiv:2008.03064, on their benchmarks);
`spach-nas audit` measures it for your space.

Letters: B images, L layers or blocks, N positions of all images, C width, K classes.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.training_settings import TrainingSettings
from spach_nas.cost.closed_form import cost
from spach_nas.data import DataSplits
from spach_nas.errors import one_line
from spach_nas.evaluators.interface import EvaluatorSetup, finished
from spach_nas.networks import build
from spach_nas.networks.block import Block
from spach_nas.space.architecture import Architecture
from spach_nas.training import Runtime, choose_runtime, global_seed, move, threads
from spach_nas.training.batches import batch, load
from spach_nas.training.device import LOST_DEVICE
from spach_nas.training.seeds import derive_seed

# Parts of the batch whose gradients ZiCo compares.
_ZICO_BATCHES = 4
# Codes that NASWOT compares, at most: each costs a pass of its own.
_NASWOT_IMAGES = 32
# Where the activations of this package are linear, and far from the end of float64.
_LARGE = 1e30
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
_GATES = frozenset(
    getattr(torch.ops.aten, name).default
    for name in ("relu", "relu_", "gelu", "silu", "hardswish", "leaky_relu", "elu")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """What a score looks at.

    Attributes:
        network: With weights as drawn by `prepare_network`; scores leave it as it was.
        images: (B, channels, H, W), normalised.
        labels: (B,).
        seed: Of random directions.
        architecture: Of the network; None for one that is no SPACH network.
    """

    network: nn.Module
    images: Tensor
    labels: Tensor
    seed: int = 0
    architecture: Architecture | None = None


def params(probe: Probe) -> float:
    """Number of parameters.

    Costs nothing. It ranks sizes, and says nothing about networks of one size.
    """
    assert probe.architecture is not None
    return float(cost(probe.architecture).params)


def macs(probe: Probe) -> float:
    """Multiply-accumulates of an image.

    Costs nothing, and fails as `params` does.
    """
    assert probe.architecture is not None
    return float(cost(probe.architecture).macs)


def synflow(probe: Probe) -> float:
    """Logarithm of the synaptic flow (Tanaka et al. 2020, arXiv:2006.05467).

    Sum over all weights of |weight * dR / dweight|, where all weights are replaced by their
    absolute values, the input is 1 everywhere and R is the sum of the logits. Norms are left out,
    since dividing by the features' spread would cancel the weights before them. R is a product over
    the depth: it is computed in float64, and features that grow beyond 1e30 are scaled down, which
    the logarithm takes back.

    Costs a forward and a backward pass of one image. It is a product over the depth, so it ranks by
    depth and width. The input tells no position from another, so attention is taken as the mean of
    its values (a softmax of such large products would not be finite): queries and keys count
    nothing.
    """
    network, image = probe.network, torch.ones_like(probe.images[:1], dtype=torch.float64)
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    training, scaled = network.training, 0

    def scale_down(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        nonlocal scaled
        if output.detach().max() < _LARGE:
            return output
        scaled += 1
        return output / _LARGE

    with ExitStack() as stack:
        for module in network.modules():
            if isinstance(module, Block):
                stack.callback(module.register_forward_hook(scale_down).remove)
            if isinstance(module, _NORMS):
                hook = module.register_forward_hook(lambda _module, inputs, _output: inputs[0])
                stack.callback(hook.remove)
        try:
            network.eval().double()
            with torch.no_grad():
                for weight in network.parameters():
                    weight.abs_()
            weights = list(network.parameters())
            with _EvenAttention():
                total = network(image).sum()
            gradients = torch.autograd.grad(total, weights, allow_unused=True)
            flow = sum(
                (weight.detach() * gradient).abs().sum()
                for weight, gradient in zip(weights, gradients, strict=True)
                if gradient is not None
            )
            return math.log(float(flow)) + scaled * math.log(_LARGE)
        finally:
            network.float().train(training)
            network.load_state_dict(kept)


def naswot(probe: Probe) -> float:
    """How differently images switch a network (Mellor et al. 2021, arXiv:2006.04647).

    Each image has a code, a bit for each activation (here ReLU, GELU and their like, attention has
    none): whether its input is positive. The score is log |det K|, where K[i, j] is the number of
    bits in which the codes of images i and j agree.

    Costs a forward pass for each of the first 32 images, one at a time, since a mixer may fold the
    batch into any other axis. It grows with the number of activations, so with width, depth and
    resolution; attention counts only by what comes after it.
    """
    codes = []
    training = probe.network.training
    probe.network.eval()  # else the norms of one image would depend on its batch
    try:
        with torch.no_grad():
            for image in probe.images[:_NASWOT_IMAGES]:
                with _Gates() as gates:
                    probe.network(image[None])
                codes.append(torch.cat(gates.bits))
    finally:
        probe.network.train(training)
    bits = torch.stack(codes).to(torch.float32)
    agree = bits @ bits.T + (1 - bits) @ (1 - bits).T
    _, logarithm = torch.linalg.slogdet(agree.double())
    return float(logarithm)


def gradient_norm(probe: Probe) -> float:
    """Length of the gradient, summed over layers (Abdelfattah et al. 2021, arXiv:2101.08134).

    Of the cross-entropy of one batch, with respect to each matrix or kernel.

    Costs a forward and a backward pass. It depends on the scale of the initial weights: networks
    that are initialised alike can be compared, and a deeper one has more terms.
    """
    return sum(float(gradient.norm()) for gradient in _gradients(probe, probe.images, probe.labels))


def zico(probe: Probe) -> float:
    """How much larger gradients are than they vary (Li et al. 2023, arXiv:2301.11300).

    Sum over the layers of log(sum of mean |gradient| / standard deviation of |gradient|) over some
    batches, for each weight; weights whose gradient does not vary are left out.

    Costs a forward and a backward pass. A sum of L logarithms, of layers with many weights: it
    counts depth and size before it tells anything else.
    """
    parts = min(_ZICO_BATCHES, len(probe.images))
    found: list[list[Tensor]] = [
        _gradients(probe, images, labels)
        for images, labels in zip(probe.images.chunk(parts), probe.labels.chunk(parts), strict=True)
    ]
    total = 0.0
    for layer in zip(*found, strict=True):
        sizes = torch.stack(layer).abs().double()
        mean, deviation = sizes.mean(0), sizes.std(0, correction=0)
        varies = deviation > 0
        signal = float((mean[varies] / deviation[varies]).sum())
        total += math.log(signal) if signal else 0.0
    return total


def expressivity(probe: Probe) -> float:
    """How many directions features fill (Lee and Ham 2024, AZ-NAS, arXiv:2403.19232).

    Sum over the blocks of the entropy of the normalised eigenvalues of the features' covariance,
    (C, C), over all positions of all images.

    Costs a forward pass and an eigenvalue problem a block. At most log C a block: it counts depth
    and width.
    """
    return float(sum(_entropies(probe)))


def progressivity(probe: Probe) -> float:
    """The smallest growth of that entropy from a block to the next (AZ-NAS, as above).

    Costs what `expressivity` costs. A minimum over blocks, so a single one decides; in networks of
    one block it is 0.
    """
    entropies = _entropies(probe)
    return min((b - a for a, b in itertools.pairwise(entropies)), default=0.0)


def trainability(probe: Probe) -> float:
    """How well gradients keep their length through a block (AZ-NAS, as above).

    Mean over the blocks of 2 - s - 1 / s, where s is the largest singular value of E[g_in g_out^T],
    the matrix by which a block maps a random gradient of +-1 at its output, (N, C), to that at its
    input. 0 is the best: s = 1.

    Costs a forward and a backward pass. Blocks have a residual path, so that s is 1 or more in each
    network; what is left to tell is how much each branch adds as initialised, not once trained.
    """
    generator = torch.Generator().manual_seed(probe.seed)
    scores = []
    with torch.enable_grad(), _block_features(probe.network) as features:
        probe.network(probe.images)
        for before, after in features:
            signs = torch.randint(0, 2, after.shape, generator=generator).to(after) * 2 - 1
            (arriving,) = torch.autograd.grad(after, before, signs, retain_graph=True)
            width = after.shape[-1]
            given, got = signs.reshape(-1, width), arriving.reshape(-1, width)
            mapped = (got.T @ given).double() / len(given)
            largest = float(torch.linalg.matrix_norm(mapped, ord=2))
            scores.append(2 - largest - 1 / max(largest, 1e-12))
    return sum(scores) / len(scores)


SCORES: Mapping[str, Callable[[Probe], float]] = {
    item.__name__: item
    for item in (
        *(params, macs, synflow, naswot, gradient_norm, zico),
        *(expressivity, progressivity, trainability),
    )
}


def prepare_network(proxy: Architecture, *, seed: int, runtime: Runtime) -> nn.Module:
    """The network that is scored: with a head and mixers that matter."""
    with global_seed(seed, runtime), torch.no_grad():
        network = build(proxy)
        for name, value in network.named_parameters():
            if name == "head.weight":
                nn.init.xavier_uniform_(value)
            if name.endswith("gamma_1"):
                value.fill_(1.0)
    return move(network, runtime)


def prepare_probe(
    proxy: Architecture, data: DataSplits, *, images: int, seed: int, runtime: Runtime
) -> Probe:
    """A network and images of the train part.

    Args:
        proxy: What is scored.
        data: At its image size.
        images: Of the batch.
        seed: Of weights and images.
        runtime: Where to compute; in float32.
    """
    generator = np.random.default_rng(derive_seed(seed, 0, "training-free"))
    count = min(images, len(data.train))
    chosen = torch.from_numpy(generator.choice(len(data.train), count, replace=False))
    pixels, labels = batch(load(data.train, data.normalisation, runtime=runtime), chosen)
    return Probe(
        network=prepare_network(proxy, seed=seed, runtime=runtime),
        images=pixels,
        labels=labels.long(),
        seed=seed,
        architecture=proxy,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingFree:
    """Scores a request without training its proxy.

    Attributes:
        score: A name of `SCORES`.
        images: Of the batch.
        settings: Their device.
        threads: Of the host.
    """

    score: str
    images: int
    settings: TrainingSettings
    threads: int = 1

    def __call__(
        self, request: EvaluationRequest, data: DataSplits, *, checkpoint: bytes | None = None
    ) -> Evaluation:
        """The score of the proxy, `score` by name; a failed evaluation where it is not finite.

        Raises:
            torch.AcceleratorError: The device is lost for this process, which has to be restarted.
        """
        runtime = choose_runtime(device=self.settings.device, precision="fp32")
        started = time.perf_counter()
        with threads(self.threads):
            try:
                probe = prepare_probe(
                    request.proxy, data, images=self.images, seed=request.seed, runtime=runtime
                )
                found = SCORES[self.score](probe)
            except LOST_DEVICE:
                raise
            # A mixer of a user's may raise anything.
            except Exception as problem:
                found, reason = math.nan, one_line(problem, named=True)
            else:
                reason = f"{self.score} is {found}, not finite"
        evaluation = Evaluation(state="failed", reason=reason)
        if math.isfinite(found):
            evaluation = Evaluation(state="complete", scores={"score": found})
        return finished(evaluation, started=started, runtime=runtime, threads=self.threads)


def training_free_evaluator(setup: EvaluatorSetup) -> TrainingFree:
    """The evaluator `training_free`."""
    return TrainingFree(
        score=setup.options.score,
        images=setup.options.images,
        settings=setup.config.training,
        threads=setup.threads,
    )


class _EvenAttention(TorchFunctionMode):
    """Attention that looks everywhere alike."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            query, _, value = args[:3]
            return value.mean(-2, keepdim=True).expand(*query.shape[:-1], value.shape[-1])
        return func(*args, **(kwargs or {}))


class _Gates(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes for each activation whether its input is positive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bits: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _GATES:
            self.bits.append((args[0] > 0).flatten())
        return func(*args, **(kwargs or {}))


def _gradients(probe: Probe, images: Tensor, labels: Tensor) -> list[Tensor]:
    """Of the cross-entropy with respect to each matrix and kernel that the loss depends on."""
    weights = [value for value in probe.network.parameters() if value.ndim > 1]
    with torch.enable_grad():
        loss = F.cross_entropy(probe.network(images), labels)
    return list(torch.autograd.grad(loss, weights, materialize_grads=True))


@contextmanager
def _block_features(network: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Fills a list with input and output of each block, (B, H, W, C), as the network runs."""
    found: list[tuple[Tensor, Tensor]] = []
    with ExitStack() as stack:
        for module in network.modules():
            if isinstance(module, Block):
                hook = module.register_forward_hook(
                    lambda _module, inputs, output: found.append((inputs[0], output))
                )
                stack.callback(hook.remove)
        yield found


def _entropies(probe: Probe) -> Sequence[float]:
    """Of the normalised eigenvalues of the features' covariance, for each block."""
    with torch.no_grad(), _block_features(probe.network) as features:
        probe.network(probe.images)
    found = []
    for _, after in features:
        rows = after.reshape(-1, after.shape[-1]).double()
        values = torch.linalg.eigvalsh(torch.cov(rows.T)).clamp(min=0)
        shares = values / values.sum()
        shares = shares[shares > 0]
        found.append(float(-(shares * shares.log()).sum()))
    return found
