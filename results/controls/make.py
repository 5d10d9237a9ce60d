"""Makes the table of a control task, or goes on with it after it was stopped.

    python make.py TASK

Three searches by `TASK/search.yaml`: the first trains every architecture within the limits, two
more train a third of them by other chance. `TASK/table.csv` holds all;
`spach_nas/replay/training_table.py` says what its columns are.
"""

import sys
from pathlib import Path

import yaml

import spach_nas
from spach_nas.replay import read_benchmark, write_table

HERE = Path(__file__).parent


def main() -> None:
    """Run the searches and write the table."""
    folder = HERE / sys.argv[1]
    given = yaml.safe_load((folder / "search.yaml").read_text(encoding="utf-8"))
    studies = []
    for seed in range(3):
        trials = given["search"]["trials"] // (1 if seed == 0 else 3)
        own = given | {
            "study": f"{given['study']}_{seed}",
            "search": given["search"] | {"trials": trials},
            "training": given["training"] | {"seed": seed},
        }
        studies.append(folder / f"study_{seed}")
        spach_nas.search(own, out=studies[-1], resume=True)
    table = read_benchmark(studies).table
    write_table(table, folder / "table.csv")
    trainings = sum(len(entry.curves) for entry in table.entries.values())
    print(f"{folder.name}: {len(table.entries)} architectures, {trainings} trainings")


if __name__ == "__main__":
    main()
