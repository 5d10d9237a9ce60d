"""The YAML of a rediscovery: a search, what it is expected to find, and how that is judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationInfo

from spach_nas.config.evaluator_registry import TRAIN
from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.config.shipped import find_yaml
from spach_nas.config.training_settings import Epochs
from spach_nas.cost.limits import Limits
from spach_nas.errors import ConfigError, SearchSpaceError, did_you_mean, one_of
from spach_nas.space.choices import Names, listed
from spach_nas.space.references import REFERENCES, reference_target
from spach_nas.units import Real, Whole
from spach_nas.validation import Settings, read_document, validate


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRule(Settings):
    """Which mixers the blocks of one stage have to have."""

    only: Names | None = None
    """Each block has one of these. Left out: any."""
    some: Names | None = None
    """At least one block has one of these. Left out: none needs to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ColdSettings(Settings):
    """How networks are trained again, from the beginning, with seeds that chose nothing."""

    recipe: Annotated[str, Field(min_length=1)] = "short"
    """Of `spach-nas train`: `short`, `spach` or a file."""
    changes: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    """Values of the recipe by their keys, such as `optimizer.learning_rate: 0.01`."""
    scale: Literal["proxy", "target"] = "proxy"
    """Whether the proxies of the search are trained, or the targets at full size."""
    seeds: Annotated[Whole, Field(ge=2)] = 5
    """Trainings of each network."""
    first_seed: Annotated[Whole, Field(ge=0)] = 1000
    """Of these; the others follow it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlSettings(Settings):
    """Tasks whose needed mixers are known, on which the training of the search is tried."""

    tasks: Annotated[
        tuple[Literal["set", "lookup", "mixed"], ...], *listed, Field(min_length=1)
    ] = ("set", "mixed")
    """Of `controls/TASK`: those that attention or token-MLP late is needed for."""
    trials: Annotated[Whole, Field(ge=16)] = 16
    """Architectures of the space `controls` for each task, drawn uniformly, each trained twice."""
    epochs: Epochs | None = None
    """Passes over the images of a task. Left out: as many as in the search."""


def _read_search(value: Any, info: ValidationInfo) -> Any:
    """A path or a shipped name becomes the search that the file holds; a mapping is one."""
    if not isinstance(value, str):
        return value
    folder = (info.context or {}).get("folder", Path())
    return load_config(find_yaml(value, folder=folder, error=ConfigError))


def _check_known(value: Any) -> Any:
    if isinstance(value, str) and value not in REFERENCES:
        raise ValueError(
            f"{value!r}; expected a model of the paper ({one_of(REFERENCES)}) or a rule for each "
            f"stage{did_you_mean(value, REFERENCES)}"
        )
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Rediscovery(Settings):
    """Everything about a rediscovery."""

    search: Annotated[SearchConfig, BeforeValidator(_read_search)]
    """A search YAML in place, or its file. Its `limits` and `references` are replaced."""
    limits: Annotated[tuple[Limits, ...], Field(min_length=1)]
    """Under each of these the space is searched."""
    known: Annotated[
        str | Annotated[tuple[StageRule, ...], Field(min_length=1)], AfterValidator(_check_known)
    ]
    """What should be found: a model of the paper, or a rule for each stage."""
    searches: Annotated[Whole, Field(ge=1)] = 1
    """Searches under each limit, and as many uniform random ones, each with its own seed."""
    pure_trials: Annotated[Whole, Field(ge=1)] = 8
    """Networks of one mixer alone that are trained under each limit, for each mixer."""
    bound: Annotated[Real, Field(gt=0, le=1)] | None = None
    """Accuracy that no network without the needed mixers can exceed; drawn on the page."""
    cold: ColdSettings = field(default_factory=ColdSettings)
    controls: ControlSettings | None = None
    """Whether the training can tell mixers apart, tried on tasks where it is known which are
    needed. Left out: it is not tried."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        mistakes = [*_search_mistakes(self.search), *_known_mistakes(self)]
        if mistakes:
            raise ConfigError("\n".join(mistakes))

    @property
    def rules(self) -> tuple[StageRule, ...] | None:
        """The rule for each stage; None where a model of the paper is known."""
        return None if isinstance(self.known, str) else self.known


def _search_mistakes(search: SearchConfig) -> list[str]:
    if any(choice.name != TRAIN.name for choice in search.evaluators):
        return [
            f"search.evaluator: {search.evaluator.name}; expected {TRAIN.name}, since all scores "
            "have to be comparable"
        ]
    return []


def _known_mistakes(given: Rediscovery) -> list[str]:
    space, rules = given.search.space, given.rules
    if rules is None:
        try:
            space.encode(reference_target(str(given.known), space.shape))
        except SearchSpaceError as problem:
            return [f"known: {given.known}: {problem}"]
        return []
    if len(rules) != len(space.stages):
        return [f"known: {len(rules)} rules; expected one for each of {len(space.stages)} stages"]
    mistakes = []
    for place, (rule, stage) in enumerate(zip(rules, space.stages, strict=True)):
        names = stage.mixers.names
        for key, given_names, legal in (
            ("only", rule.only, names),
            ("some", rule.some, rule.only or names),
        ):
            mistakes += [
                f"known[{place}].{key}: {name}; expected {one_of(legal)}"
                for name in given_names or ()
                if name not in legal
            ]
    return mistakes


def load_rediscovery(path: str | Path) -> Rediscovery:
    """Read and check the YAML of a rediscovery, a file or a shipped one by its name.

    Raises:
        ConfigError: One line `file: key.path: what; expected` for each mistake.
    """
    file = find_yaml(str(path), folder=Path.cwd(), error=ConfigError)
    document = read_document(file, error=ConfigError)
    context = {"folder": file.resolve().parent}
    return validate(_adapter(), document.data, where=document, error=ConfigError, context=context)


@cache
def _adapter() -> TypeAdapter[Rediscovery]:
    return TypeAdapter(Rediscovery)
