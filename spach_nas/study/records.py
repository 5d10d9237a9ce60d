"""Records: one immutable line for each finished evaluation, the source of truth of a study.

They are appended to `records.jsonl`, and each is flushed to the disk before the search continues. A
torn last line, as left by a power cut, is ignored.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import FiniteFloat, TypeAdapter

from spach_nas.config.evaluation import Epoch, Fidelity, State
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.study_files import RECORDS_FILE
from spach_nas.cost.closed_form import Cost
from spach_nas.errors import StudyError
from spach_nas.space.architecture import Architecture
from spach_nas.validation import validate

_SCORED = ("accuracy", "loss")
# Objectives that have a column already.
_TWICE = ("accuracy", "loss", "macs", "params", "activations")


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One architecture evaluated at one fidelity and seed.

    Attributes:
        trial: Number of the trial; a trial has one record for each rung that it reached.
        arch_id: `arch_id` of the target.
        proxy_id: `arch_id` of the proxy.
        reference: Name of the paper's model, if it is one.
        origin: `STUDY/TRIAL` from which a warm start took it over.
        known: Number of records that existed when the trial was proposed.
        encoding: Values of the space's parameters; None for a reference outside the space.
        architecture: The target.
        target_cost: Cost of the target, which the limits bound.
        proxy_cost: Cost of the trained proxy.
        evaluator: Name of the evaluator.
        fidelity: Effort behind the score.
        seed: Seed of the training.
        objectives: Values by name; empty if it failed.
        curve: Scores after each epoch, including earlier rungs of its course.
        validation_images: Number of images behind its accuracy; None: unknown.
        seconds: Duration of this evaluation without earlier rungs; 0 for a shared score.
        started: Seconds from the start of the search to the start of this evaluation.
        state: `complete` or `failed`.
        reason: Why it failed.
        remark: What was unusual about it.
        version: Version of spach-nas.
        machine: Where it ran.
        finished_at: UTC time, ISO 8601.
    """

    trial: int
    arch_id: str
    proxy_id: str
    reference: str | None = None
    origin: str | None = None
    known: int = 0
    encoding: Mapping[str, str | int | float | bool] | None
    architecture: Architecture
    target_cost: Cost
    proxy_cost: Cost
    evaluator: str
    fidelity: Fidelity
    seed: int
    objectives: Mapping[str, float]
    curve: tuple[Epoch, ...]
    validation_images: int | None = None
    seconds: FiniteFloat
    started: FiniteFloat
    state: State
    reason: str | None = None
    remark: str | None = None
    version: str
    machine: str
    finished_at: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        plain = asdict(self)
        plain["architecture"] = self.architecture.to_dict()
        plain["target_cost"] = self.target_cost._asdict()
        plain["proxy_cost"] = self.proxy_cost._asdict()
        return plain


def append_record(path: Path, record: Record) -> None:
    """Append one line and wait until it is on the disk; a torn line before it is removed.

    Raises:
        ValueError: A number of the record is NaN or infinite; nothing is written.
    """
    line = json.dumps(record.to_dict(), allow_nan=False) + "\n"
    with path.open("ab+") as file:
        size = file.tell()
        file.seek(max(0, size - 1))
        if file.read(1) not in (b"", b"\n"):
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def check_records_there(folder: str | Path) -> Path:
    """The file of a study's records.

    Raises:
        StudyError: The folder is not a study.
    """
    path = Path(folder) / RECORDS_FILE
    if not path.is_file():
        raise StudyError(f"{folder}: holds no {RECORDS_FILE}; expected the folder of a study")
    return path


def read_records(folder: str | Path) -> tuple[Record, ...]:
    """All records of a study, oldest first.

    Raises:
        StudyError: The folder is not a study, or a line other than a torn last one is damaged.
    """
    path = check_records_there(folder)
    # Replaced, so that bytes garbled by a disk are reported as a damaged line.
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    records = []
    # The text after the last newline is empty, or a line that was never finished.
    for number, line in enumerate(lines[:-1], 1):
        records.append(parse_record(line, where=f"{path}:{number}"))
    return tuple(records)


def parse_record(line: str, *, where: str) -> Record:
    """The record that a line holds.

    Raises:
        StudyError: The line is damaged.
    """
    try:
        plain = json.loads(line)
    except ValueError:
        raise StudyError(f"{where}: damaged line; expected a JSON object") from None
    return validate(_adapter(), plain, where=where, error=StudyError)


def flat_record(record: Record) -> dict[str, Any]:
    """A record as one flat row, with the columns of `Study.to_dataframe`."""
    architecture = record.architecture
    complete = record.state == "complete"
    row: dict[str, Any] = {
        "trial": record.trial,
        "rung": record.fidelity.rung,
        "state": record.state,
        "reference": record.reference,
        **{name: OBJECTIVES[name].of(record) if complete else None for name in _SCORED},
        **{name: value for name, value in record.objectives.items() if name not in _TWICE},
        **{f"target_{name}": value for name, value in record.target_cost._asdict().items()},
        **{f"proxy_{name}": value for name, value in record.proxy_cost._asdict().items()},
        "architecture": str(architecture),
        "stem": architecture.stem,
        "stem_width": architecture.stem_width,
        "patch_size": architecture.patch_size,
        "image_size": "x".join(map(str, architecture.image_size)),
    }
    for number, stage in enumerate(architecture.stages, 1):
        row |= {
            f"stage{number}_mixers": str(stage),
            f"stage{number}_depth": stage.depth,
            f"stage{number}_width": stage.width,
            f"stage{number}_heads": stage.heads,
            f"stage{number}_expansion_ratio": stage.expansion_ratio,
            f"stage{number}_token_ratio": stage.token_ratio,
            f"stage{number}_shared": stage.shared,
            **{f"stage{number}_{name}": value for name, value in stage.options},
        }
    return row | {
        "epochs": record.fidelity.epochs,
        "data_share": record.fidelity.data_share,
        "seed": record.seed,
        "seconds": record.seconds,
        "started": record.started,
        "finished_at": record.finished_at,
        "validation_images": record.validation_images,
        "reason": record.reason,
        "remark": record.remark,
        "arch_id": record.arch_id,
        "proxy_id": record.proxy_id,
        "origin": record.origin,
        "evaluator": record.evaluator,
        "version": record.version,
        "machine": record.machine,
    }


@cache
def _adapter() -> TypeAdapter[Record]:
    return TypeAdapter(Record)
