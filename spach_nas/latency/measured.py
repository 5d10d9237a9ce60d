"""Times of whole networks, by every runtime of this device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from spach_nas.config.search_settings import RUNTIMES, Format, RuntimeName
from spach_nas.config.training_settings import Device
from spach_nas.errors import LatencyError, did_you_mean, one_of
from spach_nas.latency.measuring import time_network
from spach_nas.latency.table import Conditions, Timing
from spach_nas.latency.timing import conditions
from spach_nas.space.architecture import Architecture
from spach_nas.space.sources import Source, as_architecture

# What the timed passes of one runtime and batch size take together at least.
_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What came of one runtime and batch size.

    Attributes:
        runtime: Its name.
        batch_size: Images in a forward pass.
        where: Conditions; None where they cannot be met.
        timing: Of a whole batch; None where there is none.
        missing: Why.
    """

    runtime: RuntimeName
    batch_size: int
    where: Conditions | None = None
    timing: Timing | None = None
    missing: str | None = None

    @property
    def images_per_second(self) -> float | None:
        """At the median; higher is better."""
        return None if self.timing is None else 1e9 * self.batch_size / self.timing.median


def measure_network(
    architecture: Architecture,
    *,
    batch_sizes: Sequence[int] = (1,),
    runtimes: Sequence[RuntimeName] = RUNTIMES,
    device: Device = "auto",
    threads: int = 1,
    precision: Format = "fp32",
    seconds: float = _SECONDS,
) -> Iterator[Measured]:
    """Time a network on this device, one runtime and batch size after another.

    Args:
        architecture: What is timed, with random weights: they do not matter.
        batch_sizes: Images in a forward pass.
        runtimes: A runtime that is missing here is named as such.
        device: Where.
        threads: Threads of the CPU.
        precision: Format of weights and features.
        seconds: What the timed passes of each take together at least.

    Raises:
        ConfigError: This machine has no such device.
    """
    for runtime in runtimes:
        for batch_size in batch_sizes:
            where = None
            try:
                where = conditions(
                    runtime=runtime,
                    device=device,
                    batch_size=batch_size,
                    threads=threads,
                    precision=precision,
                )
                timing = time_network(architecture, where, seconds=seconds)
            except LatencyError as problem:
                yield Measured(
                    runtime=runtime, batch_size=batch_size, where=where, missing=str(problem)
                )
                break  # other batch sizes would fail alike
            yield Measured(runtime=runtime, batch_size=batch_size, where=where, timing=timing)


def latency(
    source: Source,
    *,
    batch_size: int = 1,
    runtime: RuntimeName = "eager",
    device: Device = "auto",
    threads: int = 1,
    precision: Format = "fp32",
    seconds: float = _SECONDS,
) -> Timing:
    """Time of a whole network with random weights on this device.

    Args:
        source: An architecture, a record (its target), the name of a paper's model, an architecture
            file or a bundle.
        batch_size: Images in a forward pass.
        runtime: `eager`, `compile` or `onnx`.
        device: `cpu`, `cuda`, `mps`, or `auto`, the fastest of them.
        threads: Threads of the CPU.
        precision: Format of weights and features, `fp32` or `bf16`.
        seconds: What the timed passes take together at least.

    Returns:
        Median and quartiles of the time of a whole batch; lower is better.

    Raises:
        ArchitectureError: The source is no network.
        LatencyError: An argument that is none of these, or a runtime that is missing here.
        ConfigError: This machine has no such device.
    """
    _check("runtime", runtime, RUNTIMES)
    _check("device", device, get_args(Device))
    _check("precision", precision, get_args(Format))
    for name, number in (("batch_size", batch_size), ("threads", threads)):
        if not isinstance(number, int) or number < 1:
            raise LatencyError(f"{name}: {number!r}; expected a whole number from 1")
    architecture = as_architecture(source)
    where = conditions(
        runtime=runtime,
        device=device,
        batch_size=batch_size,
        threads=threads,
        precision=precision,
    )
    return time_network(architecture, where, seconds=seconds)


def _check(argument: str, value: object, legal: Sequence[str]) -> None:
    if value not in legal:
        raise LatencyError(
            f"{argument}: {value!r}; expected {one_of(legal)}{did_you_mean(str(value), legal)}"
        )
