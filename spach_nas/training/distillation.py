"""A trained network that a student learns to agree with, and the loss of that.

Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531,
section 2. The gradients of softened outputs shrink with the square of the temperature, which the
loss makes up for. timm's `LogitDistillationTask` computes the same.

Letters: B images, C channels, H and W height and width, K classes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spach_nas.training.device import Runtime, autocast


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """A network that is not trained any more, for students on the same device.

    Attributes:
        network: In eval mode.
        runtime: Device and number format.
        scale: (C, 1, 1), factor on an image as the student sees it, to normalise as the teacher.
        offset: (C, 1, 1), added after the factor.
        image_size: Height and width that it takes.
        temperature: By which both outputs are divided before they are compared.
        share: Share of this loss in that of the student, in (0, 1]; the rest is that of the labels.
    """

    network: nn.Module
    runtime: Runtime
    scale: Tensor
    offset: Tensor
    image_size: tuple[int, int]
    temperature: float
    share: float

    def loss(self, logits: Tensor, images: Tensor, *, labels_loss: Tensor) -> Tensor:
        """The loss of a student.

        Args:
            logits: Of the student, (B, K).
            images: As the student sees them, (B, C, H, W).
            labels_loss: Its loss by the labels.
        """
        with torch.no_grad(), autocast(self.runtime):
            seen = images * self.scale + self.offset
            if seen.shape[-2:] != self.image_size:
                seen = F.interpolate(seen, self.image_size, mode="bilinear", antialias=True)
            expected = self.network(seen).float()
        divergence = F.kl_div(
            F.log_softmax(logits / self.temperature, dim=1),
            F.log_softmax(expected / self.temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        softened = self.temperature**2 * divergence
        return (1 - self.share) * labels_loss + self.share * softened
