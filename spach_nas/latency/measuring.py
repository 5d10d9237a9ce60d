"""Measures a table: the time of every part, and of a few whole networks to check the sums.

Parts and networks are timed in turns, so that if the machine slows down, both become slower.
Measured times are kept, and measuring a table can continue where it stopped.
"""

import copy
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

from spach_nas.latency.parts import (
    BlockPart,
    DownsamplePart,
    HeadPart,
    Part,
    StemPart,
    part_name,
    parts_of,
)
from spach_nas.latency.table import Check, Conditions, LatencyTable, PredictionError, Timing
from spach_nas.latency.timing import time_module, time_network
from spach_nas.machine import now
from spach_nas.networks.block import NORM_EPS, Block, Downsample, build_stem
from spach_nas.space.architecture import Architecture, Stage

# Called with the number of times taken, their total number, and the table so far.
Progress = Callable[[int, int, LatencyTable], None]


class Network(NamedTuple):
    """A whole network to compare with the sum over its parts.

    Attributes:
        name: Name of the paper's model, or the `arch_id`.
        architecture: The architecture.
        fitted: Whether the scale is fitted on it; otherwise it is held out.
    """

    name: str
    architecture: Architecture
    fitted: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """The functions that take times; tests replace them.

    Attributes:
        part: Time of one part within a chain.
        network: Time of a whole network.
    """

    part: Callable[[Part, Conditions], Timing]
    network: Callable[[Architecture, Conditions], Timing]


def time_part(part: Part, where: Conditions) -> Timing:
    """Time of one part on this device.

    Raises:
        LatencyError: The runtime does not support it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, example, number = part_module(part, batch_size=where.batch_size)
    whole = time_module(module, example, where)
    return Timing(
        median=whole.median / number,
        low=whole.low / number,
        high=whole.high / number,
        runs=whole.runs,
    )


THIS_DEVICE = Clock(part=time_part, network=time_network)


def measure_table(
    parts: Sequence[Part],
    networks: Sequence[Network],
    where: Conditions,
    *,
    known: LatencyTable | None = None,
    clock: Clock = THIS_DEVICE,
    on_progress: Progress | None = None,
) -> LatencyTable:
    """A table of these parts, checked against these networks.

    Args:
        parts: Parts of the networks whose latency will be predicted.
        networks: Networks to fit the scale on, and to measure the error with. Their parts are
            measured, too.
        where: Conditions, which this device must meet.
        known: A table with the same conditions to continue.
        clock: Takes the times.
        on_progress: Called after each time.

    Raises:
        LatencyError: The runtime does not support a part.
    """
    table = known or LatencyTable(conditions=where, measured_at=now())
    wanted = dict.fromkeys([*parts, *(part for item in networks for part in parts_of(item[1]))])
    lacking = [part for part in wanted if part_name(part) not in table.parts]
    checked = {check.name for check in table.checks}
    unchecked = [network for network in networks if network.name not in checked]
    total = len(wanted) + len(networks)
    done = total - len(lacking) - len(unchecked)
    for item in _in_turns(lacking, unchecked):
        if isinstance(item, Network):
            check = _check(item, clock.network(item.architecture, where))
            table = replace(table, checks=(*table.checks, check))
        else:
            timing = clock.part(item, where)
            table = replace(table, parts={**table.parts, part_name(item): timing})
        done += 1
        if on_progress is not None:
            on_progress(done, total, table)
    return judged(table, networks)


def judged(table: LatencyTable, networks: Sequence[Network]) -> LatencyTable:
    """The table with its scale and error, from the times of its parts and of whole networks."""
    measured = {check.name: check.measured for check in table.checks}
    checks = tuple(
        Check(
            name=item.name,
            drawing=str(item.architecture),
            measured=measured[item.name],
            sum=_sum(table, item.architecture),
            fitted=item.fitted,
        )
        for item in networks
    )
    # The median, so that one disturbed measurement does not shift all predictions.
    ratios = [check.measured / check.sum for check in checks if check.fitted]
    scale = statistics.median(ratios) if ratios else 1.0
    return replace(table, checks=checks, scale=scale, error=prediction_error(checks, scale))


def prediction_error(checks: Sequence[Check], scale: float) -> PredictionError | None:
    """The error over the networks that the scale was not fitted on; None if there are none."""
    held_out = [check for check in checks if not check.fitted]
    if not held_out:
        return None
    errors = [abs(scale * check.sum / check.measured - 1) for check in held_out]
    tau = None
    if len(held_out) > 1:
        found = kendalltau([c.sum for c in held_out], [c.measured for c in held_out]).statistic
        tau = float(found) if found == found else None  # NaN if all are equal
    return PredictionError(
        networks=len(held_out),
        median=statistics.median(errors),
        largest=max(errors),
        rank_correlation=tau,
    )


def _sum(table: LatencyTable, architecture: Architecture) -> float:
    counts = parts_of(architecture)
    return sum(count * table.parts[part_name(part)].median for part, count in counts.items())


def _check(network: Network, timing: Timing) -> Check:
    # The sum is computed when all parts have been measured.
    return Check(
        name=network.name,
        drawing=str(network.architecture),
        measured=timing.median,
        sum=0.0,
        fitted=network.fitted,
    )


def _in_turns(parts: Sequence[Part], networks: Sequence[Network]) -> Iterator[Part | Network]:
    """All parts, with the networks spread evenly among them."""
    for index, part in enumerate(parts):
        first, end = (len(networks) * at // len(parts) for at in (index, index + 1))
        yield from networks[first:end]
        yield part
    if not parts:
        yield from networks


# Blocks are timed in chains, each with its own weights, as they follow each other in a network:
# repeated alone, a block would find its weights warm in the caches.
CHAIN = 4


class _Chain(nn.Module):
    """Equal blocks in sequence, (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, part: BlockPart, length: int) -> None:
        super().__init__()
        block = Block(
            part.mixer, part.site, expansion_ratio=part.expansion_ratio, shared=False, drop_path=0.0
        )
        # Copied, because drawing new random weights would take longer than timing the block.
        self.blocks = nn.ModuleList([block, *(copy.deepcopy(block) for _ in range(length - 1))])
        self.shared = part.shared

    def forward(self, x: Tensor) -> Tensor:
        """Run all of them, (B, H, W, C) -> (B, H, W, C)."""
        for block in self.blocks:
            x = block(x, self.blocks[0].mixer if self.shared else None)
        return x


class _Head(nn.Module):
    """Norm, mean over positions and linear head, (B, H, W, C) -> (B, K)."""

    def __init__(self, part: HeadPart) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(part.width, eps=NORM_EPS)
        self.head = nn.Linear(part.width, part.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify, (B, H, W, C) -> (B, K)."""
        logits: Tensor = self.head(self.norm(x).mean((1, 2)))
        return logits


def part_module(
    part: Part, *, batch_size: int, chain: int = CHAIN
) -> tuple[nn.Module, Tensor, int]:
    """A module to time, an input for it, and how many times it contains the part."""
    if isinstance(part, BlockPart):
        return _Chain(part, chain), torch.randn(batch_size, *part.resolution, part.width), chain
    if isinstance(part, StemPart):
        image = torch.randn(batch_size, part.in_channels, *part.image_size)
        norm = nn.LayerNorm(part.width, eps=NORM_EPS)
        return nn.Sequential(build_stem(_smallest(part)), norm), image, 1
    if isinstance(part, DownsamplePart):
        height, width = part.resolution
        features = torch.randn(batch_size, 2 * height, 2 * width, part.before)
        return Downsample(part.before, part.after), features, 1
    return _Head(part), torch.randn(batch_size, *part.resolution, part.width), 1


def _smallest(part: StemPart) -> Architecture:
    """A minimal architecture with this stem."""
    stage = Stage(mixers=("conv",), width=part.width, heads=1, expansion_ratio=1.0)
    return Architecture(
        stem=part.stem,  # type: ignore[arg-type]
        stem_width=part.stem_width,
        patch_size=part.patch_size,
        stages=(stage,),
        image_size=part.image_size,
        in_channels=part.in_channels,
        num_classes=1,
    )
