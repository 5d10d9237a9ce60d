"""What a user asks of the command `latency`, read and checked without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args

from spach_nas.config.search_settings import RUNTIMES, Format, LatencySettings, RuntimeName
from spach_nas.config.training_settings import Device
from spach_nas.errors import LatencyError, did_you_mean, one_of
from spach_nas.latency.source import find_network, find_space
from spach_nas.latency.table_file import read_table

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a user asked for, as written; None where an option was left out.

    Attributes:
        source: One network, or with a table a search or a space.
        batch_size: Such as `1,32`.
        runtime: Such as `eager,onnx`.
        device: `cpu`, `cuda`, `mps` or `auto`.
        threads: Threads of the CPU.
        precision: Format of weights and features.
    """

    source: str
    batch_size: str | None = None
    runtime: str | None = None
    device: str | None = None
    threads: int | None = None
    precision: Format | None = None


def check_request(asked: Request, table: Path | None) -> None:
    """What can be checked before torch is imported.

    Args:
        asked: What the user asked for.
        table: The file of a table to measure; None: one network is timed.

    Raises:
        SpachNasError: An unknown network, runtime or device, a mistake in the search, or a file
            that is no table.
    """
    if table is not None:
        table_settings(asked)
        find_space(asked.source)
        if table.exists():
            read_table(table)
        return
    parse_device(asked.device or "auto")
    parse_batch_sizes(asked.batch_size or "1")
    parse_runtimes(asked.runtime or ",".join(RUNTIMES))
    find_network(asked.source)


def table_settings(asked: Request) -> LatencySettings:
    """What is given of the conditions of a table.

    Raises:
        LatencyError: An unknown name, or several where a table has one.
    """
    return LatencySettings(
        runtime=_only("--runtime", parse_runtimes(asked.runtime)) if asked.runtime else None,
        device=parse_device(asked.device) if asked.device else None,
        batch_size=_only("--batch-size", parse_batch_sizes(asked.batch_size))
        if asked.batch_size
        else None,
        threads=asked.threads,
        precision=asked.precision,
    )


def parse_batch_sizes(text: str) -> tuple[int, ...]:
    """`1,32` as numbers.

    Raises:
        LatencyError: Something else.
    """
    found = [item.strip() for item in text.split(",")]
    for item in found:
        if not (item.isascii() and item.isdecimal() and 0 < int(item) < 10**6):
            raise LatencyError(
                f"--batch-size: {item!r}; expected whole numbers from 1, such as 1,32"
            )
    return tuple(dict.fromkeys(map(int, found)))


def parse_runtimes(text: str) -> tuple[RuntimeName, ...]:
    """`eager,onnx` as names.

    Raises:
        LatencyError: An unknown one.
    """
    found = dict.fromkeys(item.strip() for item in text.split(","))
    for item in found:
        _known("--runtime", item, RUNTIMES)
    return tuple(name for name in RUNTIMES if name in found)


def parse_device(text: str) -> Device:
    """A device's name.

    Raises:
        LatencyError: An unknown one.
    """
    legal = get_args(Device)
    _known("--device", text, legal)
    found: Device = next(name for name in legal if name == text)
    return found


def _known(option: str, value: str, legal: Sequence[str]) -> None:
    if value not in legal:
        raise LatencyError(
            f"{option}: {value!r}; expected {one_of(legal)}{did_you_mean(value, legal)}"
        )


def _only(option: str, values: Sequence[Value]) -> Value:
    if len(values) > 1:
        raise LatencyError(
            f"{option}: {','.join(map(str, values))}; expected one, since a table holds one"
        )
    return values[0]
