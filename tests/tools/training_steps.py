"""Training steps to be timed: of which networks, in which format, beside which matrix products."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from spach_nas.cost.closed_form import cost
from spach_nas.networks import build
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import get_reference
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from spach_nas.training import choose_runtime, move
from spach_nas.training.device import autocast
from spach_nas.training.optimizer import make_optimizer

FULL_SIZE = ("hybrid_ms_xs", "conv_ms_xs", "mlp_ms_xs")
# Width of the first stage of the paper's model, which the proxies scale.
PROXIES = {"hybrid_ms_s": 128, "conv_ms_s": 128, "mlp_ms_s": 128, "trans_s": 512}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One network with its batch.

    Attributes:
        name: Of the paper's model that it is, or is a small copy of.
        architecture: What is built.
        batch: Images a step.
    """

    name: str
    architecture: Architecture
    batch: int

    @property
    def sizes(self) -> dict[str, str | int]:
        """The first columns of the tables."""
        architecture = self.architecture
        return {
            "layout": self.name,
            "image": architecture.image_size[0],
            "width": architecture.stages[0].width,
            "batch": self.batch,
        }

    def gflops(self, seconds: float) -> float:
        """GFLOP/s of a step: two FLOPs a MAC, and a backward pass of two forward passes."""
        return 6 * cost(self.architecture).macs * self.batch / seconds / 1e9


def full_size_cases() -> list[Case]:
    return [
        Case(name=name, architecture=get_reference(name).architecture, batch=8)
        for name in FULL_SIZE
    ]


def proxy(name: str, *, width: int, batch: int) -> Case:
    """At 32 px and patch 2, of one channel and ten classes."""
    target = get_reference(name).architecture
    # The 16 heads of the single-stage model would not fit into as few channels.
    stages = tuple(replace(stage, heads=min(stage.heads, 4)) for stage in target.stages)
    rule = ProxyRule(image_size=(32, 32), patch_size=2, width_scale=width / PROXIES[name])
    data = DataShape(in_channels=1, num_classes=10)
    architecture = scale(replace(target, stages=stages), rule, data)
    assert architecture.stages[0].width == width
    return Case(name=name, architecture=architecture, batch=batch)


class Trainer:
    """Takes training steps as `spach_nas.training.loop` does, on images that are there already."""

    def __init__(
        self,
        case: Case,
        precision: str,
        *,
        network: nn.Module | None = None,
        optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
        device: str = "cpu",
    ) -> None:
        self.runtime = choose_runtime(device=device, precision=precision)
        self.network = move(network or build(case.architecture), self.runtime).train()
        self.optimizer = (optimizer or fused_adamw)(self.network)
        channels, (H, W) = case.architecture.in_channels, case.architecture.image_size
        # Channels last in memory, as the loop's batches are.
        images = torch.randn(case.batch, H, W, channels).permute(0, 3, 1, 2)
        labels = torch.randint(case.architecture.num_classes, (case.batch,))
        self.images, self.labels = (each.to(self.runtime.device) for each in (images, labels))

    def __call__(self) -> None:
        with autocast(self.runtime):
            logits = self.network(self.images)
        loss = F.cross_entropy(logits.float(), self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def fused_adamw(network: nn.Module) -> torch.optim.Optimizer:
    return make_optimizer(network, name="adamw", learning_rate=2e-3, weight_decay=0.05)


class MatrixProduct:
    """One product of square matrices, as large as a step's work is long enough to be timed."""

    side = 2048

    def __init__(self, precision: str) -> None:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.left, self.right = (torch.randn(self.side, self.side).to(dtype) for _ in range(2))

    def __call__(self) -> None:
        torch.mm(self.left, self.right)

    @classmethod
    def gflops(cls, seconds: float) -> float:
        return 2 * cls.side**3 / seconds / 1e9


def seconds(action: Callable[[], None]) -> float:
    """Of the processor for one thread, which other programs disturb less; of the wall for more."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    action()
    return clock() - started


def interleaved(
    actions: Mapping[str, Callable[[], None]], *, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each action in each round: all in turn, so that a slow minute slows all alike."""
    for action in actions.values():
        action()
    timed: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            timed[name].append(seconds(action))
    return timed
