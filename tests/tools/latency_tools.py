"""Times in closed form, in place of those of a device."""

import zlib

from spach_nas.latency.latency_table import Conditions, LatencyTable, PredictedLatency, Timing
from spach_nas.latency.measuring import Clock
from spach_nas.latency.parts import Part, part_name, parts_of
from spach_nas.space.architecture import Architecture, Stage

ONE = Architecture(
    stem="conv1",
    patch_size=2,
    image_size=(8, 8),
    stages=(
        Stage(mixers=("conv", "mlp", "conv"), width=4, heads=2, expansion_ratio=2, shared=True),
        Stage(
            mixers=("attention", "mlp", "attention"),
            width=6,
            heads=2,
            expansion_ratio=2,
            shared=True,
        ),
    ),
)
WHERE = Conditions(
    machine="a phone",
    device="cpu",
    runtime="eager",
    batch_size=1,
    threads=1,
    precision="fp32",
    versions={"torch": "2.9"},
)


def nanoseconds(part: Part) -> int:
    """A time that differs between parts as if by chance."""
    return 1_000 + zlib.crc32(part_name(part).encode()) % 100_000


def timing(median: float) -> Timing:
    return Timing(median=median, low=0.9 * median, high=1.2 * median, runs=7)


def fake_clock(*, factor: float = 1.0, asked: list[str] | None = None) -> Clock:
    """Whole networks take `factor` times the sum of their parts."""

    def part(item: Part, where: Conditions) -> Timing:
        if asked is not None:
            asked.append(part_name(item))
        return timing(nanoseconds(item))

    def network(item: Architecture, where: Conditions) -> Timing:
        if asked is not None:
            asked.append(item.arch_id)
        total = sum(count * nanoseconds(own) for own, count in parts_of(item).items())
        return timing(factor * total)

    return Clock(part=part, network=network)


def make_table(parts: list[Part], **changes: object) -> LatencyTable:
    times = {part_name(part): timing(nanoseconds(part)) for part in parts}
    plain = {"conditions": WHERE, "measured_at": "2026-01-02T03:04:05+00:00", "parts": times}
    return LatencyTable(**(plain | changes))


def predicted(parts: list[Part]) -> PredictedLatency:
    return PredictedLatency(make_table(parts), where="table.json")
