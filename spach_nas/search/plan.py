"""A search before it begins: everything that can be checked, checked; free of Ray.

What is quick comes first, and what needs Optuna or torch is imported after it: a mistake in the
YAML is told at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from spach_nas.cost.limits import ProxyLimits
from spach_nas.data import (
    DataSplits,
    data_shape,
    load_train_and_validation,
    validate_settings,
)
from spach_nas.data.images import few_scored
from spach_nas.data.preprocessing import Preprocessing, preprocessing
from spach_nas.errors import ConfigError, DataError, LatencyError, SearchSpaceError, StudyError
from spach_nas.feasible import FeasibleSet
from spach_nas.latency.table_file import read_table as read_latency_table
from spach_nas.search.ray.logger_choice import check_callbacks
from spach_nas.space.mixers import plugin_mixers
from spach_nas.space.references import reference_target
from spach_nas.space.scaling import scale
from spach_nas.study.folder import check_new
from spach_nas.study.resume import check_begun_alike, check_warm_start

if TYPE_CHECKING:
    from spach_nas.latency import PredictedLatency

# A search YAML, the name of a shipped one, what such a file holds, or what it means.
SearchSource: TypeAlias = str | Path | Mapping[str, Any] | SearchConfig
# Names in messages what stands in no file.
_IN_PYTHON = "search"
# So many architectures hold every mixer of a space at least once, all but surely.
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
    """

    path: Path
    texts: Mapping[str, str]
    config: SearchConfig
    feasible: FeasibleSet
    splits: Mapping[tuple[int, int], DataSplits]
    latency: "PredictedLatency | None" = None

    @property
    def images(self) -> DataSplits:
        """Those of the full fidelity."""
        return self.splits[self.config.fidelity.image_size]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the images."""
        images, part = self.images, self.images.held_out
        notes = []
        # A share that the file says, or a set that always goes so, is no news.
        if part is not None and self.config.data.validation is None and self.config.data.root:
            notes.append(f"validation images: held out of the train split, {part}")
        few = few_scored(len(images.validation))
        return (*notes, *([] if few is None else [few]), *images.notes)

    @property
    def targets(self) -> str:
        """Channels and classes of the targets, and whose they are."""
        return self.config.space.describe_targets(self.preprocessing.data_shape)

    @property
    def preprocessing(self) -> Preprocessing:
        """What the images of the full fidelity go through."""
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
) -> Plan:
    """Check everything that can be checked before anything is trained.

    Where latency is an objective or a limit and no table of it is named, one is measured.

    Args:
        source: A search YAML, the name of a shipped one, a mapping of its keys, or a
            `SearchConfig`.
        out: Folder of the study; None: `results/STUDY` here.
        resume: Go on with the study in that folder, and so with its table of latencies.
        say: Gets a line for the eye before and after anything that takes long.
        doing: Told what goes on, in a few words.
        begins: Whether the search is to begin or go on in that folder; else it is only looked at.

    Raises:
        SpachNasError: A mistake in the YAML, limits that nothing meets, missing data, GPUs that are
            not there, a folder that exists or holds another study, or a mixer that does not work.
    """
    path, config, texts = _read(source)
    begun = begins and _check_folder(config, study_path(config, out), resume=resume)
    try:
        validate_settings(config.data)
        check_callbacks(config)
        warm = None if begun else config.search.warm_start
        if warm is not None:
            check_warm_start(warm, config)
        folder = study_path(config, out) if resume else None
        _check_sampler_options(config)
        shape = data_shape(config.data)
        # A study goes on with the targets that it began with.
        config = config.for_data((folder and target_shape(folder)) or shape)
        latency = _latency(config, folder, say=say)
        _check_references(config, latency)
        doing("counting what is inside the limits")
        feasible = FeasibleSet(
            config.space,
            config.limits,
            latency=latency,
            proxy=ProxyLimits(limits=config.proxy_limits, rule=config.proxy, data=shape),
        )
        doing("loading PyTorch")
        _check_devices(config)
        from spach_nas.samplers.sampler_check import check_sampler

        check_sampler(config.search, feasible=feasible, objectives=config.objective_list)
        doing(f"reading the images of {config.data.name}")
        splits = {
            size: load_train_and_validation(config.data, image_size=size)
            for size in dict.fromkeys(fidelity.image_size for fidelity in config.fidelities)
        }
        plan = Plan(
            path=path, texts=texts, config=config, feasible=feasible, splits=splits, latency=latency
        )
        if warm is not None:
            check_warm_start(warm, config, images=plan.preprocessing)
    except (ConfigError, DataError, LatencyError, SearchSpaceError, StudyError) as problem:
        lines = [f"{path}: {line}" for line in str(problem).split("\n")]
        raise type(problem)("\n".join(lines)) from None
    _check_mixers(plan)
    if say is not None:
        for note in plan.notes:
            say(f"data: {note}")
        if config.resources.address == "local":
            from spach_nas.training import format_warning

            warning = format_warning(config.training.precision, device=config.training.device)
            if warning is not None:
                say(f"training.{warning}")
    return plan


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
        StudyError: It may neither begin nor go on there.
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
    from spach_nas.networks.mixer_check import check_mixers

    shape = plan.preprocessing.data_shape
    proxies = [scale(item, plan.config.proxy, shape) for item in plan.feasible.samples(_TRIED, 0)]
    check_mixers(sorted(proxies, key=lambda item: cost(item).macs), own)


def _check_sampler_options(config: SearchConfig) -> None:
    if not config.search.sampler_options and config.search.sampler in sampler_names():
        return
    from spach_nas.samplers.sampler_check import check_options

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


def _check_references(config: SearchConfig, latency: "PredictedLatency | None") -> None:
    """Whether the references are as fast as the limit says; their cost is checked with the YAML."""
    mistakes = []
    if latency is None:
        return
    for name in config.references:
        target = reference_target(name, config.space.shape)
        broken = config.limits.violations(cost(target), latency_ns=latency.of(target))
        if broken:
            mistakes.append(
                f"references: {name}: {', '.join(broken)}; expected a model inside the limits, "
                "since nothing above them is trained"
            )
    if mistakes:
        raise ConfigError("\n".join(mistakes))
