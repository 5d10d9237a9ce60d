"""Tables that benchmarks leave in `results/benchmarks/`, with command and machine in each row."""

import csv
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "results" / "benchmarks"


def write_table(name: str, rows: Sequence[Mapping[str, object]], *, test: str) -> None:
    """Write all rows, whose columns may differ.

    Args:
        name: Of the file.
        rows: At least one; those of an earlier run keep their command and machine.
        test: The file of the benchmark.
    """
    made_by = {
        "command": f"pytest -m benchmark tests/benchmarks/{Path(test).name}",
        "machine": machine(),
    }
    found = [{**made_by, **row} for row in rows]
    columns = dict.fromkeys(column for row in rows for column in row if column not in made_by)
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*columns, *made_by], lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


def machine() -> str:
    """In words: processor and number of cores, of which one is used."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return f"{model}, one of {os.cpu_count()} cores, Python {platform.python_version()}"
