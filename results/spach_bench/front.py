"""Scores the front of a study on the test split, which chose nothing, and draws it.

    python front.py STUDY

The study holds the weights of its front. Writes `front.csv` and `front.png`; `validation` and
`test` are top-1 accuracies of one training, higher is better.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from spach_nas import pareto
from spach_nas.config import load_config
from spach_nas.export import choose, export
from spach_nas.full.evaluate import evaluate
from spach_nas.records import Record, read_records
from spach_nas.report.study import write_study_pictures

HERE = Path(__file__).parent


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("study", type=Path)
    study: Path = parser.parse_args().study
    config = load_config(study / "search.yaml")
    members = pareto.front(read_records(study), config.objective_list, limits=config.limits)
    rows = pd.DataFrame([_row(study, member, data=config.data.name) for member in members])
    rows.to_csv(HERE / "front.csv", index=False, float_format="%.6g", lineterminator="\n")
    print(rows.to_string(index=False))
    front, *others = write_study_pictures(study, kind="png")
    front.replace(HERE / front.name)
    for picture in others:
        picture.unlink()


def _row(study: Path, member: Record, *, data: str) -> dict[str, object]:
    with TemporaryDirectory() as folder:
        bundle = export(choose(study, pick=str(member.trial)), out=Path(folder) / "bundle")
        found = evaluate(str(bundle), data=data, split="test", batch_sizes=())
    return {
        "arch_id": member.arch_id,
        "reference": member.reference or "",
        "layout": str(member.architecture),
        "stem": member.architecture.stem,
        "width": member.architecture.stages[0].width,
        "target_macs": member.target_cost.macs,
        "target_params": member.target_cost.params,
        "validation": member.objectives["accuracy"],
        "test": found.top1,
        "test_loss": found.loss,
    }


if __name__ == "__main__":
    main()
