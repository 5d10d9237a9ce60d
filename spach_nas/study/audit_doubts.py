"""What an audit of its scores says against a search: `spach-nas audit --out audit.csv`."""

import csv
from pathlib import Path

from spach_nas.config.search_yaml import SearchConfig
from spach_nas.config.study_files import AUDIT_CSV

# The row of an audit that says how well one training ranks another.
CEILING = "another seed"


def audit_doubts(config: SearchConfig, place: Path) -> tuple[str, ...]:
    """A sentence for each score that ranks architectures of one cost no better than MACs.

    Args:
        config: The search.
        place: Its YAML, or the folder of its study; `audit.csv` there is read, if there is one.
    """
    file, doubts = (place if place.is_dir() else place.parent) / AUDIT_CSV, []
    labels = dict.fromkeys(choice.label for choice in config.evaluators)
    names = {label: label for label in labels}
    if any(choice.spec.trains for choice in config.evaluators):
        names[CEILING] = "the same training with another seed"
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = {row["score"]: row for row in csv.DictReader(lines)}
        for row, words in names.items():
            if row in rows and float(rows[row]["gain_within_low"]) <= 0:
                own, macs = (float(rows[name]["within"]) for name in (row, "macs"))
                doubts.append(
                    f"{words} ranks architectures of one cost no better than their MACs do: "
                    f"Kendall's tau {own:.2f} and {macs:.2f} by {file}"
                )
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        return ()  # no audit, or another file of that name
    return tuple(doubts)
