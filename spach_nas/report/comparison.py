"""Several studies side by side: which repeat one another with other seeds, and what differs.

Mistakes are reported before Plotly is imported.
"""

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import to_jsonable_python

from spach_nas.config.evaluator_registry import TRAIN
from spach_nas.config.objectives import USUAL, Objective
from spach_nas.config.search_yaml import load_config
from spach_nas.config.study_files import DATA_JSON, SEARCH_YAML
from spach_nas.cost.limits import Limits
from spach_nas.errors import SpachNasError, StudyError
from spach_nas.report.study import study_records
from spach_nas.report.theme import TIMES
from spach_nas.report.view import StudyFacts, StudyView, Trained, study_view
from spach_nas.study.folder import check_plugins, class_count
from spach_nas.study.hypervolume import Corners, study_corners
from spach_nas.study.pareto import comparable, value
from spach_nas.study.records import Record
from spach_nas.study.timm_figures import TimmFigures, read_timm_table

# What the seeds of one group may differ in.
_SEEDS = ("study", "search.seed", "training.seed")
# `nsga2-s` of `nsga2-s0` and `nsga2-s1`.
_SEED_ENDING = re.compile(r"\d*[-_. /]*(s|seed)?[-_. /]*$")
# Parts of the YAML on which scores depend, and exceptions. Where images are stored says little:
# the images themselves are compared.
_PROTOCOL = ("data.", "proxy.", "training.")
_RUNG_PROTOCOL = re.compile(r"rungs\.lev.*\.(data_share|image_size)")
_APART = ("data.root", "data.download", "training.seed", "training.compile", "training.device")
_IMAGES, _EFFORT, _VERSION, _MACHINE = "images", "compared after", "version", "machine"
_LONGEST_LABEL, _LONGEST_IMAGES = 40, 80


@dataclass(frozen=True, kw_only=True)
class ComparedStudy:
    """One study, or one seed of several.

    Attributes:
        label: Its name in pictures and tables.
        settings: Everything its YAML says, defaults too, by path: `search.trials`.
        images: How its images were prepared, as text; empty: not known.
        timm: The models of timm among its references.
        baseline: Whether the others are measured against it.
    """

    label: str
    records: tuple[Record, ...]
    objectives: tuple[Objective, ...] = USUAL
    limits: Limits = field(default_factory=Limits)
    corners: Corners = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    images: str = ""
    timm: tuple[TimmFigures, ...] = ()
    baseline: bool = False

    @cached_property
    def view(self) -> StudyView:
        """What the search itself proposed: the paper's models are no merit of it."""
        facts = StudyFacts(
            name=self.label, objectives=self.objectives, limits=self.limits, timm=self.timm
        )
        return study_view([one for one in self.records if one.reference is None], facts)

    @cached_property
    def compared(self) -> tuple[Trained, ...]:
        """Complete, of the highest rung, inside the limits, finite in each objective."""
        return tuple(
            one
            for one in self.view.within
            if all(value(one.record, item) is not None for item in self.objectives)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyGroup:
    """Studies that differ only in their seeds; at least one, in the order given."""

    label: str
    studies: tuple[ComparedStudy, ...]

    @property
    def baseline(self) -> bool:
        """Whether the other groups are measured against it."""
        return self.studies[0].baseline

    @property
    def words(self) -> str:
        """The label, shortened, with the number of seeds where there are several."""
        number = len(self.studies)
        return f"{short(self.label)} ({number} seeds)" if number > 1 else short(self.label)

    @property
    def repeated(self) -> dict[str, list[str]]:
        """Seeds that several of the studies have, with their labels: these repeat nothing."""
        by_seed: dict[tuple[str, ...], list[str]] = {}
        for study in self.studies:
            seeds = tuple(study.settings.get(name, "") for name in _SEEDS[1:])
            by_seed.setdefault(seeds, []).append(study.label)
        several = {seeds[0]: labels for seeds, labels in by_seed.items() if len(labels) > 1}
        return {seed: labels for seed, labels in several.items() if seed}


def read_studies(
    folders: Sequence[Path], *, baselines: Sequence[Path] = ()
) -> tuple[ComparedStudy, ...]:
    """The studies in folders, those of the baseline last.

    Raises:
        StudyError: Fewer than two, one given twice, a folder that is no study or is damaged, or
            objectives that differ; one line for each mistake.
    """
    every = (*folders, *baselines)
    places = [folder.resolve() for folder in every]
    mistakes = [
        f"{folder}: is given {places.count(place)} times; expected different studies"
        for folder, place in zip(every, places, strict=True)
        if places.count(place) > 1
    ]
    if len(every) < 2:
        mistakes.append(f"{every[0] if every else 'no study'}: expected at least two to compare")
    studies = []
    for folder, label in zip(every, folder_labels(every), strict=True):
        try:
            studies.append(_read(folder, label=label, baseline=folder in baselines))
        except SpachNasError as problem:
            mistakes.append(str(problem))
    if mistakes:
        raise StudyError("\n".join(dict.fromkeys(mistakes)))
    check_objectives(studies)
    return tuple(studies)


def _read(folder: Path, *, label: str, baseline: bool) -> ComparedStudy:
    check_plugins(folder)
    records = study_records(folder)
    config, images = load_config(folder / SEARCH_YAML), folder / DATA_JSON
    return ComparedStudy(
        label=label,
        records=records,
        objectives=config.objective_list,
        limits=config.limits,
        corners=study_corners(config, classes=class_count(folder)),
        settings=dict(_flat(to_jsonable_python(config))),
        images=images.read_text(encoding="utf-8", errors="replace") if images.is_file() else "",
        timm=read_timm_table(folder),
        baseline=baseline,
    )


def _flat(given: Any, *, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(given, dict) and given:
        for name, item in given.items():
            yield from _flat(item, path=f"{path}.{name}".removeprefix("."))
    elif isinstance(given, list) and any(isinstance(item, dict) for item in given):
        for place, item in enumerate(given):
            yield from _flat(item, path=f"{path}[{place}]")
    else:
        yield path, _text(given)


def _text(given: Any) -> str:
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, int):
        return f"{given:,}"
    if isinstance(given, list):
        return ", ".join(map(_text, given)) or "none"
    return "none" if given in (None, {}) else str(given)


def check_objectives(studies: Sequence[ComparedStudy]) -> None:
    """Whether all have the same objectives.

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
    """The two ends of a long label."""
    half = _LONGEST_LABEL // 2 - 1
    return label if len(label) <= _LONGEST_LABEL else f"{label[:half]}...{label[-half:]}"


def group_studies(studies: Sequence[ComparedStudy]) -> tuple[StudyGroup, ...]:
    """Studies that have the same settings but for seed and name, together; in the order given."""
    members: dict[tuple[bool, frozenset[tuple[str, str]]], list[ComparedStudy]] = {}
    for study in studies:
        settings = {name: text for name, text in study.settings.items() if name not in _SEEDS}
        members.setdefault((study.baseline, frozenset(settings.items())), []).append(study)
    groups: list[StudyGroup] = []
    for found in members.values():
        # A group is known by its label, which must be neither another group's nor a study's.
        own = [study.label for study in found]
        taken = [group.label for group in groups]
        taken += [study.label for study in studies if study.label not in own]
        groups.append(StudyGroup(label=_group_label(own, taken), studies=tuple(found)))
    return tuple(groups)


def _group_label(labels: Sequence[str], taken: Sequence[str]) -> str:
    if len(labels) == 1:
        return labels[0]
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*labels, strict=False))
    shared = _SEED_ENDING.sub("", "".join(letters[0] for letters in alike))
    return shared if shared and shared not in taken else f"{labels[0]} and others"


class Difference(NamedTuple):
    """A setting that is not the same everywhere.

    Attributes:
        name: Its path in the YAML, such as `search.sampler`; or `machine`, `version`.
        values: Of each group in their order; those of a group's studies joined by commas.
        protocol: Whether scores depend on it, so that they cannot be compared.
    """

    name: str
    values: tuple[str, ...]
    protocol: bool


def protocol(study: ComparedStudy) -> dict[str, str]:
    """Everything that a score depends on besides the network and the seed."""
    facts = _facts(study)
    # Rungs count only where they train on other images or another size: a pause changes nothing.
    rungs = [name for name in facts if _RUNG_PROTOCOL.fullmatch(name) and facts[name] != "none"]
    parts = (*_PROTOCOL, "rungs.lev") if rungs else _PROTOCOL
    return {
        name: text
        for name, text in facts.items()
        if (name.startswith(parts) and name not in _APART) or name in (_IMAGES, _EFFORT)
    }


def _facts(study: ComparedStudy) -> dict[str, str]:
    """What a study was run with, by name; what is not known of it is left out."""
    facts = {name: text for name, text in study.settings.items() if name != "study"}
    first = next(iter(comparable(study.records)), None)
    if first is not None:
        effort = first.fidelity
        by = "" if first.evaluator == TRAIN.recorded_as else f", by {first.evaluator}"
        height, width = effort.image_size
        share = f"{effort.data_share:g}"
        facts[_EFFORT] = f"{effort.epochs} epochs, share {share}, {height}{TIMES}{width}{by}"
    more = {
        _IMAGES: " ".join(study.images.split()),
        _VERSION: ", ".join(sorted({record.version for record in study.records})),
        _MACHINE: "; ".join(sorted({record.machine for record in study.records})),
    }
    return facts | {name: text for name, text in more.items() if text}


def _differing(facts: Sequence[Mapping[str, str]]) -> list[str]:
    """Names whose values differ; what is not known of a study does not differ."""
    found = []
    for name in dict.fromkeys(name for one in facts for name in one):
        values = {one.get(name) for one in facts}
        if name in (_IMAGES, _EFFORT, _VERSION, _MACHINE):
            values.discard(None)
        found += [name] if len(values) > 1 else []
    return found


def protocol_differences(studies: Sequence[ComparedStudy]) -> tuple[str, ...]:
    """Names of what scores depend on and differs between studies that have scores."""
    return tuple(_differing([protocol(study) for study in studies if study.compared]))


def differences(groups: Sequence[StudyGroup]) -> tuple[Difference, ...]:
    """All settings that are not the same in all studies, those of the protocol first."""
    studies = [study for group in groups for study in group.studies]
    apart = protocol_differences(studies)
    facts = {study.label: _facts(study) for study in studies}
    found = []
    for name in _differing(list(facts.values())):
        values = (
            dict.fromkeys(facts[study.label].get(name, "\N{EN DASH}") for study in group.studies)
            for group in groups
        )
        # Of images, the first means, deviations and names of classes say which they are.
        most = _LONGEST_IMAGES if name == _IMAGES else None
        words = tuple(", ".join(text[:most] for text in some) for some in values)
        found.append(Difference(name, words, protocol=name in apart))
    return tuple(sorted(found, key=lambda item: not item.protocol))


def left_out(study: ComparedStudy) -> str:
    """Why a study cannot be compared."""
    found = study.view.records
    if not found:
        return "no trial is done yet"
    if all(record.state == "failed" for record in found):
        return f"all {len(study.view.last)} trials failed"
    if comparable(found, limits=study.limits):
        return "no complete trial has a finite score"
    return "no trial is complete within the limits"
