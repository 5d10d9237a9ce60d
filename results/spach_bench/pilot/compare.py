"""Says how well each variant of the protocol ranks the dozen as the long trainings do.

    python compare.py [--against long_muon] [--score loss]

A band is a width of stage 1: its four architectures cost about the same and differ in mixers.
Columns, for each variant that trained all twelve:

tau        Kendall's tau-b over all twelve; higher is better
tau_band   share of the 18 pairs within a band in the same order, as a tau: 1 all, -1 none
r_band     Pearson correlation of the scores after each band's mean is taken off
attention, mlp   mean rank in the band (1 the best of 4) of what has most of its blocks behind
           stage 1 so, less the same in the long trainings: above 0, the variant holds them too low
noise      deviation between seeds, where there are several, in points of accuracy or 0.01 of loss
spread     deviation over the architectures of a band, the same unit
cpu_s      mean processor seconds of a training
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from pilot import parse_architecture
from scipy.stats import kendalltau

HERE = Path(__file__).parent


def main() -> None:
    """Print the comparison as a table of Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--against", default="long_muon")
    parser.add_argument("--score", choices=["accuracy", "loss"], default="loss")
    parser.add_argument("--every-epoch", action="store_true")
    args = parser.parse_args()
    rows = pd.concat([pd.read_csv(HERE / name) for name in ("pilot.csv", "long.csv")])
    # Higher is better for both.
    rows["score"] = rows["accuracy"] * 100 if args.score == "accuracy" else rows["loss"] * -100
    ends = rows.groupby("variant")["epoch"].transform("max")
    judge = _scores(rows[(rows.variant == args.against) & (rows.epoch == ends)])
    lines = []
    for variant, own in rows.groupby("variant", sort=False):
        last = int(own["epoch"].max())
        for epoch in range(1, last + 1) if args.every_epoch else [last]:
            line = _compare(own[own.epoch == epoch], judge)
            if line is not None and (variant, epoch) != (args.against, last):
                lines.append({"variant": variant, "epoch": epoch, **line})
    if not lines:
        parser.exit(1, f"no variant trained all that {args.against} did\n")
    columns = list(lines[0])
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for line in sorted(lines, key=lambda one: float(one["cpu_s"])):
        print(
            "| "
            + " | ".join(f"{x:.2f}" if isinstance(x, float) else str(x) for x in line.values())
            + " |"
        )


def _scores(rows: pd.DataFrame) -> pd.Series:
    return rows.groupby("architecture")["score"].mean()


def _compare(rows: pd.DataFrame, judge: pd.Series) -> dict[str, float] | None:
    rows = rows[rows["architecture"].isin(judge.index)]
    scores = _scores(rows).reindex(judge.index)
    if scores.isna().any():
        return None
    bands = judge.index.str.rsplit("_", n=1).str[1]
    ours, theirs = (s - s.groupby(bands).transform("mean") for s in (scores, judge))
    same = [
        np.sign((scores[a] - scores[b]) * (judge[a] - judge[b]))
        for i, a in enumerate(judge.index)
        for b in judge.index[:i]
        if a.rsplit("_", 1)[1] == b.rsplit("_", 1)[1]
    ]
    shift = _ranks(scores, bands) - _ranks(judge, bands)
    kinds = _kinds()
    seeds = rows.groupby("architecture")["score"].std()
    return {
        "tau": float(kendalltau(scores, judge).statistic),
        "tau_band": float(np.mean(same)),
        "r_band": float(np.corrcoef(ours, theirs)[0, 1]),
        "attention": float(shift[[kinds[name] == "attention" for name in shift.index]].mean()),
        "mlp": float(shift[[kinds[name] == "mlp" for name in shift.index]].mean()),
        "noise": float((seeds**2).mean() ** 0.5),
        "spread": float((ours**2).sum() / (len(ours) - bands.nunique())) ** 0.5,
        "cpu_s": float(rows["cpu_seconds"].mean()),
    }


def _ranks(scores: pd.Series, bands: pd.Index) -> pd.Series:
    return scores.groupby(bands).rank(ascending=False)


def _kinds() -> dict[str, str]:
    """The commonest mixer behind stage 1."""
    plan = yaml.safe_load((HERE / "pilot.yaml").read_text(encoding="utf-8"))
    found = {}
    for name, text in plan["architectures"].items():
        stages = parse_architecture(text).stages[1:]
        mixers = Counter(mixer for stage in stages for mixer in stage.mixers)
        found[name] = mixers.most_common(1)[0][0]
    return found


if __name__ == "__main__":
    main()
