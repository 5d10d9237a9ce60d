"""Checks a search before it begins; nothing is written, and Ray is not imported.

Quick checks come first, and Optuna and torch are imported after them: a mistake in the YAML is told
at once.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from spach_nas.config.sampler_registry import sampler_names
from spach_nas.config.search_yaml import (
    SearchConfig,
    load_config,
    parse_config,
    source_files,
    target_shape,
    to_yaml,
)
from spach_nas.config.shipped import find_yaml
from spach_nas.config.study_files import SEARCH_YAML
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits, ProxyLimits
from spach_nas.data import (
    DataSplits,
    data_shape,
    load_train_and_validation,
    validate_settings,
)
from spach_nas.data.images import few_scored
from spach_nas.data.preprocessing import Preprocessing, preprocessing
from spach_nas.errors import (
    ArchitectureError,
    ConfigError,
    DataError,
    LatencyError,
    SearchSpaceError,
    StudyError,
)
from spach_nas.feasible import FeasibleSet
from spach_nas.latency.latency_table import read_table as read_latency_table
from spach_nas.search.kept_networks import read_networks
from spach_nas.search.loggers import check_packages
from spach_nas.space.mixers import plugin_mixers
from spach_nas.space.references import reference_target
from spach_nas.space.scaling import DataShape, scale
from spach_nas.space.search_space import SearchSpace
from spach_nas.study.audit_rows import audit_doubts
from spach_nas.study.folder import check_new
from spach_nas.study.resume_checks import check_begun_alike, check_warm_start
from spach_nas.validation import read_document

if TYPE_CHECKING:
    from spach_nas.latency import PredictedLatency

# A search YAML, the name of a shipped one, what such a file holds, or what it means.
SearchSource: TypeAlias = str | Path | Mapping[str, Any] | SearchConfig
# The place in messages about a search that is in no file.
_IN_PYTHON = "search"
# This many architectures almost surely contain every mixer of a space.
_TRIED = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A search that was checked and has not begun.

    Attributes:
        path: Of the search YAML; `search` where there is none.
        texts: The YAML files that a study keeps, by name.
        config: What they say.
        feasible: The architectures inside the limits.
        latency: Of the targets; None where it is neither objective nor limit.
        splits: The images, by the image size of the rungs.
        kept: Trained networks that the study keeps, by file name: the one from which it begins, and
            the teacher of its candidates.
    """

    path: Path
    texts: Mapping[str, str]
    config: SearchConfig
    feasible: FeasibleSet
    splits: Mapping[tuple[int, int], DataSplits]
    latency: "PredictedLatency | None" = None
    kept: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def images(self) -> DataSplits:
        """The images of the full fidelity."""
        return self.splits[self.config.fidelity.image_size]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the images."""
        images, part = self.images, self.images.held_out
        notes = []
        # Not for a share that the file names, nor for a set that is always split in this way.
        if part is not None and self.config.data.validation is None and self.config.data.root:
            notes.append(f"validation images: held out of the train split, {part}")
        few = few_scored(len(images.validation))
        return (*notes, *([] if few is None else [few]), *images.notes)

    @property
    def targets(self) -> str:
        """Channels and classes of the targets, and where they come from."""
        return self.config.space.describe_targets(self.preprocessing.data_shape)

    @property
    def preprocessing(self) -> Preprocessing:
        """Of the images of the full fidelity."""
        return preprocessing(self.images)


def study_path(config: SearchConfig, out: str | Path | None) -> Path:
    """The folder of a study: `out`, or `results/STUDY` here."""
    return Path(out) if out is not None else Path("results") / config.study


def plan_search(
    source: SearchSource,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    say: Callable[[str], None] | None = None,
    doing: Callable[[str], None] = lambda _: None,
    begins: bool = True,
    images: Mapping[tuple[int, int], DataSplits] | None = None,
) -> Plan:
    """Check everything that can be checked before anything is trained.

    Where latency is an objective or a limit and no table of it is named, one is measured.

    Args:
        source: A search YAML, the name of a shipped one, a mapping of its keys, or a
            `SearchConfig`.
        out: Folder of the study; None: `results/STUDY` here.
        resume: Continue the study in that folder, with its table of latencies.
        say: Gets a line to show before and after anything that takes long.
        doing: Told what is being done, in a few words.
        begins: Whether the search will begin or continue in that folder.
        images: Those of the same data that an earlier plan has read, by size.

    Raises:
        SpachNasError: A mistake in the YAML, limits that nothing meets, missing data, GPUs that are
            not there, a folder that exists or holds another study, or a mixer that does not work.
    """
    path, config, texts = _read(source)
    begun = begins and _check_folder(config, study_path(config, out), resume=resume)
    with _naming(path):
        validate_settings(config.data)
        check_packages(config.callbacks, key="callbacks")
        warm = None if begun else config.search.warm_start
        if warm is not None:
            check_warm_start(warm, config)
        folder = study_path(config, out) if resume else None
        _check_sampler_options(config)
        shape = data_shape(config.data)
        # A study keeps the targets that it began with.
        config = config.for_data((folder and target_shape(folder)) or shape)
        if config.timm_models and not begun:
            doing("checking the models of timm")
            _check_timm(config)
        latency = _latency(config, folder, say=say)
        _check_references(config, latency)
        doing("counting what is inside the limits")
        feasible = _feasible(config, shape, latency=latency)
        doing("loading PyTorch")
        _check_devices(config)
        from spach_nas.samplers.factories import check_sampler

        check_sampler(config.search, feasible=feasible, objectives=config.objective_list)
        from spach_nas.evaluators.interface import check_evaluators

        check_evaluators(config)
        kept = read_networks(config, folder=folder, feasible=feasible, data=shape)
        doubts = (folder and audit_doubts(config, folder)) or audit_doubts(config, path)
        doing(f"reading the images of {config.data.name}")
        read = images or {}
        splits = {
            size: read.get(size) or load_train_and_validation(config.data, image_size=size)
            for size in dict.fromkeys(fidelity.image_size for fidelity in config.fidelities)
        }
        plan = Plan(
            path=path,
            texts=texts,
            config=config,
            feasible=feasible,
            splits=splits,
            latency=latency,
            kept=kept,
        )
        if warm is not None:
            check_warm_start(warm, config, images=plan.preprocessing)
    _check_mixers(plan)
    if say is not None:
        for note in plan.notes:
            say(f"data: {note}")
        for doubt in doubts:
            say(f"evaluator: {doubt}")
        if config.resources.address == "local":
            from spach_nas.training import format_warning

            warning = format_warning(config.training.precision, device=config.training.device)
            if warning is not None:
                say(f"training.{warning}")
    return plan


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceSource:
    """A space within limits, and the search that it belongs to.

    Attributes:
        path: Of the YAML.
        name: Of the study, or of the space.
        feasible: The architectures inside the limits.
        plan: The search with its images; None where they were not asked for, or there is none.
    """

    path: Path
    name: str
    feasible: FeasibleSet
    plan: Plan | None = None


def read_space_source(
    source: str | Path,
    *,
    images: bool,
    say: Callable[[str], None] | None = None,
    doing: Callable[[str], None] = lambda _: None,
) -> SpaceSource:
    """Read a search YAML, or a bare search space, which has no limits and no proxies.

    Args:
        source: A file, or the name of a shipped one.
        images: Whether to load the images of a search.
        say: Gets a line to show before and after anything that takes long.
        doing: Told what is being done, in a few words.

    Raises:
        SpachNasError: A mistake in the file, limits that nothing meets, or missing data.
    """
    path = find_yaml(str(source), folder=Path.cwd(), error=ConfigError)
    document = read_document(path, error=ConfigError)
    plain = document.data
    if isinstance(plain, dict) and "stages" in plain and "space" not in plain:
        space = SearchSpace.from_dict(plain, where=document)
        return SpaceSource(path=path, name=path.stem, feasible=FeasibleSet(space, Limits()))
    if images:
        plan = plan_search(source, say=say, doing=doing, begins=False)
        return SpaceSource(path=path, name=plan.config.study, feasible=plan.feasible, plan=plan)
    config = load_config(path)
    doing("counting what is inside the limits")
    with _naming(path):
        shape = data_shape(config.data)
        config = config.for_data(shape)
        feasible = _feasible(config, shape, latency=_latency(config, None, say=say))
    return SpaceSource(path=path, name=config.study, feasible=feasible)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say of each mistake in which file it is."""
    try:
        yield
    except (ConfigError, DataError, LatencyError, SearchSpaceError, StudyError) as problem:
        lines = [f"{path}: {line}" for line in str(problem).split("\n")]
        raise type(problem)("\n".join(lines)) from None


def _feasible(
    config: SearchConfig, shape: DataShape, *, latency: "PredictedLatency | None"
) -> FeasibleSet:
    proxy = ProxyLimits(limits=config.proxy_limits, rule=config.proxy, data=shape)
    return FeasibleSet(config.space, config.limits, latency=latency, proxy=proxy)


def _read(source: SearchSource) -> tuple[Path, SearchConfig, Mapping[str, str]]:
    if isinstance(source, str | Path):
        path = find_yaml(str(source), folder=Path.cwd(), error=ConfigError)
        return path, load_config(path), source_files(path)
    if isinstance(source, Mapping):
        config = parse_config(dict(source), where=_IN_PYTHON, folder=Path.cwd())
    elif isinstance(source, SearchConfig):
        config = source
    else:
        raise ConfigError(
            f"{source!r}: is no search; expected a search YAML, the name of a shipped one, a "
            "mapping of its keys, or a SearchConfig"
        )
    return Path(_IN_PYTHON), config, {SEARCH_YAML: to_yaml(config)}


def _check_devices(config: SearchConfig) -> None:
    """Whether this machine has what a trial takes; a cluster is asked when it is joined."""
    resources = config.resources
    if resources.address != "local" or resources.gpus_per_trial in ("auto", 0):
        return
    from spach_nas.training.device import gpu_count

    there = gpu_count()
    if float(resources.gpus_per_trial) > there:
        raise ConfigError(
            f"resources.gpus_per_trial: {resources.gpus_per_trial:g}; this machine has "
            f"{there or 'none'} for torch; expected auto, or 0 to train on CPUs"
        )


def _check_folder(config: SearchConfig, folder: Path, *, resume: bool) -> bool:
    """Whether the search has begun in its folder.

    Raises:
        StudyError: It can neither begin nor continue there.
    """
    if resume and folder.exists():
        shape = target_shape(folder)
        check_begun_alike(folder, config if shape is None else config.for_data(shape))
        return True
    check_new(folder)
    return False


def _check_mixers(plan: Plan) -> None:
    """Try the networks of mixers that others wrote, on the proxy that costs least to run."""
    own = plugin_mixers(plan.config.mixers)
    if not own:
        return
    from spach_nas.networks.mixer_modules import check_mixers

    shape = plan.preprocessing.data_shape
    proxies = [scale(item, plan.config.proxy, shape) for item in plan.feasible.samples(_TRIED, 0)]
    check_mixers(sorted(proxies, key=lambda item: cost(item).macs), own)


def _check_sampler_options(config: SearchConfig) -> None:
    if not config.search.sampler_options and config.search.sampler in sampler_names():
        return
    from spach_nas.samplers.factories import check_options

    check_options(config.search, space=config.space, objectives=config.objective_list)


def _latency(
    config: SearchConfig, folder: Path | None, *, say: Callable[[str], None] | None
) -> "PredictedLatency | None":
    if not config.wants_latency:
        return None
    if config.latency.table is not None:
        read_latency_table(config.latency.table)
    from spach_nas.latency import search_latency

    return search_latency(config, folder=folder, say=say)


def _check_timm(config: SearchConfig) -> None:
    """Whether timm can build its models for the input of the targets."""
    from spach_nas.networks.timm_networks import check_timm

    mistakes = []
    for model in config.timm_models:
        try:
            check_timm(model)
        except ArchitectureError as problem:
            mistakes.append(f"references: {problem}")
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def _check_references(config: SearchConfig, latency: "PredictedLatency | None") -> None:
    """Whether the references are as fast as the limit says; their cost is checked with the YAML."""
    mistakes = []
    if latency is None:
        return
    for name in config.paper_models:
        target = reference_target(name, config.space.shape)
        broken = config.limits.violations(cost(target), latency_ns=latency.of(target))
        if broken:
            mistakes.append(
                f"references: {name}: {', '.join(broken)}; expected a model inside the limits, "
                "since nothing above them is trained"
            )
    if mistakes:
        raise ConfigError("\n".join(mistakes))
