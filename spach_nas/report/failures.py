"""Why trials failed: reasons that differ in numbers alone are one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from spach_nas.report.trials import TrialRow

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NO_REASON = "no reason given"
# A traceback or a compiler's output would hide the other reasons.
_LONGEST = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One reason.

    Attributes:
        reason: Of the first trial.
        trials: Their numbers.
        words: What the reasons have in common: words without numbers.
    """

    reason: str
    trials: tuple[int, ...]
    words: str


def failures(rows: Sequence[TrialRow]) -> tuple[Failure, ...]:
    """The most frequent first."""
    groups: dict[str, list[TrialRow]] = {}
    for row in rows:
        if row.state == "failed":
            groups.setdefault(_common(row.reason or _NO_REASON), []).append(row)
    found = [
        Failure(
            reason=group[0].reason or _NO_REASON,
            trials=tuple(row.trial for row in group),
            words=words,
        )
        for words, group in groups.items()
    ]
    return tuple(sorted(found, key=lambda item: (-len(item.trials), item.trials)))


def failures_html(found: Sequence[Failure]) -> str:
    """A list with a button for each reason, which shows its trials in the table."""
    if not found:
        return ""
    items = "".join(
        f"<li><b>{len(item.trials)}</b><span>{escape(_shortened(item.reason))}</span>"
        f'<button type="button" data-filter="{escape(item.words)}">Show '
        f"{'it' if len(item.trials) == 1 else 'them'}</button></li>"
        for item in found
    )
    return (
        '<p class="note">The most frequent reason first, as the first of its trials told it. What '
        "happened when is in the study's <code>log.jsonl</code>; a failed trial is not tried "
        f'again.</p><ul class="failures">{items}</ul>'
    )


def _common(reason: str) -> str:
    return " ".join(_NUMBER.sub(" ", reason).split())


def _shortened(reason: str) -> str:
    return reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]} ..."
