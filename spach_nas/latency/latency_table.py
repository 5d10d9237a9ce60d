"""A table of the times of parts on one device, and the latency that it predicts.

The table is one JSON file with the conditions of the measurement, the time of every part, and the
error of its predictions for whole networks.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache, lru_cache
from pathlib import Path

from pydantic import TypeAdapter

from spach_nas.config.runtime_registry import Format
from spach_nas.config.search_settings import LatencySettings
from spach_nas.errors import LatencyError
from spach_nas.files import replace_text
from spach_nas.latency.parts import Part, block_parts, frame_parts, part_name
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.timm_reference import TimmModel
from spach_nas.validation import validate

_KEPT_STAGES = 65536
# Stored in every file: raise it when the meaning of a part or a time changes.
SCHEMA_VERSION = 1
REMEDY = (
    "expected a table of this space, as `spach-nas latency SEARCH.yaml --table FILE` measures it"
)
_STRICT = {"extra": "forbid"}  # a misspelt or unknown field in a file is a mistake


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """The conditions under which times were measured, and outside which they do not hold.

    Attributes:
        machine: Name of the processor or the GPU.
        device: `cpu`, `cuda` or `mps`.
        runtime: Name of the runtime, which need not be known here.
        batch_size: Images in a forward pass.
        threads: Threads of the CPU.
        precision: Number format of weights and features.
        versions: Versions of the libraries that run the network, by name.
    """

    __pydantic_config__ = _STRICT

    machine: str
    device: str
    runtime: str
    batch_size: int
    threads: int
    precision: Format
    versions: Mapping[str, str]

    @property
    def by_processor(self) -> bool:
        """Whether times are processor time of the one computing thread, not wall-clock time."""
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
    """Statistics of repeated times in nanoseconds; lower is better.

    Attributes:
        median: Median of the times.
        low: First quartile.
        high: Third quartile.
        runs: Number of times taken; each may be the mean over several passes.
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
    """The measured time of a whole network and the sum over its parts.

    Attributes:
        name: Name of the paper's model, or the `arch_id`.
        drawing: The architecture as text, such as `conv2 | attn4`.
        measured: Median time in nanoseconds.
        sum: Sum over the parts in nanoseconds, not scaled.
        fitted: Whether the scale was fitted on it; otherwise it was held out.
    """

    __pydantic_config__ = _STRICT

    name: str
    drawing: str
    measured: float
    sum: float
    fitted: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionError:
    """Error of the predictions for held-out networks.

    Attributes:
        networks: Number of held-out networks.
        median: Median of the relative errors |predicted / measured - 1|; lower is better.
        largest: The largest of these errors.
        rank_correlation: Kendall's tau-b between predicted and measured; 1 is the same order. None
            if there are fewer than two networks.
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
    """Times of parts, with a factor that corrects their sum.

    Attributes:
        conditions: Conditions under which the times were measured.
        scale: Measured over summed times of whole networks, because a part takes more, or less,
            time within a network than alone.
        error: Error of the predictions. None if no held-out network was measured.
        checks: The whole networks behind `scale` and `error`.
        parts: Times by the name of the part.
        timm: Times of whole models of timm that a search compares with, by their `str`.
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
    timm: Mapping[str, Timing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.schema != SCHEMA_VERSION:
            raise LatencyError(f"schema: {self.schema}; expected {SCHEMA_VERSION}")
        if not 0 < self.scale < math.inf:
            raise LatencyError(f"scale: {self.scale}; expected more than 0")

    def nanoseconds(self, part: Part) -> int:
        """Time of a part within a network.

        Raises:
            LatencyError: The table does not have the part.
        """
        name = part_name(part)
        if name not in self.parts:
            raise LatencyError(f"holds no time of `{name}`")
        # Whole numbers, so that sums are exact in any order and can be counted like MACs.
        return max(1, round(self.scale * self.parts[name].median))

    def to_json(self) -> str:
        """The text of the file, with one line for each part."""
        plain = asdict(self)
        if not self.timm:  # so that versions before this field read the file
            del plain["timm"]
        parts = plain.pop("parts")
        head = json.dumps(plain, indent=1)[: -len("\n}")]
        lines = [f"  {json.dumps(name)}: {json.dumps(times)}" for name, times in parts.items()]
        body = ",\n".join(lines)
        return f'{head},\n "parts": {{\n{body}\n }}\n}}\n'


class PredictedLatency:
    """Latency as predicted by a table: sums of whole nanoseconds.

    Attributes:
        table: The table with the times.
        where: The name of the table in messages.
    """

    def __init__(self, table: LatencyTable, *, where: str) -> None:
        self.table = table
        self.where = where
        self._time = cache(self._find_time)
        self.blocks = lru_cache(maxsize=_KEPT_STAGES)(self._find_blocks)

    def frame(self, architecture: Architecture) -> int:
        """Nanoseconds of everything except the blocks.

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


def check_covers(table: LatencyTable, parts: Iterable[Part], *, where: str) -> None:
    """Check that a table has the time of all these parts.

    Raises:
        LatencyError: Parts are missing.
    """
    names = [part_name(part) for part in parts]
    lacking = [name for name in names if name not in table.parts]
    if lacking:
        raise LatencyError(
            f"{where}: lacks {len(lacking)} of the {len(names)} parts of this search's networks, "
            f"such as `{lacking[0]}`; {REMEDY}"
        )


def check_times_timm(table: LatencyTable, models: Iterable[TimmModel], *, where: str) -> None:
    """Check that a table has the time of all these models of timm.

    Raises:
        LatencyError: One line for each that is missing.
    """
    lacking = [
        f"{where}: holds no time of {item}" for item in models if str(item) not in table.timm
    ]
    if lacking:
        raise LatencyError("\n".join(f"{line}; {REMEDY}" for line in lacking))


def check_agrees(table: LatencyTable, settings: LatencySettings, *, where: str) -> None:
    """Check that a table was measured as the settings of a search say.

    Raises:
        LatencyError: There are differences; one line for each.
    """
    had, mistakes = asdict(table.conditions), []
    # A setting that is missing or `auto` accepts any table.
    for item in fields(settings):
        wanted = getattr(settings, item.name)
        if item.name != "table" and wanted not in (None, "auto", had[item.name]):
            mistakes.append(
                f"latency.{item.name}: {wanted}, but {where} was measured with "
                f"{had[item.name]}; expected that, or another table"
            )
    if mistakes:
        raise LatencyError("\n".join(mistakes))


def check_conditions(table: LatencyTable, conditions: Conditions, *, where: str) -> None:
    """Check that times measured under these conditions may be added to a table.

    Raises:
        LatencyError: The table was measured under other conditions.
    """
    differ = differences(table, conditions)
    if differ:
        raise LatencyError(
            f"{where}: was measured under other conditions: {differ}; expected the same, or "
            "another file"
        )


def differences(table: LatencyTable, conditions: Conditions) -> str:
    """Where the conditions of a table differ from others, in words; empty if they do not."""
    had, here = asdict(table.conditions), asdict(conditions)
    return "; ".join(
        f"{name} {had[name]!r}, not {here[name]!r}" for name in had if had[name] != here[name]
    )


def read_table(path: Path) -> LatencyTable:
    """Read a table.

    Raises:
        LatencyError: The table is missing, damaged or of another version.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise LatencyError(
            f"{path}: {problem.strerror}; expected a table that `spach-nas latency SEARCH.yaml "
            "--table FILE` wrote"
        ) from None
    except ValueError:
        raise LatencyError(f"{path}: is damaged; expected a table of latencies") from None
    return validate(_adapter(), plain, where=str(path), error=LatencyError)


def write_table(path: Path, table: LatencyTable) -> None:
    """Write a table completely or not at all.

    Raises:
        LatencyError: The file cannot be written.
    """
    try:
        replace_text(path, table.to_json())
    except OSError as problem:
        raise LatencyError(f"{path}: {problem.strerror}; expected a writable file") from None


@cache
def _adapter() -> TypeAdapter[LatencyTable]:
    return TypeAdapter(LatencyTable)
