"""Makes the table of the benchmark from the folders of its studies.

    python table.py STUDY...

Writes `table.csv` and `table.parquet` beside this file; `spach_nas/replay/table_files.py` says what
the columns are.
"""

import sys
from pathlib import Path

from spach_nas.replay import read_benchmark, write_table

HERE = Path(__file__).parent


def main() -> None:
    """Write both files."""
    benchmark = read_benchmark([Path(folder) for folder in sys.argv[1:]])
    for name in ("table.csv", "table.parquet"):
        write_table(benchmark.table, HERE / name)
    trainings = sum(len(entry.curves) for entry in benchmark.table.entries.values())
    print(f"{len(benchmark.table.entries)} architectures, {trainings} trainings")


if __name__ == "__main__":
    main()
