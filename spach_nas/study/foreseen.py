"""What a search was estimated to take before its first trial, as its journal keeps it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Foreseen:
    """The estimate of a search, from a few timed steps.

    Attributes:
        seconds: From then on to the report, `max_duration` counted in.
        evaluation_seconds: Of one evaluation beside the others, by rung, cheapest first.
        at_once: Trials at once.
        start_seconds: Before the first training: Ray and its workers.
        finish_seconds: After the last one: the report and the best network.
    """

    seconds: float
    evaluation_seconds: tuple[float, ...]
    at_once: int
    start_seconds: float
    finish_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)


def read_foreseen(plain: object) -> Foreseen | None:
    """The estimate in a line of a journal; None where it is damaged, or there is none."""
    if not isinstance(plain, Mapping):
        return None
    try:
        found = Foreseen(
            seconds=float(plain["seconds"]),
            evaluation_seconds=tuple(map(float, plain["evaluation_seconds"])),
            at_once=max(1, int(plain["at_once"])),
            start_seconds=float(plain["start_seconds"]),
            finish_seconds=float(plain["finish_seconds"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    sound = all(0 < item < math.inf for item in (found.seconds, *found.evaluation_seconds))
    return found if sound and found.evaluation_seconds else None
