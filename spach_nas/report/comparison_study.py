"""Studies that are to be compared, and which of them repeat one another with other seeds."""

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.config.search_yaml import load_config
from spach_nas.config.study_files import DATA_JSON, SEARCH_YAML
from spach_nas.cost.limits import Limits
from spach_nas.errors import SpachNasError, StudyError
from spach_nas.report.seeds import Trained, group_seeds
from spach_nas.report.study import study_records
from spach_nas.study.folder import check_plugins, class_count
from spach_nas.study.hypervolume import Corners, study_corners
from spach_nas.study.pareto import comparable, value
from spach_nas.study.records import Record, check_records_there

# What the seeds of one group may differ in.
SEEDS = ("study", "search.seed", "training.seed")
_LONGEST_LABEL = 40
# `nsga2-s` of `nsga2-s0` and `nsga2-s1`.
_SEED_ENDING = re.compile(r"[-_. /]+(s|seed)?[-_. /]*$")


@dataclass(frozen=True, kw_only=True)
class ComparedStudy:
    """One study, or one seed of several.

    Attributes:
        label: What it is called in pictures and tables.
        records: Of the study, in the order in which they finished.
        objectives: The same for all that are compared.
        limits: Bounds on the target's cost.
        corners: The box that its hypervolumes are shares of, as far as it is known.
        settings: Everything its YAML says, defaults too, by path: `search.trials`.
        images: How its images were prepared, as text; empty: not known.
        baseline: Whether the others are measured against it.
    """

    label: str
    records: tuple[Record, ...]
    objectives: tuple[Objective, ...] = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])
    limits: Limits = field(default_factory=Limits)
    corners: Corners = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    images: str = ""
    baseline: bool = False

    @cached_property
    def found(self) -> tuple[Record, ...]:
        """What the search itself proposed: the paper's models are no merit of it."""
        return tuple(record for record in self.records if record.reference is None)

    @cached_property
    def trained(self) -> tuple[Trained, ...]:
        """What of it is compared: complete, of its highest rung, within the limits, finite."""
        return tuple(
            group
            for group in group_seeds(comparable(self.found, limits=self.limits))
            if all(value(group.record, item) is not None for item in self.objectives)
        )

    @property
    def usable(self) -> tuple[Record, ...]:
        """The same as records; an architecture trained with several seeds is one, their mean."""
        return tuple(group.record for group in self.trained)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyGroup:
    """Studies that differ in their seeds alone; one is a group, too.

    Attributes:
        label: What it is called.
        studies: At least one, in the order given.
    """

    label: str
    studies: tuple[ComparedStudy, ...]

    @property
    def baseline(self) -> bool:
        """Whether the other groups are measured against it."""
        return self.studies[0].baseline

    @property
    def words(self) -> str:
        """The label with the number of seeds, where there are several."""
        number = len(self.studies)
        return self.label if number == 1 else f"{self.label} ({number} seeds)"


def read_studies(
    folders: Sequence[Path], *, baselines: Sequence[Path] = ()
) -> tuple[ComparedStudy, ...]:
    """The studies in folders, those of the baseline last.

    Raises:
        StudyError: Fewer than two, one that stands twice, is none or is damaged, or objectives
            that differ; one line for each mistake.
    """
    every = (*folders, *baselines)
    mistakes = list(_repeated(every))
    if len(every) < 2:
        mistakes.append(f"{every[0] if every else 'no study'}: expected at least two to compare")
    studies = []
    for folder, label in zip(every, folder_labels(every), strict=True):
        try:
            studies.append(replace(_read(folder, label=label), baseline=folder in baselines))
        except SpachNasError as problem:
            mistakes.append(str(problem))
    if mistakes:
        raise StudyError("\n".join(dict.fromkeys(mistakes)))
    check_objectives(studies)
    return tuple(studies)


def check_studies(folders: Sequence[Path], *, baselines: Sequence[Path] = ()) -> None:
    """What `read_studies` says of folders, without reading their records.

    Raises:
        StudyError: See there; one line for each mistake.
    """
    every = (*folders, *baselines)
    mistakes = list(_repeated(every))
    for folder in every:
        try:
            check_records_there(folder)
            check_plugins(folder)
            load_config(folder / SEARCH_YAML)
        except SpachNasError as problem:
            mistakes.append(str(problem))
    if mistakes:
        raise StudyError("\n".join(dict.fromkeys(mistakes)))


def check_objectives(studies: Sequence[ComparedStudy]) -> None:
    """Whether all lie in one space of objectives.

    Raises:
        StudyError: One optimises something else than the first.
    """
    for study in studies[1:]:
        if set(study.objectives) != set(studies[0].objectives):
            first, other = (
                ", ".join(f"{item.name} ({item.direction})" for item in one.objectives)
                for one in (studies[0], study)
            )
            raise StudyError(
                f"{study.label}: optimises {other}, and {studies[0].label} {first}; expected the "
                "same objectives, since fronts in different ones have no order"
            )


def group_studies(studies: Sequence[ComparedStudy]) -> tuple[StudyGroup, ...]:
    """Studies whose settings equal but for seed and name, together; in the order given."""
    members: dict[tuple[bool, frozenset[tuple[str, str]]], list[ComparedStudy]] = {}
    for study in studies:
        settings = {name: text for name, text in study.settings.items() if name not in SEEDS}
        members.setdefault((study.baseline, frozenset(settings.items())), []).append(study)
    groups: list[StudyGroup] = []
    for found in members.values():
        # A group is known by its label: it must not be that of another, nor of a single study.
        taken = [group.label for group in groups]
        own = [study.label for study in found]
        taken += [study.label for study in studies if study.label not in own]
        groups.append(StudyGroup(label=_group_label(found, taken), studies=tuple(found)))
    return tuple(groups)


def folder_labels(folders: Sequence[Path]) -> tuple[str, ...]:
    """The folders' names, with as many of their parents as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    labels = [part[-1:] for part in parts]
    for depth in range(2, max(map(len, parts), default=0) + 1):
        repeated = {label for label in labels if labels.count(label) > 1}
        labels = [
            part[-depth:] if label in repeated else label
            for part, label in zip(parts, labels, strict=True)
        ]
    # A name on a disk need not be text.
    return tuple(os.fsencode("/".join(one)).decode("utf-8", "replace") for one in labels)


def short(label: str) -> str:
    """For a legend: the ends of a long label."""
    half = _LONGEST_LABEL // 2 - 1
    return label if len(label) <= _LONGEST_LABEL else f"{label[:half]}...{label[-half:]}"


def _read(folder: Path, *, label: str) -> ComparedStudy:
    check_plugins(folder)
    records = study_records(folder)
    config, images = load_config(folder / SEARCH_YAML), folder / DATA_JSON
    return ComparedStudy(
        label=label,
        records=records,
        objectives=config.objective_list,
        limits=config.limits,
        corners=study_corners(config, classes=class_count(folder)),
        settings=dict(_flat(to_jsonable_python(config), path="")),
        images=images.read_text(encoding="utf-8", errors="replace") if images.is_file() else "",
    )


def _repeated(folders: Sequence[Path]) -> Iterator[str]:
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            yield f"{folder}: is given {places.count(place)} times; expected different studies"


def _group_label(studies: Sequence[ComparedStudy], taken: Sequence[str]) -> str:
    labels = [study.label for study in studies]
    if len(labels) == 1:
        return labels[0]
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*labels, strict=False))
    shared = "".join(letters[0] for letters in alike).rstrip("0123456789")
    shared = _SEED_ENDING.sub("", shared)
    return shared if shared and shared not in taken else f"{labels[0]} and others"


def _flat(value: Any, *, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _flat(item, path=f"{path}.{name}".removeprefix("."))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for place, item in enumerate(value):
            yield from _flat(item, path=f"{path}[{place}]")
    else:
        yield path, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return "none" if value in (None, {}) else str(value)
