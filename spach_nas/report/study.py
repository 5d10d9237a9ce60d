"""The report of a study folder."""

from pathlib import Path

from spach_nas.config import SEARCH_YAML, load_config
from spach_nas.errors import StudyError
from spach_nas.records import read_records
from spach_nas.report.page import write_report
from spach_nas.report.summary import StudyFacts
from spach_nas.study_folder import check_plugins


def write_study_report(folder: Path) -> Path:
    """Build `report.html` from the records of a study.

    Raises:
        PluginError: A mixer of the study is not known here.
        StudyError: The folder is no study.
        ConfigError: Its search YAML was damaged.
    """
    facts = study_facts(folder)
    return write_report(folder, records=read_records(folder), facts=facts)


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
    config = load_config(path)
    return StudyFacts(
        name=config.study,
        objectives=config.objective_list,
        limits=config.limits,
        seed=config.search.seed,
        settings=path.read_text(encoding="utf-8"),
        command=f"spach-nas search {path} --out NEW_FOLDER",
    )
