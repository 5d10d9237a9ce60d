"""What some tests need and a machine may lack, with the command that brings it."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable

CHROMIUM = "needs Chromium: apt install chromium"
FASHION_MNIST = "needs dataset-fashion-mnist: apt install dataset-fashion-mnist"
PLAYWRIGHT = "needs playwright: pip install playwright"
GPU = "needs a CUDA device: run it where one is"
KALEIDO = "needs kaleido: pip install kaleido"
OPENVINO = "needs openvino: pip install openvino"
_NEED = re.compile(r"needs (?P<what>[^:]+): (?P<command>.+)$")


def find_browser() -> str | None:
    """Path of Chrome or Chromium, if there is one."""
    names = ("chromium", "google-chrome", "chromium-browser", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


def has_gpu() -> bool:
    """Whether the checks of a GPU can run: on one, or in a rehearsal."""
    import torch

    return os.environ.get("SPACH_NAS_GPU_REHEARSAL") == "1" or torch.cuda.is_available()


def summary(reasons: Iterable[str]) -> str:
    """One line that says how many tests were skipped for want of what, and what brings it.

    Args:
        reasons: Of all skipped tests, whatever they are.

    Returns:
        The line; empty when nothing that a command brings was missing.
    """
    found = Counter(match.group("what", "command") for match in map(_NEED.search, reasons) if match)
    lacking = (f"{count} for want of {what} ({how})" for (what, how), count in found.items())
    return f"skipped: {'; '.join(lacking)}" if found else ""
