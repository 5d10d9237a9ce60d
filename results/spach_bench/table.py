"""Makes the table of the benchmark from the folders of its studies.

    python table.py STUDY...

Writes `table.csv` next to this file; `spach_nas/replay/training_table.py` says what the columns
are.
"""

import sys
from pathlib import Path

from spach_nas.replay import read_benchmark, write_table

HERE = Path(__file__).parent


def main() -> None:
    """Write the file."""
    benchmark = read_benchmark([Path(folder) for folder in sys.argv[1:]])
    write_table(benchmark.table, HERE / "table.csv")
    trainings = sum(len(entry.curves) for entry in benchmark.table.entries.values())
    print(f"{len(benchmark.table.entries)} architectures, {trainings} trainings")


if __name__ == "__main__":
    main()
