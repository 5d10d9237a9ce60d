"""Logits and scores of a network on a whole image set."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spach_nas.data import ImageSet, Normalisation
from spach_nas.training.batches import LoadedSet, batch, load
from spach_nas.training.device import Runtime, autocast

# Images at once, where memory allows.
BATCH = 256


def predict(
    network: nn.Module, data: LoadedSet, *, runtime: Runtime, batch_size: int = BATCH
) -> Tensor:
    """Logits of every image, (N, K) in float32 on the device; leaves the network in eval mode.

    Args:
        network: On the device of the runtime.
        data: The images.
        runtime: Where to run.
        batch_size: Most images at once.
    """
    network.eval()
    logits = []
    with torch.inference_mode(), autocast(runtime):
        for start in range(0, len(data.labels), batch_size):
            stop = min(start + batch_size, len(data.labels))
            images, _ = batch(data, torch.arange(start, stop))
            logits.append(network(images).float())
    return torch.cat(logits)


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
        normalisation: Of the train part that the network was trained on.
        runtime: Where to run.
    """
    loaded = load(data, normalisation, runtime=runtime)
    return score(predict(network, loaded, runtime=runtime), loaded.labels)
