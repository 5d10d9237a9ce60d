"""Says how far the table can be trusted: rank correlations, and what is held too high or too low.

    python trust.py

Reads `table.csv` and `pilot/long.csv`, writes `trust.csv` and `effects.csv` and prints them.

`trust.csv`: scores are the accuracy and the negative loss, higher is better. `tau` is Kendall's
tau-b over `n` architectures; `tau_band` counts pairs within a band alone: those of one width of
stage 1, which cost about the same and differ in mixers, or, for the published models, of one group
of params.

`effects.csv`: what each choice of the space adds to the accuracy, in points, beside all others, and
its standard error, by least squares over all architectures; the last row is what is left over, the
deviation of an architecture. Width and stem do not simply add up: each pair of them has its mean,
with convolution everywhere.
"""

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from spach_nas.replay import read_benchmark
from spach_nas.space.references import REFERENCES

HERE = Path(__file__).parent
SCORES = ("accuracy", "loss")


def main() -> None:
    """Write and print all rows."""
    table = read_table()
    found = figures(table)
    found.to_csv(HERE / "trust.csv", index=False, float_format="%.3f", lineterminator="\n")
    print(found.to_string(index=False, float_format="%.3f", na_rep=""))
    added = effects(table)
    added.to_csv(HERE / "effects.csv", index=False, float_format="%.3f", lineterminator="\n")
    print(added.to_string(index=False, float_format="%.3f"))
    print(bias(table).to_string(float_format="%.3f"))


def figures(table: pd.DataFrame) -> pd.DataFrame:
    """All rows of `trust.csv`."""
    return pd.DataFrame(
        [*between_seeds(table), *between_epochs(table), *with_long(table), *with_paper(table)]
    )


def read_table() -> pd.DataFrame:
    """One row for each training and epoch, with the layout read from the architecture."""
    table = pd.read_csv(HERE / "table.csv", keep_default_na=False)
    stages = [json.loads(text)["stages"] for text in table["architecture"]]
    table["band"] = [stage[0]["width"] for stage in stages]
    table["kind"] = [_kind(stage) for stage in stages]
    table["loss"] *= -1
    return table


def _kind(stages: list[dict[str, object]]) -> str:
    # The commonest mixer behind stage 1, which is convolution everywhere.
    mixers = [name for stage in stages[1:] for name in stage["mixers"]]  # type: ignore[attr-defined]
    return max(("conv", "attention", "mlp"), key=mixers.count)


def at_end(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last epoch: one for each training."""
    return table[table["epoch"] == table["epoch"].max()]


def means(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each architecture, by `arch_id`: scores are means over the seeds."""
    grouped = table.groupby("arch_id")
    kept = ["band", "kind", "reference", "architecture", "target_macs", "target_params"]
    firsts = grouped[kept].first()
    return firsts.join(grouped[[*SCORES]].mean())


def members(table: pd.DataFrame) -> pd.DataFrame:
    """The means without those models of the paper that are not of the space."""
    inside = [item.arch_id for item in read_benchmark([HERE]).feasible.members]
    found = means(at_end(table))
    return found[found.index.isin(inside)]


def tau_in_bands(one: pd.Series, other: pd.Series, bands: pd.Series) -> float:
    """Mean of sign times sign over the pairs of a band; ties count as nothing."""
    signs = [
        np.sign((one[a] - one[b]) * (other[a] - other[b]))
        for a, b in combinations(one.index, 2)
        if bands[a] == bands[b]
    ]
    return float(np.mean(signs)) if signs else float("nan")


def _row(
    question: str, score: str, one: pd.Series, other: pd.Series, bands: pd.Series
) -> dict[str, object]:
    return {
        "question": question,
        "score": score,
        "n": len(one),
        "tau": float(kendalltau(one, other).statistic),
        "tau_band": tau_in_bands(one, other, bands),
    }


def between_seeds(table: pd.DataFrame) -> Iterator[dict[str, object]]:
    """The noise ceiling: no ranking by one seed can agree better with the truth than seeds do."""
    ends = at_end(table)
    bands = ends.groupby("arch_id")["band"].first()
    for score in SCORES:
        seeds = ends.pivot(index="arch_id", columns="seed", values=score).dropna()
        rows = [
            _row("", score, seeds[a], seeds[b], bands) for a, b in combinations(seeds.columns, 2)
        ]
        if rows:
            mean = pd.DataFrame(rows)[["tau", "tau_band"]].mean()
            yield {"question": "between seeds", "score": score, "n": len(seeds), **mean}


def between_epochs(table: pd.DataFrame) -> Iterator[dict[str, object]]:
    """What a rung after so many epochs knows of the end, over trainings with the first seed."""
    first = table[table["seed"] == table["seed"].min()].set_index("arch_id")
    last = first["epoch"].max()
    bands = at_end(first)["band"]
    for score in SCORES:
        for epoch in range(1, last):
            early, end = (first[first["epoch"] == e][score] for e in (epoch, last))
            yield _row(f"epoch {epoch} with the last", score, early.reindex(end.index), end, bands)


def with_long(table: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Against the long trainings of the pilot."""
    found = means(at_end(table))
    judge = long_trainings()
    for score in SCORES:
        own = found[score].reindex(judge.index).dropna()
        yield _row(
            "with the long trainings", score, own, judge[score].reindex(own.index), found["band"]
        )


def long_trainings() -> pd.DataFrame:
    """Scores at the end of those that the protocol was chosen by, by `arch_id`."""
    rows = pd.read_csv(HERE / "pilot" / "long.csv")
    rows = rows[rows["variant"] == "long_muon"]
    ends = rows[rows["epoch"] == rows["epoch"].max()].assign(loss=lambda r: -r["loss"])
    return ends.groupby("arch_id")[[*SCORES]].mean()


def with_paper(table: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Against ImageNet's top-1 of the published models, beside what their size alone says."""
    found = means(at_end(table))
    paper = found[[bool(REFERENCES[name].top1) if name else False for name in found["reference"]]]
    top1 = pd.Series({i: REFERENCES[paper["reference"][i]].top1 for i in paper.index}, dtype=float)
    groups = pd.Series(
        {i: "xxs" if "xxs" in name else "63M" if REFERENCES[name].params_m == 63 else "28-47M"
         for i, name in paper["reference"].items()}
    )  # fmt: skip
    for score in (*SCORES, "target_params", "target_macs"):
        yield _row("with ImageNet", score, paper[score], top1, groups)


def effects(table: pd.DataFrame) -> pd.DataFrame:
    """All rows of `effects.csv`."""
    found = members(table)
    columns: dict[str, list[bool]] = {}
    layouts = [json.loads(text) for text in found["architecture"]]
    for width, stem in sorted({(one["stages"][0]["width"], one["stem"]) for one in layouts}):
        columns[f"width {width}, {stem}"] = [
            (one["stages"][0]["width"], one["stem"]) == (width, stem) for one in layouts
        ]
    mixers = [[stage["mixers"] for stage in one["stages"]] for one in layouts]
    for stage in (2, 3, 4):
        for name in ("attention", "mlp"):
            columns[f"{name} in stage {stage}"] = [name in one[stage - 1] for one in mixers]
    # Of convolution in five blocks more there is nothing to tell.
    columns["ten of either in stage 3, not five"] = [one[2].count("conv") == 2 for one in mixers]
    design = np.array(list(columns.values()), dtype=float).T
    scores = found["accuracy"].to_numpy() * 100
    added, _, rank, _ = np.linalg.lstsq(design, scores, rcond=None)
    left = float(np.sqrt(((scores - design @ added) ** 2).sum() / (len(scores) - rank)))
    errors = left * np.sqrt(np.diag(np.linalg.pinv(design.T @ design)))
    rows = [*zip(columns, added, errors, strict=True), ("left over", left, np.nan)]
    return pd.DataFrame(rows, columns=["choice", "points", "standard_error"])


def bias(table: pd.DataFrame) -> pd.DataFrame:
    """Mean place within a band, 0 the worst and 1 the best, by the commonest mixer."""
    found = members(table)
    judge = long_trainings()
    parts = {}
    for score in SCORES:
        parts[f"{score}, all"] = _places(found, found[score])
        both = found.loc[found.index.intersection(judge.index)]
        parts[f"{score}, table, the dozen"] = _places(both, both[score])
        parts[f"{score}, long, the dozen"] = _places(both, judge[score].reindex(both.index))
    return pd.DataFrame(parts)


def _places(found: pd.DataFrame, scores: pd.Series) -> pd.Series:
    ranks = scores.groupby(found["band"]).rank() - 1
    sizes = scores.groupby(found["band"]).transform("size") - 1
    return (ranks / sizes).groupby(found["kind"]).mean()


if __name__ == "__main__":
    main()
