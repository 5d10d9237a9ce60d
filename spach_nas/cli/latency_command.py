"""The command `latency`: what was asked, measured and said."""

from pathlib import Path

from spach_nas.cli.latency_view import checks_table, header, table_json, times_json, times_table
from spach_nas.cli.live_view import make_console
from spach_nas.config.search_settings import RUNTIMES
from spach_nas.latency.measured import measure_network
from spach_nas.latency.request import (
    Request,
    parse_batch_sizes,
    parse_device,
    parse_runtimes,
    table_settings,
)
from spach_nas.latency.search import measure_file, table_conditions
from spach_nas.latency.source import find_network, find_space
from spach_nas.latency.timing import cautions, conditions


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
    given = table_settings(asked)
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
