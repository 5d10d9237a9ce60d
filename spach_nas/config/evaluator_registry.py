"""The registry of evaluators: by which names a search YAML says how candidates are scored.

What makes an evaluator is imported when a search begins, so that a YAML is checked without torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Field, InstanceOf, PlainSerializer, TypeAdapter

from spach_nas.config.supernet_settings import SupernetSettings
from spach_nas.errors import ConfigError, did_you_mean, one_of
from spach_nas.registry import Registry
from spach_nas.space.choices import one_of_names
from spach_nas.units import Whole
from spach_nas.validation import Settings, Written, read_yaml_value, validate

# From the cheapest to the most reliable: a rung never ranks what a better one has ranked.
Effort = Literal["untrained", "shared", "trained"]
EFFORTS: tuple[Effort, ...] = ("untrained", "shared", "trained")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluatorSpec:
    """A way to score architectures.

    The functions are named as `package.module:function`; `spach_nas.evaluators.interface` holds the
    types of their arguments.

    Attributes:
        name: As in the YAML.
        factory: Called in the driver with an `EvaluatorSetup`, it returns an `Evaluator`, which is
            sent to the workers by pickle.
        settings: Class of its options in the YAML; None: it has none.
        effort: `trained`: each candidate is trained for the epochs of its rung; `shared`: with
            weights that all candidates share; `untrained`: as initialised.
        scores: Names of the objectives that it gives, the first of which stands for those of the
            search that it does not give.
        variant: The option by which its scores differ in kind, such as `score`; records name it.
        check: Called with an `EvaluatorSetup` before anything is trained; raises `ConfigError` for
            what the search cannot do with it. None: nothing to check.
        prepare: Called in the driver with a `Preparation` before the first trial of every session,
            to make what candidates share. None: nothing to prepare.
        inherits: Whether candidates begin with the weights of a trained network: that of `init` in
            the YAML, or the nearest one that the study has trained.
        recorded_as: What records call it; empty: its name.
    """

    name: str
    factory: str
    settings: type[Settings] | None = None
    effort: Effort = "trained"
    scores: tuple[str, ...] = ("accuracy", "loss")
    variant: str | None = None
    check: str | None = None
    prepare: str | None = None
    inherits: bool = False
    recorded_as: str = ""

    @property
    def trains(self) -> bool:
        """Whether each candidate is trained for the epochs of its rung."""
        return self.effort == "trained"


EVALUATORS: Registry[EvaluatorSpec] = Registry(
    "evaluator", homes=lambda spec: {spec.factory.partition(":")[0]}
)


def register_evaluator(spec: EvaluatorSpec) -> None:
    """Make an evaluator known by its name.

    Raises:
        PluginError: Another evaluator has the name.
    """
    EVALUATORS.register(spec)


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class EvaluatorChoice:
    """An evaluator as a file names it.

    Attributes:
        name: In the registry.
        options: Of the class that its entry states; None where it has none.
    """

    name: str
    options: Settings | None = None

    @property
    def spec(self) -> EvaluatorSpec:
        """Its entry in the registry."""
        return EVALUATORS.find(self.name)

    @property
    def label(self) -> str:
        """What records call it: `proxy`, `supernet`, `training_free:naswot`."""
        spec = self.spec
        name = spec.recorded_as or spec.name
        return f"{name}:{getattr(self.options, spec.variant)}" if spec.variant else name

    def __repr__(self) -> str:
        own = {item.name: getattr(self.options, item.name) for item in _fields(self.spec)}
        options = ", ".join(f"{name}: {value}" for name, value in own.items())
        return f"{self.name} ({options})" if options else self.name


def choose_evaluator(value: object) -> EvaluatorChoice:
    """The evaluator that a file names: `train`, or a mapping of `name` and options.

    Raises:
        ValueError: It is unknown, or has other options; a line for each mistake.
    """
    if isinstance(value, EvaluatorChoice):
        return value
    options = dict(value) if isinstance(value, Mapping) else {}
    name = options.pop("name", None) if isinstance(value, Mapping) else value
    legal = EVALUATORS.names()
    if not isinstance(name, str) or name not in legal:
        said = "name: is missing" if name is None and isinstance(value, Mapping) else f"{name!r}"
        raise ValueError(f"{said}; expected {one_of(legal)}{did_you_mean(str(name), legal)}")
    spec = EVALUATORS[name]
    mistakes = [f"{key}: {_no_option(key, spec)}" for key in options if key not in _names(spec)]
    known = {key: item for key, item in options.items() if key in _names(spec)}
    found = None
    if spec.settings is not None:
        try:
            found = validate(TypeAdapter(spec.settings), known, where="", error=ConfigError)
        except ConfigError as problem:
            mistakes += str(problem).split("\n")
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return EvaluatorChoice(name=name, options=found)


def choices_of(scores: Sequence[str] | None, evaluators: Sequence[str]) -> list[EvaluatorChoice]:
    """The evaluators that a command names.

    Args:
        scores: Training-free ones; None: all, unless evaluators are named.
        evaluators: As a search YAML writes them.

    Raises:
        ConfigError: One is unknown, or has other options; a line for each mistake.
    """
    if scores is None:
        scores = () if evaluators else get_args(ScoreName)
    found, mistakes = [], []
    given: list[tuple[str, Any]] = [
        *(("--score", {"name": "training_free", "score": name}) for name in scores),
        *(("--evaluator", text) for text in evaluators),
    ]
    for option, value in given:
        try:
            plain = value if option == "--score" else read_yaml_value(value)
            found.append(choose_evaluator(plain))
        except ValueError as problem:
            mistakes += [f"{option}: {line}" for line in str(problem).split("\n")]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return found


def _no_option(key: object, spec: EvaluatorSpec) -> str:
    legal = _names(spec)
    expected = f"expected {one_of(legal)}" if legal else "expected no options"
    owners = [other.name for other in EVALUATORS.values() if key in _names(other)]
    elsewhere = (
        f"; it is an option of {one_of(owners)}" if owners else did_you_mean(str(key), legal)
    )
    return f"{spec.name} has no such option; {expected}{elsewhere}"


def _fields(spec: EvaluatorSpec) -> tuple[Any, ...]:
    return () if spec.settings is None else fields(spec.settings)


def _names(spec: EvaluatorSpec) -> tuple[str, ...]:
    return tuple(item.name for item in _fields(spec))


def written(choice: EvaluatorChoice) -> str | dict[str, Any]:
    """As in a YAML file."""
    if choice.spec.settings is None:
        return choice.name
    options = TypeAdapter(choice.spec.settings).dump_python(
        choice.options,  # type: ignore[arg-type]
        mode="json",
        exclude_none=True,
    )
    return {"name": choice.name, **options}


def _schema() -> dict[str, Any]:
    """A name alone, where no option lacks a default, or a mapping with the options."""
    options: list[dict[str, Any]] = []
    for name in EVALUATORS.names():
        spec = EVALUATORS[name]
        own: dict[str, Any] = {"properties": {}}
        if spec.settings is not None:
            whole = TypeAdapter(spec.settings).json_schema()
            own = _inlined(whole, whole.get("$defs", {}))
        options.append(
            {
                "title": f"{name} with its options",
                "type": "object",
                "properties": {
                    "name": {"const": name, "description": f"The evaluator {name}."},
                    **own["properties"],
                },
                "required": ["name", *own.get("required", ())],
                "additionalProperties": False,
            }
        )
    alone = [o["properties"]["name"]["const"] for o in options if o["required"] == ["name"]]
    return {
        "title": "a name, or a mapping of name and options",
        "anyOf": [one_of_names(alone), *options],
    }


def _inlined(node: Any, parts: Mapping[str, Any], *, key: str = "") -> Any:
    """A schema without references, and without titles that only repeat a key."""
    if isinstance(node, list):
        return [_inlined(item, parts) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        node = {**parts[node["$ref"].rsplit("/", 1)[-1]], **node}
        del node["$ref"]
    if node.get("title") == key.replace("_", " ").title():
        node = {name: item for name, item in node.items() if name != "title"}
    return {name: _inlined(item, parts, key=name) for name, item in node.items()}


# As a key of a YAML file.
WrittenEvaluator: TypeAlias = Annotated[
    InstanceOf[EvaluatorChoice],
    BeforeValidator(choose_evaluator),
    PlainSerializer(written),
    Written(_schema),
]


ScoreName = Literal[
    "params",
    "macs",
    "synflow",
    "naswot",
    "gradient_norm",
    "zico",
    "expressivity",
    "progressivity",
    "trainability",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingFreeSettings(Settings):
    """Options of `training_free`."""

    score: ScoreName
    """Which figure of the network as initialised; `spach-nas audit` says what each is worth."""
    images: Annotated[Whole, Field(ge=2)] = 64
    """Images of the train part that it is computed on."""


_BUILT_IN = "spach_nas.evaluators"
TRAIN = EvaluatorSpec(
    name="train", factory=f"{_BUILT_IN}.proxy:proxy_evaluator", recorded_as="proxy"
)
register_evaluator(TRAIN)
register_evaluator(
    EvaluatorSpec(name="inherit", factory=f"{_BUILT_IN}.proxy:inherit_evaluator", inherits=True)
)
register_evaluator(
    EvaluatorSpec(
        name="training_free",
        factory=f"{_BUILT_IN}.training_free:training_free_evaluator",
        settings=TrainingFreeSettings,
        effort="untrained",
        scores=("score",),
        variant="score",
    )
)
register_evaluator(
    EvaluatorSpec(
        name="supernet",
        factory=f"{_BUILT_IN}.supernet_scores:supernet_evaluator",
        settings=SupernetSettings,
        effort="shared",
        check=f"{_BUILT_IN}.supernet_scores:check_supernet",
        prepare=f"{_BUILT_IN}.supernet_scores:prepare_supernet",
    )
)
