"""Logits and scores of a network on images: in memory, or batch by batch over several workers.

Letters: N images, B images of a batch, K classes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from spach_nas.data import ImageSet, Normalisation
from spach_nas.training.batches import LoadedSet, in_order, load
from spach_nas.training.device import Runtime, autocast

# Images at once, where memory allows.
BATCH = 256
_TOP = 5


def predict(
    network: nn.Module, data: LoadedSet, *, runtime: Runtime, batch_size: int = BATCH
) -> Tensor:
    """Logits of every image, (N, K) in float32 on the device; leaves the network in eval mode."""
    outputs = _outputs(network, in_order(data, batch_size), runtime=runtime)
    return torch.cat([logits for logits, _ in outputs])


def _outputs(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, runtime: Runtime
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (B, K) in float32 and labels (B,) of each batch."""
    network.eval()
    for images, labels in batches:
        with torch.inference_mode(), autocast(runtime):
            logits = network(images)
        yield logits.float(), labels


def score(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """`accuracy`, top-1 in [0, 1], higher is better; `loss`, cross-entropy, lower is better."""
    labels = labels.to(logits.device)
    correct = (logits.argmax(1) == labels).double().mean()
    loss = F.cross_entropy(logits.double(), labels)
    accuracy, cross_entropy = torch.stack([correct, loss]).tolist()
    return {"accuracy": accuracy, "loss": cross_entropy}


def score_images(
    network: nn.Module, data: ImageSet, *, normalisation: Normalisation, runtime: Runtime
) -> dict[str, float]:
    """`accuracy` and `loss` on an image set, such as the test split.

    Args:
        network: On the device of the runtime.
        data: The images.
        normalisation: That of the images on which the network was trained.
        runtime: Where to run.
    """
    loaded = load(data, normalisation, runtime=runtime)
    return score(predict(network, loaded, runtime=runtime), loaded.labels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Scores of a network on a split.

    Attributes:
        images: (K,), images of each class.
        hits1: (K,), images whose class has the highest logit.
        hits5: (K,), images whose class is among the five highest.
        loss: Mean cross-entropy, lower is better.
    """

    images: tuple[int, ...]
    hits1: tuple[int, ...]
    hits5: tuple[int, ...]
    loss: float

    @property
    def top1(self) -> float:
        """Share of the images, in [0, 1], higher is better."""
        return sum(self.hits1) / max(1, sum(self.images))

    @property
    def top5(self) -> float:
        """Share of the images, in [0, 1], higher is better."""
        return sum(self.hits5) / max(1, sum(self.images))


def score_batches(
    network: nn.Module,
    batches: Callable[[], Iterator[tuple[Tensor, Tensor]]],
    *,
    classes: int,
    runtime: Runtime,
) -> Scores:
    """Scores on all batches of all workers; leaves the network in eval mode."""
    counts = torch.zeros(3, classes, dtype=torch.float64, device=runtime.device)
    loss = torch.zeros((), dtype=torch.float64, device=runtime.device)
    for logits, labels in _outputs(network, batches(), runtime=runtime):
        loss += F.cross_entropy(logits, labels, reduction="sum")
        counts += _counts(logits, labels, classes=classes)
    totals = torch.cat([counts.flatten(), loss[None]])
    if dist.is_initialized():
        dist.all_reduce(totals)
    images_, hits1, hits5 = totals[:-1].reshape(3, classes).long().tolist()
    return Scores(
        images=tuple(images_),
        hits1=tuple(hits1),
        hits5=tuple(hits5),
        loss=float(totals[-1]) / max(1, sum(images_)),
    )


def _counts(logits: Tensor, labels: Tensor, *, classes: int) -> Tensor:
    """(3, K): images, top-1 hits and top-5 hits of each class."""
    best = logits.topk(min(_TOP, classes), dim=1).indices == labels[:, None]
    shares = (None, best[:, 0], best.any(1))
    return torch.stack(
        [
            torch.bincount(labels, weights=None if w is None else w.double(), minlength=classes)
            for w in shares
        ]
    ).double()
