"""Top-1, top-5 and loss of a network, class by class, also over several workers.

Letters: B images, K classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from spach_nas.training.device import Runtime, autocast

_TOP = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """How good a network is on a split.

    Attributes:
        images: (K,), images of each class.
        hits1: (K,), those whose class has the highest logit.
        hits5: (K,), those whose class is among the five highest.
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
    network.eval()
    counts = torch.zeros(3, classes, dtype=torch.float64, device=runtime.device)
    loss = torch.zeros((), dtype=torch.float64, device=runtime.device)
    with torch.inference_mode():
        for images, labels in batches():
            with autocast(runtime):
                logits = network(images)
            logits = logits.float()
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
