"""A whole search: from the YAML to a folder with records, report and the best network."""

from collections.abc import Callable
from pathlib import Path

from spach_nas import pareto
from spach_nas.config import SEARCH_YAML, load_config, source_files
from spach_nas.data import load_test
from spach_nas.data.preprocessing import write_preprocessing
from spach_nas.engine.ray_runner import ray_session, run_study
from spach_nas.engine.study import Study
from spach_nas.errors import DataError
from spach_nas.evaluators import ProxyEvaluator
from spach_nas.export import Choice, choose, export, load_weights
from spach_nas.mixers import plugin_mixers
from spach_nas.networks import build
from spach_nas.plan import Plan, plan_search
from spach_nas.records import Record, read_records
from spach_nas.report.study import write_study_report
from spach_nas.study_folder import (
    BEST,
    DATA_JSON,
    checkpoint_path,
    create_folder,
    plugin_texts,
    remove_if_empty,
)
from spach_nas.training import choose_runtime, move, score_images

Listener = Callable[[Study, Record | None], None]


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
    return run_plan(plan_search(source), out=out, listener=listener)


def run_plan(
    plan: Plan, *, out: str | Path | None = None, listener: Listener | None = None
) -> Study:
    """Run a search that was planned; see `search`."""
    config, tell = plan.config, listener or _ignore
    folder = Path(out) if out is not None else Path("results") / config.study
    mixers = plugin_mixers(config.mixers)
    create_folder(folder, texts=source_files(plan.path) | plugin_texts(mixers))
    try:
        write_preprocessing(folder / DATA_JSON, plan.preprocessing)
        with ray_session(config.resources, mixers):
            study = Study(
                config,
                folder=folder,
                data=plan.preprocessing.data_shape,
                feasible=plan.feasible,
            )
            tell(study, None)
            run_study(
                study,
                ProxyEvaluator(settings=config.training, threads=config.resources.cpus_per_trial),
                data=plan.splits,
                on_record=lambda record: tell(study, record),
                mixers=mixers,
            )
            study.close()
    finally:
        remove_if_empty(folder)
    finish(folder)
    return study


def finish(folder: Path) -> None:
    """Write the report and export the best network of a study."""
    write_study_report(folder)
    # A trial that shares the score of another, long dominated one is left without weights.
    best = pareto.best(
        [
            record
            for record in read_records(folder)
            if checkpoint_path(folder, record.proxy_id).is_file()
        ]
    )
    if best is not None:
        choice = choose(folder, pick=str(best.trial))
        export(choice, out=folder / BEST, test_accuracy=_test_accuracy(folder, choice))


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
        normalisation=choice.preprocessing.normalisation,
        runtime=runtime,
    )
    return scores["accuracy"]


def _ignore(study: Study, record: Record | None) -> None:
    """No listener."""
