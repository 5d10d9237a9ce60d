"""The report of a study folder; mistakes in one are reported before Plotly is imported."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.config.study_files import AUDIT_CSV, DATA_JSON, SEARCH_YAML, SPACE_YAML
from spach_nas.config.training_settings import DataSettings
from spach_nas.cost.limits import Limits, ProxyLimits
from spach_nas.data.held_out import split_validation
from spach_nas.data.preprocessing import read_preprocessing
from spach_nas.errors import StudyError
from spach_nas.files import room_needed
from spach_nas.latency.front_latency import read_front_latency
from spach_nas.paths import command_line
from spach_nas.report.view import StudyFacts
from spach_nas.space.scaling import DataShape
from spach_nas.study.audit_rows import audit_doubts, read_audit
from spach_nas.study.ending import ending
from spach_nas.study.folder import check_plugins, class_count, kept_checkpoints
from spach_nas.study.hypervolume import study_corners
from spach_nas.study.intervals import with_images
from spach_nas.study.records import Record, read_records
from spach_nas.study.timm_figures import read_timm_table

# Classes of sets that are known, and the images of each in the train split.
_BALANCED = {
    "fashion-mini": (10, 800),
    "fashion-mnist": (10, 6000),
    "torch/cifar10": (10, 5000),
    "torch/cifar100": (100, 500),
}


def write_study_report(folder: Path) -> Path:
    """Build `report.html` from the records of a study.

    Raises:
        PluginError: A mixer of the study is not known here.
        StudyError: The folder is no study or cannot be written.
        ConfigError: Its search YAML was damaged.
    """
    facts, records = study_facts(folder), study_records(folder)
    from spach_nas.report.page import write_report

    with room_needed(folder):
        return write_report(folder, records=records, facts=facts)


def write_study_pictures(folder: Path, *, kind: str) -> tuple[Path, ...]:
    """Draw a study for print, into its folder; see `write_pictures`.

    Raises:
        SpachNasError: As those of `write_study_report` and of `write_pictures`.
    """
    facts, records = study_facts(folder), study_records(folder)
    from spach_nas.report.print_figures import write_pictures

    with room_needed(folder):
        return write_pictures(folder, kind=kind, records=records, facts=facts)


def study_records(folder: Path) -> tuple[Record, ...]:
    """The records of a study; older ones learn how many images scored them, where that is known.

    Raises:
        StudyError: The folder is no study, or a line is damaged.
        ConfigError: Its search YAML was damaged.
    """
    records = read_records(folder)
    if all(record.validation_images for record in records if record.state == "complete"):
        return records
    return with_images(records, validation_images(load_config(folder / SEARCH_YAML).data))


def validation_images(settings: DataSettings) -> int | None:
    """Images that score candidates, where that is known without reading any; else None."""
    if settings.name not in _BALANCED or settings.validation is None:
        return None
    classes, images = _BALANCED[settings.name]
    labels = np.repeat(np.arange(classes), images)
    return len(split_validation(labels, settings.validation, seed=0)[1])


def study_facts(folder: Path) -> StudyFacts:
    """What a report says about a study besides its records.

    Raises:
        PluginError: A mixer of the study is not known here.
        StudyError: The folder is no study.
        ConfigError: Its search YAML was damaged.
    """
    check_plugins(folder)
    path = folder / SEARCH_YAML
    if not path.is_file():
        raise StudyError(f"{folder}: holds no {SEARCH_YAML}; expected the folder of a study")
    config, space = load_config(path), folder / SPACE_YAML
    return StudyFacts(
        name=config.study,
        objectives=config.objective_list,
        limits=config.limits,
        corners=study_corners(config, classes=class_count(folder)),
        seed=config.search.seed,
        sampler=config.search.sampler,
        startup_trials=config.search.startup_trials,
        kept=frozenset(kept_checkpoints(folder)),
        settings=path.read_text(encoding="utf-8"),
        space=space.read_text(encoding="utf-8") if space.is_file() else "",
        command=command_line("search", path, "--out", "NEW_FOLDER"),
        search_space=config.space,
        proxy_limits=_proxy_limits(config, folder),
        ending=_ending(folder),
        audit=read_audit(folder / AUDIT_CSV),
        timm=read_timm_table(folder),
        front_latency=read_front_latency(folder),
        doubts=audit_doubts(config, folder),
    )


def _ending(folder: Path) -> tuple[str, ...]:
    """Why the search ended early, and how to continue; reading the records reports damage."""
    with suppress(StudyError):
        found = ending(folder)
        return (found.outcome, found.advice) if found.cut else ()
    return ()


def _proxy_limits(config: SearchConfig, folder: Path) -> ProxyLimits | None:
    """None where there are none, or where the study does not say what its images are."""
    if config.proxy_limits == Limits():
        return None
    try:
        images = read_preprocessing(folder / DATA_JSON)
    except StudyError:
        return None
    shape = DataShape(in_channels=len(images.mean), num_classes=len(images.class_names))
    return ProxyLimits(limits=config.proxy_limits, rule=config.proxy, data=shape)
