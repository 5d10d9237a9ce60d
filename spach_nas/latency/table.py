"""A table of the times of parts on one device, and the latency that it predicts.

The table is one JSON file: under which conditions it was measured, the time of every part, and how
far its predictions were off for whole networks.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache

from spach_nas.config.search_settings import Format, RuntimeName
from spach_nas.errors import LatencyError
from spach_nas.latency.parts import Part, block_parts, frame_parts, part_name
from spach_nas.space.architecture import Architecture, Stage

_KEPT_STAGES = 65536
# Part of every file: raise it when the meaning of a part or a time changes.
SCHEMA_VERSION = 1
REMEDY = (
    "expected a table of this space, as `spach-nas latency SEARCH.yaml --table FILE` measures it"
)
_STRICT = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """Under which conditions times were measured: other ones give other times.

    Attributes:
        machine: Name of the processor or the GPU.
        device: `cpu`, `cuda` or `mps`.
        runtime: `eager`, `compile` or `onnx`.
        batch_size: Images in a forward pass.
        threads: Threads of the CPU.
        precision: Format of weights and features.
        versions: Of the libraries that compute, by name.
    """

    __pydantic_config__ = _STRICT

    machine: str
    device: str
    runtime: RuntimeName
    batch_size: int
    threads: int
    precision: Format
    versions: Mapping[str, str]

    @property
    def by_processor(self) -> bool:
        """Whether times are seconds of the one thread that computes; else of the wall's clock."""
        return self.device == "cpu" and self.threads == 1

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return (
            f"{self.machine} ({self.device}), {threads}, {self.precision}, {self.runtime}, "
            f"batch size {self.batch_size}, {versions}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Repeated times of one thing, nanoseconds; lower is better.

    Attributes:
        median: Half of the times are at most this.
        low: A quarter is.
        high: Three quarters are.
        runs: How many times were taken; each may be the mean over a few passes.
    """

    __pydantic_config__ = _STRICT

    median: float
    low: float
    high: float
    runs: int

    def __post_init__(self) -> None:
        if not 0 < self.median < math.inf:
            raise LatencyError(f"median: {self.median}; expected more than 0")

    @property
    def median_ms(self) -> float:
        """The median in milliseconds."""
        return self.median / 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A whole network beside the prediction for it.

    Attributes:
        name: Of the paper's model, or the `arch_id`.
        drawing: The architecture in words.
        measured: Median time, nanoseconds.
        sum: Sum over the parts, nanoseconds.
        fitted: Whether the scale was fitted on it; else it was held out.
    """

    __pydantic_config__ = _STRICT

    name: str
    drawing: str
    measured: float
    sum: float
    fitted: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionError:
    """How far predictions were off for networks that nothing was fitted on.

    Attributes:
        networks: How many.
        median: Of the relative errors |predicted / measured - 1|; lower is better.
        largest: The worst of them.
        rank_correlation: Kendall's tau-b between predicted and measured; 1 is the same order. None
            where there are fewer than two.
    """

    __pydantic_config__ = _STRICT

    networks: int
    median: float
    largest: float
    rank_correlation: float | None

    def __str__(self) -> str:
        tau = "" if self.rank_correlation is None else f", Kendall {self.rank_correlation:.2f}"
        return (
            f"off by {self.median:.1%} at the median and {self.largest:.1%} at most over "
            f"{self.networks} whole networks{tau}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyTable:
    """Times of parts.

    Attributes:
        conditions: Under which they were measured.
        scale: Measured over summed times of whole networks: what a part takes more, or less, within
            a network than alone.
        error: Of the predictions; None where no whole network was measured.
        checks: The whole networks behind `scale` and `error`.
        parts: Times by the name of the part.
        measured_at: UTC time, ISO 8601.
    """

    __pydantic_config__ = _STRICT

    schema: int = SCHEMA_VERSION
    conditions: Conditions
    measured_at: str
    scale: float = 1.0
    error: PredictionError | None = None
    checks: tuple[Check, ...] = ()
    parts: Mapping[str, Timing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.schema != SCHEMA_VERSION:
            raise LatencyError(f"schema: {self.schema}; expected {SCHEMA_VERSION}")
        if not 0 < self.scale < math.inf:
            raise LatencyError(f"scale: {self.scale}; expected more than 0")

    def nanoseconds(self, part: Part) -> int:
        """Time of a part within a network.

        Raises:
            LatencyError: The table has none.
        """
        name = part_name(part)
        if name not in self.parts:
            raise LatencyError(f"holds no time of `{name}`")
        # Whole numbers, so that sums are exact, whatever their order.
        return max(1, round(self.scale * self.parts[name].median))

    def to_json(self) -> str:
        """The file's text, one part a line."""
        plain = asdict(self)
        parts = plain.pop("parts")
        head = json.dumps(plain, indent=1)[: -len("\n}")]
        lines = [f"  {json.dumps(name)}: {json.dumps(times)}" for name, times in parts.items()]
        body = ",\n".join(lines)
        return f'{head},\n "parts": {{\n{body}\n }}\n}}\n'


class PredictedLatency:
    """What a table predicts: sums of whole nanoseconds.

    Attributes:
        table: Where the times come from.
        where: Its name in messages.
    """

    def __init__(self, table: LatencyTable, *, where: str) -> None:
        self.table = table
        self.where = where
        self._time = cache(self._find_time)
        self.blocks = lru_cache(maxsize=_KEPT_STAGES)(self._find_blocks)

    def frame(self, architecture: Architecture) -> int:
        """Nanoseconds of all but the blocks.

        Raises:
            LatencyError: The table lacks a part.
        """
        return sum(map(self._time, frame_parts(architecture)))

    def of(self, architecture: Architecture) -> int:
        """Nanoseconds of the whole network.

        Raises:
            LatencyError: The table lacks a part.
        """
        return self.frame(architecture) + sum(
            self.blocks(stage, resolution)
            for stage, resolution in zip(architecture.stages, architecture.resolutions, strict=True)
        )

    def _find_blocks(self, stage: Stage, resolution: tuple[int, int]) -> int:
        return sum(
            count * self._time(part) for part, count in block_parts(stage, resolution).items()
        )

    def _find_time(self, part: Part) -> int:
        try:
            return self.table.nanoseconds(part)
        except LatencyError as problem:
            raise LatencyError(f"{self.where}: {problem}; {REMEDY}") from None
