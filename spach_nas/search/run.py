"""A whole search: from the YAML to a folder with records, report and the best network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from spach_nas.config.search_yaml import SearchConfig
from spach_nas.config.study_files import DATA_JSON, LATENCY_JSON, PREPARED, SEARCH_YAML, TIMM_CSV
from spach_nas.data import has_test, load_test
from spach_nas.data.preprocessing import to_json
from spach_nas.errors import DataError, StudyError
from spach_nas.evaluators.heartbeat import hearing
from spach_nas.evaluators.interface import (
    evaluator_modules,
    make_evaluator,
    prepare_evaluators,
)
from spach_nas.export import Choice, choose, export, load_weights
from spach_nas.files import locked, replace_text, room_needed
from spach_nas.latency.measuring import measure_front
from spach_nas.networks import build
from spach_nas.networks.timm_networks import timm_cost
from spach_nas.report.study import write_study_report
from spach_nas.search.kept_networks import keep_networks
from spach_nas.search.loggers import Logger, Loggers, named_loggers
from spach_nas.search.placement import placed
from spach_nas.search.plan import Plan, SearchSource, plan_search, study_path
from spach_nas.search.ray.runner import ray_session, run_study, stop_on_signals
from spach_nas.search.ray.session import driver_host
from spach_nas.space.mixers import MixerSpec, plugin_mixers
from spach_nas.space.timm_reference import published
from spach_nas.study import pareto
from spach_nas.study.driver import StudyDriver
from spach_nas.study.folder import (
    BEST,
    checkpoint_path,
    copy_checkpoints,
    create_folder,
    holds_prepared,
    plugin_texts,
    remove_if_empty,
)
from spach_nas.study.journal import Foreseen
from spach_nas.study.records import Record, read_records
from spach_nas.study.results import Study
from spach_nas.study.resume_checks import check_resumable, warm_records
from spach_nas.study.timm_figures import TimmFigures, timm_table
from spach_nas.training import choose_runtime, move, score_images
from spach_nas.training.device import free_memory

Listener = Callable[[StudyDriver, Record | None], None]


def search(
    source: SearchSource,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    listener: Listener | None = None,
    loggers: Mapping[str, Callable[[], Logger]] | None = None,
) -> Study:
    """Run a search to the end of its budget.

    Args:
        source: A search YAML, the name of a shipped one, a mapping of its keys, or a
            `SearchConfig`.
        out: Folder of the study; None: `results/STUDY` here. Without `resume` it must not exist.
        resume: Continue the study in that folder, wherever it was stopped or killed; where there
            is none yet, begin it. `trials` and `max_duration` may have grown.
        listener: Called with the study when it begins, and with every new record.
        loggers: What makes loggers of your own, by name, next to the `callbacks` of the YAML.

    Returns:
        The finished study; its folder holds records, report and the best network.

    Raises:
        SpachNasError: A mistake in the YAML, limits that nothing meets, missing data, a folder
            that exists or holds another study, a Ray cluster that cannot be reached, or a
            `max_duration` that is over before the first trial begins.
    """
    plan = plan_search(source, out=out, resume=resume)
    return run_plan(plan, out=out, resume=resume, listener=listener, loggers=loggers)


def run_plan(
    plan: Plan,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    listener: Listener | None = None,
    loggers: Mapping[str, Callable[[], Logger]] | None = None,
    foreseen: Foreseen | None = None,
    doing: Callable[[str], None] = lambda _: None,
) -> StudyDriver:
    """Run a search that was planned; see `search`.

    Args:
        plan: The search.
        out: Folder of the study.
        resume: Continue the study in that folder.
        listener: Called with the study when it begins, and with every new record.
        loggers: What makes loggers of your own, by name.
        foreseen: Its estimate, for the live view.
        doing: Told what is done before and after the trainings, in a few words.
    """
    config, tell = plan.config, listener or _ignore
    folder = study_path(config, out)
    mixers = plugin_mixers(config.mixers)
    with ExitStack() as stack:
        stack.enter_context(room_needed(folder))
        prepare_folder(plan, folder, resume=resume)
        stack.callback(remove_if_empty, folder)
        stack.enter_context(locked(folder))
        makers = named_loggers(config.callbacks) | dict(loggers or {})
        logged = Loggers(makers, study=config.study, folder=folder)
        known = read_records(folder)
        study = StudyDriver(
            config,
            folder=folder,
            data=plan.preprocessing.data_shape,
            feasible=plan.feasible,
            records=known,
            latency=plan.latency,
        )
        stack.callback(study.close)
        study.begin(foreseen)

        def on_record(record: Record) -> None:
            logged.record(record)
            tell(study, record)

        tell(study, None)
        if not study.spent:  # a killed search may have ended but for its report
            doing("starting Ray")
            shared = sum(splits.size for splits in plan.splits.values())
            with (
                ray_session(
                    config.resources,
                    mixers,
                    evaluators=evaluator_modules(config),
                    shared_bytes=shared,
                ),
                closing(logged),
                hearing(study.hear, host=driver_host(config.resources)) as pulses,
            ):
                _prepare(study, plan, mixers=mixers, doing=doing)
                # Candidates need it, and this process lives until the search ends.
                free_memory()
                if not (study.stopped or study.spent):
                    doing("starting workers")
                    run_study(
                        study,
                        make_evaluator(config, folder=folder, pulses=pulses),
                        data=plan.splits,
                        on_record=on_record,
                        mixers=mixers,
                    )
        study.conclude()
        if any(record.origin is None for record in study.records):
            if plan.latency is not None and not study.stopped:  # who stops it does not want to wait
                targets = [record.architecture for record in study.front()]
                measure_front(folder, targets, plan.latency.table, doing=doing)
            doing("writing the report and the best network")
            finish(study)
            study.end()
        elif not study.stopped:
            raise StudyError(_too_short(plan, folder))
    return study


def _prepare(
    study: StudyDriver, plan: Plan, *, mixers: Sequence[MixerSpec], doing: Callable[[str], None]
) -> None:
    """Make what candidates share, such as a supernet, and the first proposals, or go on with it."""
    config = plan.config
    placing = config.init is not None and config.init.placement > 0
    if not placing and not any(choice.spec.prepare for choice in config.evaluators):
        return
    # Ray Train takes a second to import.
    from spach_nas.search.ray.worker_group import run_on_workers

    with stop_on_signals(study):
        seconds = 0.0
        if placing:
            encodings, seconds = placed(
                config,
                folder=study.folder,
                feasible=plan.feasible,
                data=plan.preprocessing.data_shape,
                splits=plan.images,
                tell=doing,
                stopped=lambda: study.stopped or study.spent,
            )
            study.propose_first(encodings)
        seconds += prepare_evaluators(
            plan.config,
            folder=study.folder,
            data=plan.splits,
            tell=doing,
            stopped=lambda: study.stopped or study.spent,
            on_workers=partial(run_on_workers, resources=config.trial_resources, mixers=mixers),
        )
    study.prepared(seconds)


def _too_short(plan: Plan, folder: Path) -> str:
    limit = plan.config.search.max_duration
    if holds_prepared(folder):
        return (
            f"{plan.path}: search.max_duration: {limit:g} s were over while the trials were "
            f"prepared; expected more: raise it, and --resume goes on with {folder / PREPARED}"
        )
    return (
        f"{plan.path}: search.max_duration: {limit:g} s were over before the first trial began; "
        "expected time for Ray to start and for some trials; nothing was trained, nothing is kept"
    )


def prepare_folder(plan: Plan, folder: Path, *, resume: bool = False) -> None:
    """Make the folder of a search, or check that it can continue in the existing one.

    Raises:
        StudyError: The folder exists, or its study cannot be continued by this search.
    """
    config, texts = plan.config, dict(plan.texts)
    if resume and folder.exists():
        check_resumable(folder, config, plan.preprocessing)
        read_records(folder)  # damaged ones are told before anything is changed
        with locked(folder):
            replace_text(folder / SEARCH_YAML, texts[SEARCH_YAML])
        return
    warm: tuple[Record, ...] = ()
    source = config.search.warm_start
    if source is not None:
        warm = warm_records(source, config, plan.feasible, images=plan.preprocessing)
    texts |= plugin_texts(config) | {DATA_JSON: to_json(plan.preprocessing)}
    if plan.latency is not None:
        texts[LATENCY_JSON] = plan.latency.table.to_json()
    if config.timm_models:
        texts[TIMM_CSV] = timm_table(_timm_figures(plan))
    create_folder(folder, texts=texts, records=warm)
    keep_networks(folder, plan.kept)
    if source is not None:
        copy_checkpoints(source, folder, warm)


def _timm_figures(plan: Plan) -> Iterator[TimmFigures]:
    times = {} if plan.latency is None else plan.latency.table.timm
    for model in plan.config.timm_models:
        cost, time, known = timm_cost(model), times.get(str(model)), published(model.name)
        yield TimmFigures(
            name=model.label,
            image_size=model.image_size[0],
            params=cost.params,
            macs=cost.macs,
            activations=cost.activations,
            latency=None if time is None else time.median_ms,
            top1=None if known is None else known.top1,
            top1_size=None if known is None else known.image_size,
            top1_model="" if known is None else known.model,
        )


def finish(study: Study) -> None:
    """Write the report and export the best network of a study.

    Raises:
        DataError: The test images cannot be read; report and network are written all the same.
    """
    folder, config = study.folder, study.config
    write_study_report(folder)
    # A trial that shares the score of another, long dominated one has no weights.
    kept = [record for record in study.records if checkpoint_path(folder, record).is_file()]
    best = pareto.best(kept, config.objective_list, limits=config.limits)
    if best is not None:
        choice = choose(folder, pick=str(best.trial))
        accuracy, problem = None, None
        try:
            accuracy = _test_accuracy(choice, config)
        except DataError as found:
            problem = found
        with TemporaryDirectory(dir=folder, prefix=".best-") as temporary:
            new = export(choice, out=Path(temporary) / BEST, test_accuracy=accuracy)
            if (folder / BEST).exists():
                (folder / BEST).rename(Path(temporary) / "old")
            new.rename(folder / BEST)
        if problem is not None:
            raise DataError(
                f"{problem}\n{folder}: report and best network are written, the accuracy on the "
                "test images is missing; expected images that can be read, and --resume"
            )


def _test_accuracy(choice: Choice, config: SearchConfig) -> float | None:
    """The final figure, on images that no choice has seen; None where there is no test split.

    Raises:
        DataError: They cannot be read.
    """
    assert choice.weights is not None and choice.preprocessing is not None, "a trained proxy"
    if not has_test(config.data):
        return None
    images = load_test(config.data, image_size=choice.architecture.image_size)
    network = build(choice.architecture)
    load_weights(network, choice.weights, where=config.study)
    runtime = choose_runtime(device=config.training.device, precision=config.training.precision)
    scores = score_images(
        move(network, runtime),
        images,
        normalisation=choice.preprocessing.normalisation,
        runtime=runtime,
    )
    return scores["accuracy"]


def _ignore(study: StudyDriver, record: Record | None) -> None:
    """No listener."""
