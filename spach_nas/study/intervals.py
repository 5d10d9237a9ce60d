"""The uncertainty of scores that comes from the number of validation images.

An accuracy is a share of the validation images. Its 95 % interval is Wilson's (1927), differences
are judged by Newcombe's (1998, method 10). All trials of a study are scored on the same images, so
differences are in fact more certain than that: the test is conservative.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.study.pareto import value
from spach_nas.study.records import Record
from spach_nas.units import format_share

_Z = 1.959964  # of 95 %
# A half-width below this is printed with a second digit.
_NARROW = 0.001


class Interval(NamedTuple):
    """Ends of a 95 % interval, in units of the score."""

    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of its width, as printed after a plus-minus sign."""
        return (self.high - self.low) / 2


def wilson(share: float, *, images: int) -> Interval:
    """Wilson's interval for a share of this many images."""
    shrunk = 1 + _Z**2 / images
    centre = (share + _Z**2 / (2 * images)) / shrunk
    reach = _Z * math.sqrt(share * (1 - share) / images + _Z**2 / (4 * images**2)) / shrunk
    # Rounding must not put a share of 0 or 1 outside its own interval.
    return Interval(min(share, max(0.0, centre - reach)), max(share, min(1.0, centre + reach)))


def image_interval(record: Record, objective: Objective) -> Interval | None:
    """The interval of a record's accuracy; None for other scores, or if its images are unknown."""
    share = value(record, objective)
    if not objective.is_share or share is None or not record.validation_images:
        return None
    return wilson(min(1.0, max(0.0, share)), images=record.validation_images)


def surely_better(first: Record, second: Record, objective: Objective) -> bool | None:
    """Whether the first score is significantly better, given the images; None: unknown."""
    ends = [image_interval(record, objective) for record in (first, second)]
    figures = [value(record, objective) for record in (first, second)]
    if ends[0] is None or ends[1] is None or figures[0] is None or figures[1] is None:
        return None
    below, above = figures[0] - ends[0].low, ends[1].high - figures[1]
    return figures[0] - figures[1] > math.hypot(below, above)


def score_words(
    objective: Objective, figure: float | None, interval: Interval | None = None
) -> str:
    """`83.1 ± 1.8 %`; `83.13%` if the interval is unknown; `0.5312` for other scores."""
    if figure is None:
        return ""
    if not objective.is_share:
        return f"{figure:.4g}"
    if interval is None:
        return format_share(figure)
    digits = 1 if interval.half >= _NARROW else 2
    share, half = (format_share(part, digits=digits) for part in (figure, interval.half))
    return f"{share.removesuffix('%')} \N{PLUS-MINUS SIGN} {half.removesuffix('%')} %"


def record_words(record: Record, objective: Objective) -> str:
    """A record's score with its interval."""
    return score_words(objective, value(record, objective), image_interval(record, objective))


def with_images(records: Sequence[Record], images: int | None) -> tuple[Record, ...]:
    """Fill in the number of validation images, which records of older studies lack.

    Args:
        records: Records of one study.
        images: The number by its settings. Nothing is filled in if it is None, or if an accuracy
            is not a share of this number: then the images have changed.
    """
    accuracy = OBJECTIVES["accuracy"]
    old = [record for record in records if record.validation_images is None]
    shares = [share for record in old if (share := value(record, accuracy)) is not None]
    if not images or any(abs(share * images - round(share * images)) > 0.01 for share in shares):
        return tuple(records)
    return tuple(
        record if record.validation_images else replace(record, validation_images=images)
        for record in records
    )
