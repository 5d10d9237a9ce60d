"""Makes the tables of control tasks, or goes on with them after it was stopped.

    python make.py TASK... [--workers 2]

Three searches of each task by `TASK/search.yaml`: the first trains its architectures, two more
train the first 21 of these by other chance. `TASK/table.csv` holds all that are finished, and
is written anew after each search, so that it is of use before all are done;
`spach_nas/replay/training_table.py` says what its columns are.
"""

import argparse
from pathlib import Path

import yaml

import spach_nas
from spach_nas.replay import read_benchmark, write_table
from spach_nas.study.ending import ending

HERE = Path(__file__).parent
SEEDS = 3
REPEATED = 21  # of the first architectures that are drawn, more than a third


def main() -> None:
    """Make the tables that are asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="+", metavar="TASK")
    parser.add_argument("--workers", type=int, default=2, help="trainings at once, a core each")
    given = parser.parse_args()
    for task in given.tasks:
        make(HERE / task, workers=given.workers)


def make(folder: Path, *, workers: int) -> None:
    """Run the searches of a task, and write its table after each."""
    given = yaml.safe_load((folder / "search.yaml").read_text(encoding="utf-8"))
    studies: list[Path] = []
    for seed in range(SEEDS):
        trials = given["search"]["trials"] if seed == 0 else REPEATED
        own = given | {
            "study": f"{given['study']}_{seed}",
            "search": given["search"] | {"trials": trials},
            "training": given["training"] | {"seed": seed},
            "resources": given["resources"] | {"max_concurrent": workers},
        }
        studies.append(folder / f"study_{seed}")
        spach_nas.search(own, out=studies[-1], resume=True)
        if ending(studies[-1]).why == "stopped":
            raise SystemExit("stopped; the same command goes on")
        table = read_benchmark(studies).table
        write_table(table, folder / "table.csv")
        trainings = sum(len(entry.curves) for entry in table.entries.values())
        print(f"{folder.name}: {len(table.entries)} architectures, {trainings} trainings")


if __name__ == "__main__":
    main()
