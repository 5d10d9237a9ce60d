"""What is done to whole batches: random erasing, Mixup and CutMix, all timm's.

Sources: Zhong et al. 2017, arXiv:1708.04896; Zhang et al. 2017, arXiv:1710.09412; Yun et al. 2019,
arXiv:1905.04899.

Letters: B images, C channels, H and W height and width, K classes.
"""

from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from spach_nas.full_size.recipe import FullAugmentation
from spach_nas.training.device import Runtime


class Mixer:
    """Changes batches in place, by Python's, numpy's and torch's random numbers."""

    def __init__(self, changes: FullAugmentation, *, classes: int, runtime: Runtime) -> None:
        """A mixer.

        Args:
            changes: Which, and how strong.
            classes: K.
            runtime: Where the batches are.
        """
        self._erase = (
            RandomErasing(probability=changes.erasing, mode="pixel", device=runtime.device)
            if changes.erasing
            else None
        )
        self._mix = (
            Mixup(
                mixup_alpha=changes.mixup,
                cutmix_alpha=changes.cutmix,
                prob=changes.mix,
                label_smoothing=changes.label_smoothing,
                num_classes=classes,
            )
            if changes.mixes
            else None
        )

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W), and labels (B,), or (B, K) where they are mixed."""
        if self._erase is not None:
            images = self._erase(images)
        if self._mix is not None:
            images, labels = self._mix(images, labels)
        return images, labels
