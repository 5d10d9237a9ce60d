"""What autograd keeps of a forward pass, counted by its own hooks."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from spach_nas.networks import build
from spach_nas.space.architecture import Architecture


def kept_bytes(network: torch.nn.Module, image: torch.Tensor, *, precision: str) -> int:
    """Bytes of all distinct storages that a forward pass keeps, but for parameters and buffers."""
    own = {t.untyped_storage()._cdata for t in (*network.parameters(), *network.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()  # held in `kept`, so that no other takes its address
        kept[storage._cdata] = storage
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        output = network(image)
    assert output.requires_grad
    return sum(storage.nbytes() for address, storage in kept.items() if address not in own)


def hooked_bytes(architecture: Architecture, *, precision: str, fake: bool = False) -> float:
    """Bytes kept per image, without what does not grow with the batch.

    Args:
        architecture: Of the network, which is built here.
        precision: `fp32`, or `bf16` for autocast.
        fake: Follow shapes only, on torch's fake CPU, which computes nothing.
    """
    few, many = 2, 5

    def measure() -> float:
        network = build(architecture).train()
        found = []
        for batch in (few, many):
            image = torch.zeros(batch, architecture.in_channels, *architecture.image_size)
            found.append(kept_bytes(network, image, precision=precision))
        return (found[1] - found[0]) / (many - few)

    if not fake:
        return measure()
    with FakeTensorMode():
        return measure()
