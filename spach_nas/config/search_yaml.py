"""The search YAML: one file that says everything about a search."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationInfo

from spach_nas.config.evaluation import Fidelity
from spach_nas.config.evaluator_registry import (
    EFFORTS,
    EVALUATORS,
    TRAIN,
    EvaluatorChoice,
    WrittenEvaluator,
)
from spach_nas.config.logger_registry import LoggerName
from spach_nas.config.objectives import LATENCY, OBJECTIVES, USUAL, Direction, Objective
from spach_nas.config.search_settings import (
    OFFICIAL,
    LatencySettings,
    Resources,
    Rungs,
    SearchSettings,
    WrittenInitial,
)
from spach_nas.config.shipped import find_yaml
from spach_nas.config.study_files import (
    AUDIT_CSV,
    DATA_JSON,
    RECORDS_FILE,
    SEARCH_YAML,
    SPACE_YAML,
)
from spach_nas.config.training_settings import DataSettings, TrainingSettings
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.errors import (
    ArchitectureError,
    ConfigError,
    SearchSpaceError,
    did_you_mean,
    one_of,
)
from spach_nas.space.choices import one_of_names
from spach_nas.space.references import REFERENCES, get_reference, reference_target
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.timm_reference import TIMM, TimmModel, is_timm, timm_name
from spach_nas.validation import Document, Settings, Written, read_document, read_yaml, validate

_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _read_space(value: Any, info: ValidationInfo) -> Any:
    """A path or a shipped name becomes the space that the file holds; a mapping is one."""
    if not isinstance(value, str):
        return value
    return SearchSpace.from_yaml(_find_space(value, (info.context or {})["folder"]))


def _find_space(name: str, folder: Path) -> Path:
    # A study keeps a copy of the space as it was searched; elsewhere the name is what counts.
    kept = folder / SPACE_YAML
    if kept.is_file() and (folder / RECORDS_FILE).is_file():
        return kept
    return find_yaml(name, folder=folder, error=SearchSpaceError)


def _check_study_name(value: str) -> str:
    if not _STUDY_NAME.fullmatch(value):
        raise ValueError(
            f"{value!r}; expected letters, digits, '.', '_' and '-': it names a folder"
        )
    return value


def _check_objectives(value: Mapping[str, Direction]) -> Mapping[str, Direction]:
    mistakes = []
    for name, direction in value.items():
        try:
            expected = OBJECTIVES.find(name).direction
        except ConfigError as problem:
            mistakes.append(str(problem))
            continue
        if direction != expected:
            mistakes.append(f"{name}: {direction}; expected {expected}")
    if not mistakes and not any(OBJECTIVES[name].source == "score" for name in value):
        mistakes.append(f"{list(value)}; expected one that is trained for, such as accuracy: max")
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return value


def _objectives_schema() -> dict[str, Any]:
    scores = [item.name for item in OBJECTIVES.values() if item.source == "score"]
    return {
        "title": f"mapping with {one_of(scores)}",
        "type": "object",
        "properties": {
            item.name: {"const": item.direction, "description": f"{item.label}."}
            for item in OBJECTIVES.values()
        },
        "anyOf": [{"required": [name]} for name in scores],
        "additionalProperties": False,
    }


def _reference_schema() -> dict[str, Any]:
    paper = one_of_names(tuple(REFERENCES))
    return {"anyOf": [paper, {"type": "string", "pattern": f"^{TIMM}[a-z0-9_]+"}]}


def _check_references(value: tuple[str, ...]) -> tuple[str, ...]:
    mistakes = []
    for name in dict.fromkeys(value):
        try:
            timm_name(name) if is_timm(name) else get_reference(name)
        except ArchitectureError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return tuple(dict.fromkeys(value))


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig(Settings):
    """Everything about a search."""

    study: Annotated[
        str,
        AfterValidator(_check_study_name),
        Field(
            json_schema_extra={
                "title": "letters, digits, `.`, `_` and `-`",
                "pattern": f"^{_STUDY_NAME.pattern}$",
            }
        ),
    ]
    """Name of the study and of its folder."""
    space: Annotated[SearchSpace, BeforeValidator(_read_space)]
    limits: Limits = field(default_factory=Limits)
    """Bounds on the cost of the target."""
    proxy_limits: Limits = field(default_factory=Limits)
    """Bounds on the cost of the network that is trained."""
    objectives: Annotated[
        Mapping[str, Direction], AfterValidator(_check_objectives), Written(_objectives_schema)
    ] = field(default_factory=lambda: {item.name: item.direction for item in USUAL})
    """What is optimised, with its direction."""
    data: DataSettings
    proxy: ProxyRule = field(default_factory=ProxyRule)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluator: WrittenEvaluator = field(default_factory=lambda: EvaluatorChoice(name=TRAIN.name))
    """What scores candidates, by its name or as a mapping of `name` and options. `train` trains
    each from new weights."""
    init: WrittenInitial | None = None
    """A trained network from which candidates of the evaluator `inherit` begin, and around which a
    placement search looks first: a folder, or a mapping."""
    rungs: Rungs = field(default_factory=Rungs)
    search: SearchSettings
    latency: LatencySettings = field(default_factory=LatencySettings)
    references: Annotated[
        tuple[Annotated[str, Written(_reference_schema)], ...],
        AfterValidator(_check_references),
        Field(json_schema_extra={"title": "list of the paper's models, and of timm's"}),
    ] = ()
    """The paper's models to evaluate by the same protocol; and models of timm as `timm/NAME`, of
    which the report shows cost, latency and published accuracy at the size of the targets."""
    resources: Resources = field(default_factory=Resources)
    callbacks: tuple[LoggerName, ...] = ()
    """Loggers that get every record: `tensorboard`, `mlflow`, `wandb`, or one of a plugin."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        fidelities = self.fidelities
        proxies = [self.proxy_at(rung) for rung in range(len(fidelities))]
        mistakes = [
            *_proxy_mistakes(self.proxy, self.space, fidelities=fidelities),
            *_objective_mistakes(self.objective_list, self.evaluator),
            *_level_mistakes(self),
            *_initial_mistakes(self),
            *_rung_mistakes(self),
            *_reference_mistakes(
                self.paper_models, self.space, limits=self.limits, proxies=proxies
            ),
        ]
        if self.proxy_limits.max_latency is not None:
            mistakes.append(
                "proxy_limits.max_latency: only targets have a latency; expected it under limits"
            )
        if mistakes:
            raise ConfigError("\n".join(mistakes))

    @property
    def objective_list(self) -> tuple[Objective, ...]:
        """The objectives, in the order of the file."""
        return tuple(OBJECTIVES[name] for name in self.objectives)

    @property
    def paper_models(self) -> tuple[str, ...]:
        """Those of the references that are trained by the same protocol."""
        return tuple(name for name in self.references if not is_timm(name))

    @property
    def timm_models(self) -> tuple[TimmModel, ...]:
        """Those of the references that timm builds, with the input and the classes of targets."""
        shape, side = self.space.shape, max(self.space.image_size)
        return tuple(
            TimmModel(
                name=timm_name(name),
                image_size=(side, side),
                in_channels=shape.in_channels,
                num_classes=shape.num_classes,
            )
            for name in self.references
            if is_timm(name)
        )

    @property
    def trial_resources(self) -> Resources:
        """`resources`, in which `auto` is no GPU where trainings run on another device."""
        if self.training.device in ("auto", "cuda") or self.resources.gpus_per_trial != "auto":
            return self.resources
        return replace(self.resources, gpus_per_trial=0)

    @property
    def wants_latency(self) -> bool:
        """Whether targets need a predicted latency."""
        return LATENCY.name in self.objectives or self.limits.max_latency is not None

    @property
    def mixers(self) -> tuple[str, ...]:
        """Names of all mixers that a candidate may have."""
        return tuple(
            dict.fromkeys(name for stage in self.space.stages for name in stage.mixers.names)
        )

    @property
    def fidelities(self) -> tuple[Fidelity, ...]:
        """The rungs, cheapest first; the last one is the full fidelity."""
        size, share = self.image_size, self.training.data_share
        below = [
            Fidelity(
                epochs=level.epochs or 0,
                image_size=level.image_size or size,
                data_share=level.data_share or share,
                rung=rung,
            )
            for rung, level in enumerate(self.rungs.levels)
        ]
        epochs = self.training.epochs if self.evaluator.spec.trains else 0
        top = Fidelity(epochs=epochs, image_size=size, data_share=share, rung=len(below))
        return (*below, top)

    @property
    def fidelity(self) -> Fidelity:
        """The effort behind every final score."""
        return self.fidelities[-1]

    @property
    def evaluators(self) -> tuple[EvaluatorChoice, ...]:
        """What scores candidates at each rung, cheapest first."""
        return (*(level.evaluator or self.evaluator for level in self.rungs.levels), self.evaluator)

    def stand_ins(self, rung: int) -> dict[str, Objective]:
        """By the name of each objective, what stands for it at a rung: itself, if it is known."""
        scores = self.evaluators[rung].spec.scores
        return {
            item.name: OBJECTIVES[scores[0]]
            if item.source == "score" and item.name not in scores
            else item
            for item in self.objective_list
        }

    @property
    def training_seed(self) -> int:
        """The seed of every training."""
        return self.search.seed if self.training.seed is None else self.training.seed

    @property
    def protocol(self) -> dict[str, object]:
        """By name, what the scores of a full training depend on besides chance."""
        training = replace(self.training, seed=None)
        return {
            "data": self.data,
            "proxy": self.proxy,
            "training": training,
            "evaluator": self.evaluator,
            "init": self.init if self.evaluator.spec.inherits else None,
        }

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the proxy's input at the full fidelity."""
        return self.proxy.image_size or (self.space.image_size[0],) * 2

    def for_data(self, data: DataShape) -> "SearchConfig":
        """The same with the targets' channels and classes, where the space leaves them to the data.

        Raises:
            ConfigError: With them, a reference breaks a limit.
        """
        return replace(self, space=self.space.for_data(data)) if self.space.is_open else self

    def course(self, rung: int) -> tuple[Fidelity, ...]:
        """The rungs that train one network on and on, among them this one.

        A rung of another image size trains another network and begins afresh, as does one of
        another evaluator.
        """
        fidelities, evaluators = self.fidelities, self.evaluators

        def goes_on(other: int) -> bool:
            alike = fidelities[other].image_size == fidelities[rung].image_size
            return alike and evaluators[other] == evaluators[rung] and evaluators[rung].spec.trains

        first = last = rung
        while first and goes_on(first - 1):
            first -= 1
        while last + 1 < len(fidelities) and goes_on(last + 1):
            last += 1
        return fidelities[first : last + 1]

    def proxy_at(self, rung: int) -> ProxyRule:
        """How a target becomes the network that is trained at a rung."""
        return replace(self.proxy, image_size=self.fidelities[rung].image_size)


def load_config(path: str | Path) -> SearchConfig:
    """Read and check a search YAML.

    In the folder of a study, targets have the channels and classes that the study began with;
    elsewhere a space may leave them open, until `SearchConfig.for_data`.

    Raises:
        ConfigError: One line `file: key.path: what; expected` for each mistake.
    """
    document = read_document(path, error=ConfigError)
    folder = Path(path).resolve().parent
    config = parse_config(document.data, where=document, folder=folder)
    shape = target_shape(folder) if config.space.is_open else None
    return config if shape is None else config.for_data(shape)


def parse_config(data: Any, *, where: str | Document, folder: Path) -> SearchConfig:
    """Check the plain data of a search YAML.

    Args:
        data: What the file holds.
        where: The file, or what names the data in messages.
        folder: What the path of a space is relative to.

    Raises:
        ConfigError: One line `where: key.path: what; expected` for each mistake.
    """
    return validate(_adapter(), data, where=where, error=ConfigError, context={"folder": folder})


def to_yaml(config: SearchConfig) -> str:
    """A search YAML that says the same, its space in place."""
    plain = _adapter().dump_python(config, mode="json", exclude_none=True)
    if "max_latency" in plain["limits"]:
        plain["limits"]["max_latency"] = f"{plain['limits']['max_latency']}ns"
    return yaml.safe_dump(plain, sort_keys=False, default_flow_style=None)


def target_shape(folder: Path) -> DataShape | None:
    """Channels and classes that the targets of a study have; None where it does not tell.

    Its records say so; before there are any, its images do.
    """
    damage = (OSError, ValueError, KeyError, TypeError)
    with suppress(*damage), (folder / RECORDS_FILE).open(encoding="utf-8") as lines:
        for line in lines:
            target = json.loads(line)["architecture"]
            return DataShape(
                in_channels=int(target["in_channels"]), num_classes=int(target["num_classes"])
            )
    with suppress(*damage):
        images = json.loads((folder / DATA_JSON).read_text(encoding="utf-8"))
        return DataShape(in_channels=len(images["mean"]), num_classes=len(images["class_names"]))
    return None


def source_files(path: Path) -> dict[str, str]:
    """The texts of a search YAML, of its search space and of an audit next to it.

    By the names that a study gives them.

    Raises:
        ConfigError: The search YAML is missing or is no YAML.
        SearchSpaceError: Its space is missing.
    """
    texts = {SEARCH_YAML: path.read_text(encoding="utf-8")}
    space = read_yaml(path, error=ConfigError)["space"]
    if isinstance(space, str):
        file = _find_space(space, path.resolve().parent)
        texts[SPACE_YAML] = file.read_text(encoding="utf-8")
    audit = path.with_name(AUDIT_CSV)
    if audit.is_file():
        texts[AUDIT_CSV] = audit.read_text(encoding="utf-8", errors="replace")
    return texts


@cache
def _adapter() -> TypeAdapter[SearchConfig]:
    return TypeAdapter(SearchConfig)


def _proxy_mistakes(
    rule: ProxyRule, space: SearchSpace, *, fidelities: Sequence[Fidelity]
) -> list[str]:
    """A proxy must be as buildable as its target; widths follow the heads by the rule itself."""
    if rule.image_size is None and len(space.image_size) > 1:
        return ["proxy.image_size: is missing; expected one, since the space has several"]
    sizes = [side for rung in fidelities for side in rung.image_size]
    patches = (rule.patch_size,) if rule.patch_size else space.patch_size
    mistakes: list[str] = []
    for side in dict.fromkeys(sizes):
        try:
            replace(space, image_size=(side,), patch_size=patches)
        except SearchSpaceError as error:
            for line in str(error).split("\n"):
                own = line.startswith(("image_size", "patch_size"))
                mistakes.append(f"proxy.{line}" if own else f"proxy: {line}")
    return mistakes


def _objective_mistakes(objectives: Sequence[Objective], evaluator: EvaluatorChoice) -> list[str]:
    """The evaluator of the full fidelity must give every score that is optimised."""
    given = evaluator.spec.scores
    return [
        f"objectives.{item.name}: the evaluator {evaluator.name} does not give it; expected "
        f"{one_of(f'{name}: {OBJECTIVES[name].direction}' for name in given)}"
        for item in objectives
        if item.source == "score" and item.name not in given
    ]


def _level_mistakes(config: SearchConfig) -> list[str]:
    """Levels that train have epochs and others have none, and better scores come later."""
    mistakes, evaluators = [], config.evaluators
    for rung, level in enumerate(config.rungs.levels):
        here, following = evaluators[rung], evaluators[rung + 1]
        where = f"rungs.levels[{rung}]"
        if here.spec.trains and level.epochs is None:
            mistakes.append(f"{where}.epochs: is missing; expected at least 1")
        for key in () if here.spec.trains else ("epochs", "data_share"):
            if getattr(level, key) is not None:
                mistakes.append(
                    f"{where}.{key}: {getattr(level, key)}; expected none, since the evaluator "
                    f"{here.name} trains no candidate"
                )
        above = "the full fidelity" if following is evaluators[-1] else "the next level"
        if EFFORTS.index(here.spec.effort) > EFFORTS.index(following.spec.effort):
            mistakes.append(
                f"{where}.evaluator: {here.name} comes before {following.name} of {above}, which "
                "knows less of a candidate; expected the cheaper one first"
            )
        elif not here.spec.trains and here == following:
            mistakes.append(
                f"{where}.evaluator: {here}; expected another one than that of {above}, since its "
                "scores would be the same"
            )
    for number, choice in enumerate(evaluators):
        earlier = [item for item in evaluators[:number] if item.name == choice.name]
        if choice.spec.prepare is not None and any(item != choice for item in earlier):
            mistakes.append(
                f"evaluator: {choice.name} has other options at another level; expected the same, "
                "since it is prepared once"
            )
    return mistakes


def _initial_mistakes(config: SearchConfig) -> Iterator[str]:
    """A network to begin with must be of use, and an official checkpoint needs its model."""
    init = config.init
    if init is None:
        return
    if not init.placement and not any(choice.spec.inherits for choice in config.evaluators):
        inherits = one_of(spec.name for spec in EVALUATORS.values() if spec.inherits)
        yield (
            f"init: {init.network}: has no effect; expected evaluator: {inherits}, or "
            "init.placement of at least 1"
        )
    official = init.network.startswith(OFFICIAL)
    if official and init.model not in REFERENCES:
        yield (
            f"init.model: {init.model}; expected the paper's model of the checkpoint: "
            f"{one_of(REFERENCES)}{did_you_mean(init.model or '', REFERENCES)}"
        )
    elif not official and init.model is not None:
        yield f"init.model: {init.model}; expected none without an official:PATH"


def _rung_mistakes(config: SearchConfig) -> list[str]:
    """The same network must be trained longer at a higher rung, and `rank` must be a score."""
    mistakes, fidelities, rank = [], config.fidelities, config.rungs.rank
    for rung, (fidelity, following) in enumerate(itertools.pairwise(fidelities)):
        same = following in config.course(rung)
        if same and fidelity.epochs >= following.epochs:
            where = "training.epochs" if following == fidelities[-1] else "the next level"
            mistakes.append(
                f"rungs.levels[{rung}].epochs: {fidelity.epochs}; expected less than the "
                f"{following.epochs} of {where}"
            )
    scores = [item.name for item in config.objective_list if item.source == "score"]
    ranks = ("front", *scores)
    if rank not in ranks:
        mistakes.append(
            f"rungs.rank: {rank!r}; expected {one_of(ranks)}{did_you_mean(rank, ranks)}"
        )
    return mistakes


def _reference_mistakes(
    names: Sequence[str], space: SearchSpace, *, limits: Limits, proxies: Sequence[ProxyRule]
) -> list[str]:
    """Models of the paper must fit the limits and the space, and have a proxy at every rung.

    While the classes are still to be those of the data, costs are not known and not checked.
    """
    mistakes = []
    for name in names:
        target = reference_target(name, space.shape)
        broken = () if space.is_open else limits.without_latency.violations(cost(target))
        if broken:
            mistakes.append(
                f"references: {name}: {', '.join(broken)}; expected a model inside the limits, "
                "since nothing above them is trained"
            )
        if target.image_size[0] not in space.image_size:
            mistakes.append(
                f"references: {name}: is a model for {target.image_size[0]} px; expected one for "
                f"{one_of(map(str, space.image_size))} px, the image size of the space"
            )
            continue
        try:
            for rule in proxies:
                scale(target, rule, space.shape)
        except ArchitectureError as error:
            mistakes.append(f"references: {name}: no network has its proxy: {error}")
    return mistakes
