"""A network with what moves its weights, and one step of its training, of any size.

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

from spach_nas.config.training_settings import EmaSettings, OptimizerSettings
from spach_nas.training.device import Runtime, autocast
from spach_nas.training.distillation import Teacher
from spach_nas.training.optimizer import make_optimizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One of the workers that share every batch.

    Attributes:
        rank: Its number, from 0; worker 0 writes the files.
        world: Number of workers.
    """

    rank: int = 0
    world: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Images of a batch that are in memory at once.

    Attributes:
        images: (B, C, H, W), normalised, on the device.
        labels: (B,), or (B, K) where images are mixed.
        share: Share of the batch, in (0, 1].
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
        model: The network, or a wrapper that averages its gradients over the workers.
        optimizer: Optimizer of the network's weights.
        runtime: Device and number format.
        label_smoothing: Probability mass spread over all classes.
        clip_norm: Largest norm of the gradients; None: they are not clipped.
        ema: Moving average of the weights; None: there is no average.
        teacher: A trained network to agree with; None: there is none.
    """

    network: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    runtime: Runtime
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    ema: ModelEmaV3 | None = None
    teacher: Teacher | None = None

    def step(self, parts: Iterable[Part], *, number: int, rate: float) -> Tensor:
        """One step of the optimizer.

        Args:
            parts: One batch; each part is trained on before the next one is asked for.
            number: Number of the step in the whole training, from 0.
            rate: Learning rate.

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
                loss = self._loss(logits.float(), part)
                if part.share < 1:
                    loss = loss * part.share
                loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _loss(self, logits: Tensor, part: Part) -> Tensor:
        loss = F.cross_entropy(logits, part.labels, label_smoothing=self.label_smoothing)
        if self.teacher is None:
            return loss
        return self.teacher.loss(logits, part.images, labels_loss=loss)

    def _shared(self, part: Part) -> AbstractContextManager[Any]:
        # Workers exchange gradients once per batch, in the backward pass of its last part.
        if part.last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()


def make_learner(
    network: nn.Module,
    *,
    optimizer: OptimizerSettings,
    runtime: Runtime,
    label_smoothing: float = 0.0,
    ema: EmaSettings | None = None,
    teacher: Teacher | None = None,
    compiled: bool = False,
    workers: int = 1,
    sync_batch_norm: bool = False,
) -> Learner:
    """The learner that a recipe describes; if there are several workers, all must call this.

    Args:
        network: On the device of the runtime.
        optimizer: The optimizer; the schedule sets the rate of each step.
        runtime: Where to run.
        label_smoothing: Probability mass spread over all classes.
        ema: Moving average of the weights; None: there is no average.
        teacher: A trained network to agree with; None: there is none.
        compiled: Whether `torch.compile` makes kernels for the network.
        workers: Number of workers that share every batch.
        sync_batch_norm: Whether batch norms take their statistics over all workers.
    """
    # Before the network is compiled: the average is a copy that is only evaluated.
    average = None
    if ema is not None and ema.decay is not None:
        average = ModelEmaV3(network, decay=ema.decay, use_warmup=ema.warmup)
    if compiled:
        # Forget earlier networks: otherwise several candidates in one process would reach the limit
        # on variants of one function, beyond which nothing is compiled.
        torch.compiler.reset()
        # In place, so that the names of the weights stay: `torch.compile(network)` changes them.
        network.compile()
    made = make_optimizer(
        network,
        name=optimizer.name,
        learning_rate=optimizer.learning_rate,
        weight_decay=optimizer.weight_decay,
    )
    model = network
    if workers > 1:
        if sync_batch_norm:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        model = DistributedDataParallel(model, gradient_as_bucket_view=True)
    return Learner(
        network=network,
        model=model,
        optimizer=made,
        runtime=runtime,
        label_smoothing=label_smoothing,
        clip_norm=optimizer.clip_norm,
        ema=average,
        teacher=teacher,
    )
