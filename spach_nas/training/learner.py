"""One step of a training, the same for a proxy and at full size.

Letters: B images of a part, C channels, H and W height and width, K classes.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from spach_nas.training.device import Runtime, autocast


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Images of a batch that are in memory at once.

    Attributes:
        images: (B, C, H, W), normalised, on the device.
        labels: (B,), or (B, K) where images are mixed.
        share: Of the batch, in (0, 1].
        last: Whether it is the last part of its batch.
    """

    images: Tensor
    labels: Tensor
    share: float = 1.0
    last: bool = True


def parts_of(images: Tensor, labels: Tensor, size: int | None) -> Iterator[Part]:
    """A batch in parts of at most `size` images; None: all of it at once."""
    count = len(labels)
    size = count if size is None else min(size, count)
    for first in range(0, count, size):
        part = slice(first, first + size)
        yield Part(
            images=images[part],
            labels=labels[part],
            share=len(labels[part]) / count,
            last=first + size >= count,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Learner:
    """A network and what moves its weights.

    Attributes:
        network: The plain network.
        model: The network, or what shares its gradients with other workers.
        optimizer: Of the weights.
        runtime: Device and number format.
        label_smoothing: Probability mass spread over all classes, where labels are not mixed.
        clip_norm: Longest gradient; None: as long as it is.
        ema: The averaged weights; None: none.
    """

    network: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    runtime: Runtime
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    ema: ModelEmaV3 | None = None

    def step(self, parts: Iterable[Part], *, number: int, rate: float) -> Tensor:
        """One step of the optimizer.

        Args:
            parts: Of one batch; each is trained on before the next one is asked for.
            number: Of the step, from 0 over the whole training.
            rate: The learning rate.

        Returns:
            The mean loss of the batch, on the device: reading it would make the host wait.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.add_gradients(parts)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.network, step=number + 1)
        return loss

    def add_gradients(self, parts: Iterable[Part]) -> Tensor:
        """Add the gradients of the mean loss of a batch, and return that loss."""
        losses = []
        for part in parts:
            with self._shared(part):
                with autocast(self.runtime):
                    logits = self.model(part.images)
                loss = F.cross_entropy(
                    logits.float(), part.labels, label_smoothing=self.label_smoothing
                )
                if part.share < 1:
                    loss = loss * part.share
                loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _shared(self, part: Part) -> AbstractContextManager[Any]:
        # Workers share the gradients once a batch, in the backward pass of its last part.
        if part.last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()
