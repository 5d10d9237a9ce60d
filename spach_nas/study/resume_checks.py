"""Checks whether a study can be resumed, and begins one with the records of another.

What a resumed study knows, `StudyDriver` (`driver.py`) restores from its records.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from spach_nas.config.objectives import LATENCY
from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.config.study_files import DATA_JSON, RECORDS_FILE, SEARCH_YAML
from spach_nas.data.preprocessing import Preprocessing, read_preprocessing
from spach_nas.errors import SpachNasError, StudyError
from spach_nas.feasible import FeasibleSet
from spach_nas.space.scaling import scale
from spach_nas.study.pareto import value
from spach_nas.study.records import Record, read_records
from spach_nas.study.requests import latency_figure
from spach_nas.version import __version__

# Sections of the YAML whose keys are compared one by one.
_OPENED = (
    *("limits", "proxy_limits", "data", "proxy", "training", "search", "resources", "rungs"),
    "latency",
)


def check_resumable(folder: Path, config: SearchConfig, images: Preprocessing) -> None:
    """Check that a search may continue in this folder; nothing is changed.

    Raises:
        StudyError: The folder is not a study, is damaged, was written by another version, or was
            begun with another YAML or other images; `trials` and `max_duration` may have grown.
    """
    mistakes = [*_changes(folder, old=_begun(folder), new=config)]
    if (folder / DATA_JSON).is_file() and read_preprocessing(folder / DATA_JSON) != images:
        mistakes.append(
            f"{folder}: the images are not those that the study began with; expected the same "
            "files in the same splits, or a new study in another folder by --out"
        )
    if mistakes:
        raise StudyError("\n".join(mistakes))


def check_begun_alike(folder: Path, config: SearchConfig) -> None:
    """The part of `check_resumable` that needs no images.

    Raises:
        StudyError: As for `check_resumable`, without a comparison of spaces, since these may leave
            open what the images decide.
    """
    old = _begun(folder)
    mistakes = [*_changes(folder, old=old, new=replace(config, space=old.space))]
    if mistakes:
        raise StudyError("\n".join(mistakes))


def check_warm_start(
    source: Path, config: SearchConfig, *, images: Preprocessing | None = None
) -> None:
    """Check that the study of a warm start exists and was made by the same protocol.

    Args:
        source: Folder of that study.
        config: The search YAML.
        images: Images of the search; None: not compared.

    Raises:
        StudyError: It is missing, damaged, or made by another protocol.
    """
    where = f"search.warm_start: {source}"
    try:
        old = _begun(source)
    except SpachNasError as problem:
        raise StudyError(f"search.warm_start: {problem}") from None
    wanted = {**config.protocol, "rungs": config.rungs}
    found = {**old.protocol, "rungs": old.rungs}
    for name in wanted:
        if found[name] != wanted[name]:
            raise StudyError(f"{where}: its {name} differs; expected scores by the same protocol")
    if old.training_seed != config.training_seed:
        raise StudyError(
            f"{where}: its trainings draw from seed {old.training_seed}; expected "
            f"{config.training_seed} (training.seed, or search.seed without one)"
        )
    known = source / DATA_JSON
    if images is not None and known.is_file() and read_preprocessing(known) != images:
        raise StudyError(f"{where}: its images differ; expected scores by the same protocol")


def warm_records(
    source: Path, config: SearchConfig, feasible: FeasibleSet, *, images: Preprocessing
) -> tuple[Record, ...]:
    """The records of another study, as the first records of a new one.

    Records of architectures outside the space or the limits are left out.

    Raises:
        StudyError: As for `check_warm_start`.
    """
    check_warm_start(source, config, images=images)
    try:
        old, records = _begun(source), read_records(source)
    except SpachNasError as problem:
        raise StudyError(f"search.warm_start: {problem}") from None
    return tuple(_taken_over(records, old.study, config=config, feasible=feasible, images=images))


def _taken_over(
    records: tuple[Record, ...],
    name: str,
    *,
    config: SearchConfig,
    feasible: FeasibleSet,
    images: Preprocessing,
) -> Iterator[Record]:
    numbers: dict[int, int] = {}
    for record in records:
        target = record.architecture
        if not (config.space.contains(target) and not feasible.violations(target)):
            continue
        proxy = scale(target, config.proxy_at(record.fidelity.rung), images.data_shape)
        assert proxy.arch_id == record.proxy_id, "the same rule on the same images"
        # Trials are numbered from 0 again, since some are left out.
        yield replace(
            record,
            trial=numbers.setdefault(record.trial, len(numbers)),
            origin=record.origin or f"{name}/{record.trial}",
            reference=None,
            known=0,
            encoding=config.space.encode(target),
            objectives=_objectives(record, config, feasible) if record.state == "complete" else {},
        )


def _objectives(record: Record, config: SearchConfig, feasible: FeasibleSet) -> Mapping[str, float]:
    found = {
        item.name: figure
        for item in config.objective_list
        if (figure := value(record, item)) is not None
    }
    # The earlier study may have used another table of latencies, or none.
    found.pop(LATENCY.name, None)
    return found | latency_figure(record.architecture, feasible.latency)


def _begun(folder: Path) -> SearchConfig:
    """The search YAML of a study, if this version would make the same proposals."""
    config = _read_config(folder)
    _check_version(folder)
    return config


def _read_config(folder: Path) -> SearchConfig:
    if not (folder / SEARCH_YAML).is_file() or not (folder / RECORDS_FILE).is_file():
        raise StudyError(
            f"{folder}: is no study, since it lacks {SEARCH_YAML} or {RECORDS_FILE}; expected the "
            "folder of a study"
        )
    return load_config(folder / SEARCH_YAML)


def _check_version(folder: Path) -> None:
    with (folder / RECORDS_FILE).open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    try:
        made_by = str(json.loads(first)["version"])
    except (ValueError, KeyError, TypeError):
        return  # empty, torn or damaged: reading the records reports it
    # Versions that differ in the last number only make the same proposals.
    if made_by.split(".")[:2] != __version__.split(".")[:2]:
        raise StudyError(
            f"{folder}: was made by spach-nas {made_by}, and this is {__version__}, whose "
            f"proposals may differ; expected spach-nas {made_by}, or a new study"
        )


def _changes(folder: Path, *, old: SearchConfig, new: SearchConfig) -> Iterator[str]:
    before, after = _parts(old), _parts(new)
    for name, given in after.items():
        had = before[name]
        if given == had or _has_grown(name, had, given):
            continue
        shown = "" if name == "space" else f" from {had!r} to {given!r}"
        yield (
            f"{folder}: {name}: was changed{shown} since the study began; expected no change but "
            "a larger search.trials or search.max_duration, or another folder by --out"
        )


def _has_grown(name: str, had: Any, given: Any) -> bool:
    if name == "search.trials":
        return bool(given >= had)
    if name == "search.max_duration":
        return bool((given or math.inf) >= (had or math.inf))
    return False


def _parts(config: SearchConfig) -> Mapping[str, Any]:
    parts: dict[str, Any] = {}
    for name in config.__dataclass_fields__:
        part = getattr(config, name)
        if name in _OPENED:
            parts |= {f"{name}.{key}": item for key, item in asdict(part).items()}
        else:
            parts[name] = part
    # It is read only when a study begins.
    return parts | {"search.warm_start": None}
