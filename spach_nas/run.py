"""A whole search: from the YAML to a folder with records, report and the best network."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from spach_nas.config import SEARCH_YAML, SearchConfig, load_config, source_files
from spach_nas.data import (
    DataSplits,
    Normalisation,
    load_test,
    load_train_and_validation,
    validate_settings,
)
from spach_nas.engine.study import Study
from spach_nas.errors import ConfigError, DataError, SearchSpaceError, StudyError
from spach_nas.evaluators import ProxyEvaluator
from spach_nas.export import Choice, Preprocessing, Scale, choose, load_weights, write_bundle
from spach_nas.export.card import card
from spach_nas.feasible import FeasibleSet
from spach_nas.networks import build
from spach_nas.records import Record, read_records
from spach_nas.report import StudyFacts, write_report
from spach_nas.scaling import DataShape
from spach_nas.shipped import find_yaml
from spach_nas.study_folder import (
    BEST,
    DATA_JSON,
    create_folder,
    remove_if_empty,
)
from spach_nas.training import choose_runtime, move, score_images

Listener = Callable[[Study, Record | None], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A search that was checked and has not begun.

    Attributes:
        path: Of the search YAML.
        config: What it says.
        feasible: The architectures inside the limits.
        splits: The images.
    """

    path: Path
    config: SearchConfig
    feasible: FeasibleSet
    splits: DataSplits

    @property
    def data(self) -> DataShape:
        """Channels and classes of the images."""
        return preprocessing(self.splits).data_shape


def plan_search(source: str | Path) -> Plan:
    """Check everything that can be checked before anything is trained.

    Args:
        source: A search YAML, or the name of a shipped one.

    Raises:
        SpachNasError: A mistake in the YAML, limits that nothing meets, or missing data.
    """
    path = find_yaml(str(source), folder=Path.cwd(), error=ConfigError)
    config = load_config(path)
    try:
        validate_settings(config.data)
        feasible = FeasibleSet(config.space, config.limits)
        splits = load_train_and_validation(config.data, image_size=config.fidelity.image_size)
    except (DataError, SearchSpaceError) as problem:
        raise type(problem)(f"{path}: {problem}") from None
    return Plan(path=path, config=config, feasible=feasible, splits=splits)


def search(
    source: str | Path, *, out: str | Path | None = None, listener: Listener | None = None
) -> Study:
    """Run a search to the end of its budget.

    Args:
        source: A search YAML, or the name of a shipped one.
        out: Folder of the study, which must not exist; None: `results/STUDY` here.
        listener: Called with the study when it begins, and with every new record.

    Returns:
        The finished study; its folder holds records, report and the best network.

    Raises:
        SpachNasError: A mistake in the YAML, limits that nothing meets, missing data, a folder
            that exists, or a Ray cluster that cannot be reached.
    """
    plan = plan_search(source)
    return run_plan(plan, out=out, listener=listener)


def run_plan(
    plan: Plan, *, out: str | Path | None = None, listener: Listener | None = None
) -> Study:
    """Run a search that was planned; see `search`."""
    # Ray takes a second to import, and reads the environment when it is.
    from spach_nas.engine.ray_runner import ray_session, run

    config, tell = plan.config, listener or _ignore
    folder = Path(out) if out is not None else Path("results") / config.study
    create_folder(folder, texts=source_files(plan.path))
    try:
        text = json.dumps(asdict(preprocessing(plan.splits)), indent=2)
        (folder / DATA_JSON).write_text(text + "\n", encoding="utf-8")
        evaluator = ProxyEvaluator(
            settings=config.training, threads=config.resources.cpus_per_trial
        )
        with ray_session(config.resources):
            study = Study(config, folder=folder, data=plan.data, feasible=plan.feasible)
            tell(study, None)
            run(
                study,
                evaluator,
                data=plan.splits,
                resources=config.resources,
                on_record=lambda record: tell(study, record),
            )
        study.close()
    finally:
        remove_if_empty(folder)
    finish(folder)
    return study


def finish(folder: Path) -> None:
    """Write the report and export the best network of a study."""
    write_study_report(folder)
    if any(record.state == "complete" for record in read_records(folder)):
        choice = choose(folder)
        _write(choice, out=folder / BEST, test_accuracy=_test_accuracy(folder, choice))


def write_study_report(folder: Path) -> Path:
    """Build `report.html` from the records of a study.

    Raises:
        StudyError: The folder is no study.
        ConfigError: Its search YAML was damaged.
    """
    return write_report(folder, records=read_records(folder), facts=study_facts(folder))


def study_facts(folder: Path) -> StudyFacts:
    """What a report says about a study besides its records.

    Raises:
        StudyError: The folder is no study.
        ConfigError: Its search YAML was damaged.
    """
    path = folder / SEARCH_YAML
    if not path.is_file():
        raise StudyError(f"{folder}: holds no {SEARCH_YAML}; expected the folder of a study")
    config = load_config(path)
    return StudyFacts(
        name=config.study,
        objectives=config.objective_list,
        limits=asdict(config.limits),
        seed=config.search.seed,
        settings=path.read_text(encoding="utf-8"),
        command=f"spach-nas search {path} --out NEW_FOLDER",
    )


def export(
    source: str | Path, *, out: str | Path, pick: str = "best", scale_to: Scale | None = None
) -> Path:
    """Write a bundle; see `choose` for the arguments and `write_bundle` for its files.

    Raises:
        SpachNasError: There is no such source or trial, or the folder exists already.
    """
    return _write(choose(source, pick=pick, scale_to=scale_to), out=Path(out))


def preprocessing(splits: DataSplits) -> Preprocessing:
    """How the images of a search are prepared."""
    return Preprocessing(
        mean=splits.normalisation.mean,
        std=splits.normalisation.std,
        class_names=splits.train.class_names,
    )


def _write(choice: Choice, *, out: Path, test_accuracy: float | None = None) -> Path:
    return write_bundle(
        out,
        architecture=choice.architecture,
        card=card(choice, test_accuracy=test_accuracy),
        weights=choice.weights,
        preprocessing=choice.preprocessing,
    )


def _test_accuracy(folder: Path, choice: Choice) -> float | None:
    """The final figure, on images that no choice has seen; None where there is no test split."""
    config = load_config(folder / SEARCH_YAML)
    assert choice.weights is not None and choice.preprocessing is not None, "a trained proxy"
    try:
        images = load_test(config.data, image_size=choice.architecture.image_size)
    except DataError:
        return None
    network = build(choice.architecture)
    load_weights(network, choice.weights, where=str(folder))
    runtime = choose_runtime(device=config.training.device, precision=config.training.precision)
    scores = score_images(
        move(network, runtime),
        images,
        normalisation=Normalisation(mean=choice.preprocessing.mean, std=choice.preprocessing.std),
        runtime=runtime,
    )
    return scores["accuracy"]


def _ignore(study: Study, record: Record | None) -> None:
    """No listener."""
