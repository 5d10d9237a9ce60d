"""The command `latency`: what was asked, measured and said."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args

from spach_nas.errors import LatencyError, did_you_mean, one_of
from spach_nas.latency.measured import measure_network
from spach_nas.latency.search import measure_file, table_conditions
from spach_nas.latency.source import find_network, find_space
from spach_nas.latency.timing import RUNTIMES, cautions, conditions
from spach_nas.latency.view import checks_table, header, table_json, times_json, times_table
from spach_nas.latency_settings import Format, LatencySettings, RuntimeName
from spach_nas.live.view import make_console
from spach_nas.settings import Device

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


def print_network(asked: Request, *, as_json: bool = False) -> None:
    """Time one network, and print what came of it.

    Raises:
        SpachNasError: An unknown network, runtime or device.
    """
    device = parse_device(asked.device or "auto")
    sizes = parse_batch_sizes(asked.batch_size or "1")
    runtimes = parse_runtimes(asked.runtime or ",".join(RUNTIMES))
    architecture = find_network(asked.source)
    threads, precision = asked.threads or 1, asked.precision or "fp32"
    with_torch = conditions(device=device, threads=threads, precision=precision)
    console = make_console()
    if not as_json:
        console.print(f"{asked.source}: {architecture}", highlight=False, soft_wrap=True)
        console.print(header(with_torch), highlight=False, soft_wrap=True)
        for warning in cautions(with_torch):
            console.print(warning, highlight=False, soft_wrap=True)
    found = list(
        measure_network(
            architecture,
            batch_sizes=sizes,
            runtimes=runtimes,
            device=device,
            threads=threads,
            precision=precision,
        )
    )
    if as_json:
        print(times_json(asked.source, architecture, found))
        return
    console.print(times_table(found))
    for item in found:
        if item.missing is not None:
            console.print(item.missing, highlight=False, soft_wrap=True, markup=False)


def print_space(asked: Request, path: Path, *, as_json: bool = False) -> None:
    """Time the parts of all networks of a search into a file, and print how well they predict.

    Raises:
        SpachNasError: A mistake in the search, or a file that holds something else.
    """
    given = LatencySettings(
        runtime=_only("--runtime", parse_runtimes(asked.runtime)) if asked.runtime else None,
        device=parse_device(asked.device) if asked.device else None,
        batch_size=_only("--batch-size", parse_batch_sizes(asked.batch_size))
        if asked.batch_size
        else None,
        threads=asked.threads,
        precision=asked.precision,
    )
    found = find_space(asked.source)
    where = table_conditions(found.settings, given)
    console = make_console()

    def say(line: str) -> None:
        if not as_json:
            console.print(line, highlight=False, soft_wrap=True, markup=False)

    table = measure_file(path, found.space, found.references, where, say=say)
    if as_json:
        print(table_json(path, table))
        return
    console.print(checks_table(table))
    say(f"{path}: {len(table.parts)} parts, scale {table.scale:.3f}")


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
