"""How well the scores of supernets rank the architectures of spach_bench.

    python table.py

Reads `scores/*.csv`, the supernets of `../front_cost/scores`, and the table of `../spach_bench`,
writes `table.csv` and prints it. `tau` is Kendall's tau-b with the accuracy after a full training
(mean of its seeds) over `n` architectures; `tau_band` counts pairs of one width of stage 1 alone,
`tau_stem` pairs of one stem. `low` and `high`: 95 % of 500 resamplings of the architectures. Scores
are the accuracy and the negative loss, higher is better. `macs` and `params` are those of the
target. `conv4_ahead`: mean accuracy of those with the stem `conv4` less that of the others.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

HERE = Path(__file__).parent
RESAMPLES = 500


def main() -> None:
    """Write and print all rows."""
    truth = read_truth()
    rows: list[dict[str, object]] = []
    scored: set[str] = set()
    elsewhere = HERE.parent / "front_cost" / "scores"
    for path in sorted([*(HERE / "scores").glob("*.csv"), *elsewhere.glob("*supernet_*.csv")]):
        scores = pd.read_csv(path).rename(columns={"seconds": "cpu_seconds"}).set_index("arch_id")
        own = json.loads(path.with_suffix(".json").read_text())
        found = truth.loc[scores.index]
        by_stem = scores["accuracy"].groupby(found["stem"]).mean()
        facts = {
            "steps": own["steps"],
            "cpu_seconds": own["cpu_seconds" if "cpu_seconds" in own else "seconds"],
            "subnets_per_second": 1 / scores["cpu_seconds"].mean(),
            "accuracy": scores["accuracy"].mean(),
            "conv4_ahead": by_stem["conv4"] - by_stem["conv1"],
        }
        scored |= set(scores.index)
        for name, values in (("accuracy", scores["accuracy"]), ("loss", -scores["loss"])):
            rows.append({"method": path.stem, "score": name, **facts, **taus(values, found)})
    found = truth.loc[sorted(scored)]
    for name in ("target_macs", "target_params"):
        rows.append({"method": name, "score": "", **taus(found[name], found)})
    table = pd.DataFrame(rows)
    table.to_csv(HERE / "table.csv", index=False, float_format="%.3f", lineterminator="\n")
    print(table.to_string(index=False, float_format="%.3f", na_rep=""))


def read_truth() -> pd.DataFrame:
    """Accuracy at the end, costs and band of each architecture, by `arch_id`."""
    table = pd.read_csv(HERE.parent / "spach_bench" / "table.csv", keep_default_na=False)
    ends = table[table["epoch"] == table["epoch"].max()]
    grouped = ends.groupby("arch_id")
    truth = grouped[["accuracy", "target_macs", "target_params"]].mean()
    plain = grouped["architecture"].first().map(json.loads)
    truth["band"] = plain.map(lambda one: one["stages"][0]["width"])
    truth["stem"] = plain.map(lambda one: one["stem"])
    return truth


def taus(scores: pd.Series, truth: pd.DataFrame) -> dict[str, float]:
    """Kendall's tau of scores and final accuracies, with intervals."""
    values = scores.to_numpy(float), truth["accuracy"].to_numpy()
    groups = truth["band"].to_numpy(), (truth["stem"] == "conv4").to_numpy()
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(scores), size=len(scores)) for _ in range(RESAMPLES)]
    found = {"n": len(scores)}
    for name, tau, given in (
        ("tau", _tau, values),
        ("tau_band", _tau_within, (*values, groups[0])),
        ("tau_stem", _tau_within, (*values, groups[1])),
    ):
        found[name] = tau(*given)
        resampled = [tau(*(value[one] for value in given)) for one in drawn]
        found[f"{name}_low"], found[f"{name}_high"] = np.nanquantile(resampled, [0.025, 0.975])
    return found


def _tau(scores: np.ndarray, truth: np.ndarray) -> float:
    return float(kendalltau(scores, truth).statistic)


def _tau_within(scores: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> float:
    agree = np.sign(scores[:, None] - scores) * np.sign(truth[:, None] - truth)
    pairs = np.triu(groups[:, None] == groups, 1)
    return float(agree[pairs].mean())


if __name__ == "__main__":
    main()
