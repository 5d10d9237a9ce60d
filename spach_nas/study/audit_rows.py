"""An audit of scores as a table: how well each ranks, in a file, and in one sentence.

`spach_nas.replay.audit` computes the rows.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from spach_nas.config.search_yaml import SearchConfig
from spach_nas.config.study_files import AUDIT_CSV
from spach_nas.files import replace_text

# The row that says how well one training ranks another.
CEILING = "another seed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A figure with the ends of its 95 % bootstrap interval over architectures."""

    figure: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.figure:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRow:
    """How well one score ranks.

    Attributes:
        name: Of the score, as records call its evaluator; `epoch 1`, a training cut short; `another
            seed`, the noise ceiling.
        architectures: That have it.
        tau: Kendall's tau-b with the truth, over all architectures.
        within: The same over pairs of one band of MACs.
        rho: Spearman's, over all.
        rho_within: Of the ranks within bands.
        gain: `tau` less that of the MACs.
        gain_within: `within` less that of the MACs.
        seconds: Per architecture; None: not measured.
        bias: By mixer: how many places, as a share of its band, the score ranks a network of this
            mixer alone too high, beside one without it, at equal MACs. Negative: too low.
        looks: Whether it is of an evaluator that looks at more than the size.
    """

    name: str
    architectures: int
    tau: Estimate
    within: Estimate
    rho: Estimate
    rho_within: Estimate
    gain: Estimate
    gain_within: Estimate
    seconds: float | None
    bias: Mapping[str, Estimate]
    looks: bool = False

    @property
    def words(self) -> str:
        """Its name for people; sizes of the targets stand beside those of the proxies."""
        if self.name in ("params", "macs"):
            return f"target {self.name}"
        return self.name.removeprefix("training_free:")


def verdict(rows: Sequence[AuditRow]) -> str:
    """One sentence that says what to use."""
    ranked = sorted(
        (row for row in rows if row.looks), key=lambda row: row.gain_within.figure, reverse=True
    )
    for row in ranked:
        if row.gain_within.low > 0 and row.gain.high > 0:
            return (
                f"Use {row.name}: within bands of MACs its tau is {row.within}, a gain of "
                f"{row.gain_within} over that of the MACs, and over all architectures {row.tau}."
            )
    tried = ""
    if ranked:
        best = ranked[0]
        tried = (
            f"; within bands the tau of the best of them, {best.name}, is {best.within}, and its "
            f"gain over that of the MACs {best.gain_within}"
        )
    return (
        "Use none of these scores to choose between architectures of one cost: none ranks them "
        f"better than their MACs do, beyond chance{tried}."
    )


def audit_doubts(config: SearchConfig, place: Path) -> tuple[str, ...]:
    """A sentence for each score of a search that ranks networks of one cost no better than MACs.

    Args:
        config: The search.
        place: Its YAML, or the folder of its study; `audit.csv` there is read, if there is one.
    """
    file = (place if place.is_dir() else place.parent) / AUDIT_CSV
    rows = {row.name: row for row in read_audit(file)}
    names = {choice.label: choice.label for choice in config.evaluators}
    if any(choice.spec.trains for choice in config.evaluators):
        names[CEILING] = "the same training with another seed"
    return tuple(
        f"{words} ranks architectures of one cost no better than their MACs do: Kendall's tau "
        f"{rows[name].within.figure:.2f} and {rows['macs'].within.figure:.2f} over "
        f"{rows[name].architectures} of them, by {file}"
        for name, words in names.items()
        if name in rows and "macs" in rows and rows[name].gain_within.low <= 0
    )


_INTERVALS = tuple(item.name for item in fields(AuditRow) if item.type in ("Estimate", Estimate))
_BIAS = "bias_"


def write_audit(rows: Sequence[AuditRow], path: Path) -> None:
    """A row for each score; `_low` and `_high` are the ends of 95 % intervals."""
    mixers = dict.fromkeys(name for row in rows for name in row.bias)
    names = (*_INTERVALS, *(f"{_BIAS}{name}" for name in mixers))
    ends = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["score", "architectures", *ends, "seconds", "looks"])
    for row in rows:
        found = [getattr(row, name) for name in _INTERVALS]
        found += [row.bias.get(name) for name in mixers]
        cells = [
            "" if item is None else f"{value:.3f}"
            for item in found
            for value in ((item.figure, item.low, item.high) if item else (0.0,) * 3)
        ]
        spent = "" if row.seconds is None else f"{row.seconds:.3f}"
        writer.writerow([row.name, row.architectures, *cells, spent, "yes" if row.looks else "no"])
    replace_text(path, text.getvalue())


def read_audit(path: Path) -> tuple[AuditRow, ...]:
    """What `write_audit` wrote; empty where there is no such file, or another one of its name."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(map(_row, csv.DictReader(file)))
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        return ()


def _row(cells: Mapping[str, str]) -> AuditRow:
    def estimate(name: str) -> Estimate:
        figure, low, high = (float(cells[f"{name}{end}"]) for end in ("", "_low", "_high"))
        return Estimate(figure=figure, low=low, high=high)

    mixers = [
        name.removeprefix(_BIAS)
        for name, cell in cells.items()
        if name.startswith(_BIAS) and cell and not name.endswith(("_low", "_high"))
    ]
    return AuditRow(
        name=cells["score"],
        architectures=int(cells["architectures"]),
        **{name: estimate(name) for name in _INTERVALS},
        seconds=float(cells["seconds"]) if cells["seconds"] else None,
        bias={name: estimate(f"{_BIAS}{name}") for name in mixers},
        looks=cells["looks"] == "yes",
    )
