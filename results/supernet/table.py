"""How well the scores of supernets rank the architectures of spach_bench.

    python table.py

Reads `scores/*.csv` and the table of `../spach_bench`, writes `table.csv` and prints it. `tau` is
Kendall's tau-b with the accuracy after a full training (mean of its seeds) over `n` architectures;
`tau_band` counts pairs of one width of stage 1 alone. `low` and `high`: 95 % of 500 resamplings of
the architectures. Scores are the accuracy and the negative loss, higher is better. `macs` and
`params` are those of the target.
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
    for path in sorted((HERE / "scores").glob("*.csv")):
        scores = pd.read_csv(path).set_index("arch_id")
        facts = json.loads(path.with_suffix(".json").read_text())
        facts["subnets_per_second"] = 1 / scores["cpu_seconds"].mean()
        found = truth.loc[scores.index]
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
    stages = grouped["architecture"].first().map(lambda text: json.loads(text)["stages"])
    truth["band"] = stages.map(lambda stages: stages[0]["width"])
    return truth


def taus(scores: pd.Series, truth: pd.DataFrame) -> dict[str, float]:
    """Kendall's tau of scores and final accuracies, with intervals."""
    values = scores.to_numpy(float), truth["accuracy"].to_numpy(), truth["band"].to_numpy()
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(scores), size=len(scores)) for _ in range(RESAMPLES)]
    found = {"n": len(scores)}
    for name, tau in (("tau", _tau), ("tau_band", _tau_in_bands)):
        found[name] = tau(*values)
        resampled = [tau(*(value[one] for value in values)) for one in drawn]
        found[f"{name}_low"], found[f"{name}_high"] = np.nanquantile(resampled, [0.025, 0.975])
    return found


def _tau(scores: np.ndarray, truth: np.ndarray, bands: np.ndarray) -> float:
    return float(kendalltau(scores, truth).statistic)


def _tau_in_bands(scores: np.ndarray, truth: np.ndarray, bands: np.ndarray) -> float:
    agree = np.sign(scores[:, None] - scores) * np.sign(truth[:, None] - truth)
    pairs = np.triu(bands[:, None] == bands, 1)
    return float(agree[pairs].mean())


if __name__ == "__main__":
    main()
