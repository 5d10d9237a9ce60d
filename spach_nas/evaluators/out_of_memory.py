"""When memory runs out: how it shows, and how it is freed."""

import gc

import torch

# Not every allocator has an exception of its own.
_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "STATUS_ALLOC_FAILED",
)


def is_out_of_memory(problem: Exception) -> bool:
    """Whether a problem means that the device or the host has no memory left."""
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(problem, RuntimeError) and any(sign in str(problem) for sign in _SIGNS)


def free_memory(device: torch.device) -> None:
    """Give back what nothing refers to any more."""
    # A failed backward pass leaves cycles behind.
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
