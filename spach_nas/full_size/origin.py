"""What a training began with, kept in run.json: `--resume` goes on with nothing else."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spach_nas.data.reader import OpenData
from spach_nas.errors import StudyError
from spach_nas.full_size.job import Job

RUN_JSON = "run.json"
# What may change while a training is interrupted: none of it changes the curve by more than the
# order of sums.
_FREE = ("resources", "loggers", "checkpoint_steps", "final", "compile")
_FREE_DATA = ("loader_processes", "check_images", "skip_broken", "download", "root")


def run_text(job: Job, data: OpenData) -> str:
    """What `--resume` looks at, as JSON."""
    part = job.data.held_out
    files = {
        "broken": sorted(job.data.broken),
        "channels": data.train.channels,
        "held_out": None if part is None else asdict(part),
    }
    return json.dumps({"origin": _origin(job, data), "files": files}, indent=1) + "\n"


def known_files(folder: Path) -> Mapping[str, Any]:
    """`broken` files, `channels` and what is `held_out`, as the training began with them.

    Raises:
        StudyError: They are missing or damaged.
    """
    files: Mapping[str, Any] = _read(folder)["files"]
    return files


def check_origin(folder: Path, job: Job, data: OpenData) -> None:
    """Refuse to go on with another training than the one that began there.

    Raises:
        StudyError: One line for each difference.
    """
    before, now = _flat(_read(folder)["origin"]), _flat(json.loads(json.dumps(_origin(job, data))))
    mistakes = [
        f"{folder}: {key}: {now.get(key)!r}; expected {before.get(key)!r}, as the training began"
        for key in dict.fromkeys([*before, *now])
        if before.get(key) != now.get(key)
    ]
    held_out = 0 if data.held_out is None else len(data.validation or ())
    whole = before.get("training images") == len(data.train) + held_out
    if held_out and whole and not job.data.is_folder:
        mistakes.append(
            f"{folder}: began to validate on the test images of {job.data.name}, which only "
            "evaluate uses now; expected another folder by --out, for a new training"
        )
    if mistakes:
        raise StudyError("\n".join(mistakes))


def _origin(job: Job, data: OpenData) -> dict[str, Any]:
    recipe = {k: v for k, v in job.recipe.as_dict().items() if k not in _FREE}
    recipe["data"] = {k: v for k, v in recipe["data"].items() if k not in _FREE_DATA}
    return {
        "architecture": job.architecture.arch_id,
        "data": job.data.name,
        "training images": len(data.train),
        "validation images": 0 if data.validation is None else len(data.validation),
        "classes": list(job.class_names),
        "weights to begin with": job.initial,
        "recipe": recipe,
    }


def _read(folder: Path) -> dict[str, Any]:
    path = folder / RUN_JSON
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {"origin": plain["origin"], "files": plain["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise StudyError(f"{path}: missing or damaged; expected what the training wrote") from None


def _flat(plain: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        name = f"{path}.{key}" if path else key
        flat |= _flat(value, name) if isinstance(value, dict) else {name: value}
    return flat
