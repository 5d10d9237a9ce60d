"""What the settings of studies differ in, and whether their scores may stand beside each other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from spach_nas.report.comparison_study import ComparedStudy, StudyGroup
from spach_nas.report.theme import TIMES
from spach_nas.study.pareto import comparable

# Parts of the YAML that make a score what it is ...
_PROTOCOL = ("data.", "proxy.", "training.")
# ... but for these. Where images lie says little: what they are is compared by itself.
_APART = ("data.root", "data.download", "training.seed", "training.compile", "training.device")
_MOST_NAMED = 5
_IMAGES, _EFFORT, _VERSION, _MACHINE = "images", "compared after", "version", "machine"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
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
    """Everything that a score depends on besides the network and the seed.

    Rungs below the full fidelity are a part of it only where they train on other images or at
    another size: stopping in between and going on changes nothing.
    """
    levels = {name: text for name, text in study.settings.items() if name.startswith("rungs.lev")}
    own = any(
        text != "none"
        for name, text in levels.items()
        if name.endswith((".data_share", ".image_size"))
    )
    settings = {
        name: text
        for name, text in study.settings.items()
        if name.startswith(_PROTOCOL) and name not in _APART
    }
    found = settings | (levels if own else {})
    if study.images:
        found[_IMAGES] = study.images
    usable = comparable(study.records)
    if usable:
        effort = usable[0].fidelity
        height, width = effort.image_size
        share = f"{effort.data_share:g}"
        found[_EFFORT] = f"{effort.epochs} epochs, share {share}, {height}{TIMES}{width}"
    return found


def differences(groups: Sequence[StudyGroup]) -> tuple[Difference, ...]:
    """All settings that are not the same in all studies, those of the protocol first."""
    studies = [study for group in groups for study in group.studies]
    apart = protocol_differences(studies)
    facts = {study.label: _facts(study) for study in studies}
    names = dict.fromkeys(name for one in facts.values() for name in one)
    found = []
    for name in names:
        if len(_known(name, facts.values())) > 1:
            values = tuple(_joined(group, name, facts) for group in groups)
            found.append(Difference(name=name, values=values, protocol=name in apart))
    return tuple(sorted(found, key=lambda item: not item.protocol))


def protocol_differences(studies: Sequence[ComparedStudy]) -> tuple[str, ...]:
    """Names of what scores depend on and is not the same; empty ones have no scores."""
    protocols = [protocol(study) for study in studies if study.usable]
    names = dict.fromkeys(name for one in protocols for name in one)
    return tuple(name for name in names if len(_known(name, protocols)) > 1)


def _known(name: str, facts: Iterable[Mapping[str, str]]) -> set[str | None]:
    """The values of a setting; what is not known of a study differs from nothing."""
    values = {one.get(name) for one in facts}
    return values - {None} if name in (_IMAGES, _EFFORT, _VERSION, _MACHINE) else values


def cautions(groups: Sequence[StudyGroup]) -> Iterator[str]:
    """What a reader has to know before reading a picture, a sentence or two each."""
    studies = [study for group in groups for study in group.studies]
    apart = protocol_differences(studies)
    if apart:
        named = ", ".join(apart[:_MOST_NAMED])
        more = f" and {len(apart) - _MOST_NAMED} more" if len(apart) > _MOST_NAMED else ""
        yield (
            f"These studies were not trained by one protocol: {named}{more} differ. Their scores "
            "are not comparable: who lies above whom in the pictures says nothing about the "
            "searches."
        )
    if len({study.limits for study in studies}) > 1:
        yield (
            "The limits differ: each front is that of its own limits, and a search with wider ones "
            "can dominate more."
        )
    for study in studies:
        if not study.usable:
            yield f"{study.label}: {_nothing(study)}; it is left out of pictures and intervals."
    for group in groups:
        yield from _same_seeds(group)


def _nothing(study: ComparedStudy) -> str:
    if not study.found:
        return "no trial is done yet"
    if all(record.state == "failed" for record in study.found):
        return f"all {len({record.trial for record in study.found})} trials failed"
    if comparable(study.found, limits=study.limits):
        return "no complete trial has a finite score"
    return "no trial is complete within the limits"


def _same_seeds(group: StudyGroup) -> Iterator[str]:
    """Repetitions that are none."""
    by_seed: dict[tuple[str, ...], list[str]] = {}
    for study in group.studies:
        seeds = tuple(study.settings.get(name, "") for name in ("search.seed", "training.seed"))
        by_seed.setdefault(seeds, []).append(study.label)
    for seeds, labels in by_seed.items():
        if len(labels) > 1 and seeds[0]:
            yield (
                f"{', '.join(labels)}: differ in nothing, not even in the seed ({seeds[0]}); as "
                "repetitions of one another they make every interval too narrow."
            )


def _facts(study: ComparedStudy) -> dict[str, str]:
    found = {name: text for name, text in study.settings.items() if name != "study"}
    extra = {
        _IMAGES: _digest(study, _IMAGES),
        _EFFORT: _digest(study, _EFFORT),
        _VERSION: ", ".join(sorted({record.version for record in study.records})),
        _MACHINE: "; ".join(sorted({record.machine for record in study.records})),
    }
    return found | {name: text for name, text in extra.items() if text}


def _digest(study: ComparedStudy, name: str) -> str:
    text = protocol(study).get(name, "")
    # Means, deviations and names of classes: the first few say which images they are.
    return " ".join(text.split())[:80]


def _joined(group: StudyGroup, name: str, facts: Mapping[str, Mapping[str, str]]) -> str:
    values = [facts[study.label].get(name, "\N{EN DASH}") for study in group.studies]
    return ", ".join(dict.fromkeys(values))
