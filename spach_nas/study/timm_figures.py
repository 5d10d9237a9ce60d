"""Figures of timm's models in a study: `timm_models.csv`, written once, when the study begins."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from spach_nas.config.study_files import TIMM_CSV
from spach_nas.errors import StudyError


@dataclass(frozen=True, kw_only=True, slots=True)
class TimmFigures:
    """A model of timm next to the targets of a search; it is not trained.

    Attributes:
        name: As in the search YAML, such as `timm/caformer_s18`.
        image_size: Height and width for which the cost holds.
        params: Of the model with the classes of the targets.
        macs: Of one image, traced.
        activations: Of one image, traced.
        latency: Measured in milliseconds, whole; None where the search asks for no latency.
        top1: Published accuracy on ImageNet-1k in percent; None: not in the table of facts.
        top1_size: Height and width at which it was measured.
        top1_model: Name with the tag of the weights that reach it.
    """

    name: str
    image_size: int
    params: int
    macs: int
    activations: int
    latency: float | None = None
    top1: float | None = None
    top1_size: int | None = None
    top1_model: str = ""

    def on(self, axis: str) -> float | None:
        """Its figure for an axis, by the name of the objective; None: not known."""
        found: float | None = getattr(self, axis) if axis in _AXES else None
        return found


_AXES = ("params", "macs", "activations", "latency")
_COLUMNS = tuple(field.name for field in fields(TimmFigures))


def timm_table(rows: Iterable[TimmFigures]) -> str:
    """The text of the file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in asdict(row).items()} for row in rows)
    return text.getvalue()


def read_timm_table(folder: Path) -> tuple[TimmFigures, ...]:
    """The models of a study; none where there is no such file.

    Raises:
        StudyError: It is damaged.
    """
    path = folder / TIMM_CSV
    if not path.is_file():
        return ()
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(map(_row, csv.DictReader(file)))
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        raise StudyError(f"{path}: is damaged; expected the file as the search wrote it") from None


def _row(row: dict[str, str]) -> TimmFigures:
    return TimmFigures(
        name=row["name"],
        image_size=int(row["image_size"]),
        params=int(row["params"]),
        macs=int(row["macs"]),
        activations=int(row["activations"]),
        latency=float(row["latency"]) if row["latency"] else None,
        top1=float(row["top1"]) if row["top1"] else None,
        top1_size=int(row["top1_size"]) if row["top1_size"] else None,
        top1_model=row["top1_model"],
    )
