"""The sections of a search YAML about sampler, budget, rungs, resources and latency."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from spach_nas.config.evaluator_registry import WrittenEvaluator
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.runtime_registry import Format, RuntimeName
from spach_nas.config.sampler_registry import OF_OPTUNA, has_sampler, sampler_names
from spach_nas.config.training_settings import Device
from spach_nas.errors import did_you_mean, one_of
from spach_nas.space.choices import one_of_names
from spach_nas.units import Count, Real, Seconds, Size, Whole
from spach_nas.validation import Settings, Written

# Before the path of a checkpoint of the paper's code.
OFFICIAL = "official:"
OptionValue = str | int | float | bool | None


def _check_sampler(value: str) -> str:
    # Not a Literal, because plugins and Optuna add names.
    if not has_sampler(value):
        names = sampler_names()
        raise ValueError(
            f"{value!r}; expected {one_of(names)}, a class of optuna.samplers such as "
            "NSGAIIISampler, or one that --plugin MODULE brings in"
            f"{did_you_mean(value, names)}"
        )
    return value


def _sampler_schema() -> dict[str, Any]:
    return {
        "title": "one of the names, or a class of optuna.samplers",
        "anyOf": [
            one_of_names(sampler_names()),
            {"type": "string", "pattern": f"^{OF_OPTUNA.pattern}$"},
        ],
    }


def _rank_schema() -> dict[str, Any]:
    scores = (item.name for item in OBJECTIVES.values() if item.source == "score")
    return one_of_names(("front", *scores))


def _check_gpus(value: float | str) -> float | str:
    # Ray has no share of several GPUs.
    if isinstance(value, str) or 0 <= value <= 1 or (value > 1 and value == int(value)):
        return value
    raise ValueError(f"{value}; expected auto, a share of one GPU, or a whole number")


def _check_address(value: str) -> str:
    if not value:
        raise ValueError("''; expected local, auto or host:port")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings(Settings):
    """How the space is searched and for how long."""

    sampler: Annotated[str, AfterValidator(_check_sampler), Written(_sampler_schema)] = "tpe"
    """`random`, `nsga2`, `tpe`, `gp`, `evolution`, `local`, `surrogate`, one of a plugin, or a
    class of `optuna.samplers`."""
    sampler_options: Mapping[str, OptionValue] = field(default_factory=dict)
    """Arguments of the sampler by name, such as `population_size`."""
    trials: Annotated[Whole, Field(ge=1)]
    """How many architectures to train, not counting the references."""
    max_duration: Annotated[
        Annotated[Seconds, Field(gt=0)] | None, Field(json_schema_extra={"exclusiveMinimum": 0})
    ] = None
    """Time after which no training starts; running ones are finished."""
    seed: Annotated[Whole, Field(ge=0)] = 0
    """Seed of the proposals, and of the trainings unless `training.seed` is given."""
    startup_trials: Annotated[Whole, Field(ge=1)] = 8
    """Proposals that are uniform over the feasible architectures before the sampler takes over."""
    stop_after_failures: Annotated[Whole, Field(ge=1)] = 5
    """The search stops when this many trials have failed and none is complete."""
    warm_start: Path | None = None
    """Folder of an earlier study by the same protocol, with whose records this one begins; they do
    not count as trials."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InitialSettings(Settings):
    """A trained network from which a search begins."""

    network: Annotated[str, Field(min_length=1)]
    """Folder of a bundle or of a study, whose best proxy is taken; or `official:PATH`, a checkpoint
    of the paper's code. The proxies of the search have its number of stages, patch and image
    size. Of a study that scores by a supernet alone, or of a file `supernet.safetensors` in a
    study, the supernet is taken: each candidate begins with its share of the weights. Both studies
    have the same space and proxy."""
    model: str | None = None
    """The paper's model that an official checkpoint belongs to, such as `conv_ms_s`."""
    placement: Annotated[Whole, Field(ge=0)] = 0
    """Number of first proposals that a placement search makes: it gives each block of the network
    another mixer, or leaves it out, sees what that does to the validation loss, and solves for the
    best networks inside the limits."""
    steps: Annotated[Whole, Field(ge=0)] = 100
    """Steps that train a changed block, with 64 images each, before it is judged."""
    learning_rate: Annotated[Real, Field(gt=0)] = 3e-3
    """Of these steps. A new branch begins with gamma_1 = 0: fewer or shorter steps would not show
    what it is worth."""


def _as_initial(value: Any) -> Any:
    return {"network": value} if isinstance(value, str) else value


# A folder alone, or a mapping.
WrittenInitial = Annotated[
    InitialSettings,
    BeforeValidator(
        _as_initial, json_schema_input_type=Annotated[str, Field(min_length=1)] | InitialSettings
    ),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Level(Settings):
    """One rung below the full fidelity."""

    evaluator: WrittenEvaluator | None = None
    """What scores candidates at this level. Left out: the evaluator of the search."""
    epochs: Annotated[Whole, Field(ge=1)] | None = None
    """Epochs after which candidates are compared; those of lower levels count. Only an evaluator
    that trains them has any."""
    data_share: Annotated[Real, Field(gt=0, le=1)] | None = None
    """Share of each class of the train part. Left out: that of `training`."""
    image_size: Size | None = None
    """Height and width of the input. Left out: that of the proxy. A level of another size trains
    another network from the beginning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rungs(Settings):
    """Lower fidelities, and which candidates are promoted to the next.

    Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934), but by promotion instead of
    stopping, and by rank in the front instead of one score.
    """

    levels: tuple[Level, ...] = ()
    """Rungs below the full fidelity, which `training` sets. Without any, every candidate is trained
    at the full one."""
    reduction: Annotated[Whole, Field(ge=2)] = 3
    """One candidate of this many is promoted."""
    rank: Annotated[str, Written(_rank_schema)] = "front"
    """`front`: by non-domination, then crowding (Deb et al. 2002, NSGA-II), which promotes cheap
    candidates as well as accurate ones; or by one score, such as `accuracy`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources(Settings):
    """What a trial needs, and where it runs."""

    cpus_per_trial: Annotated[Real, Field(gt=0)] = 1
    """Cores, also a fraction; a trial has as many threads, but at least one."""
    gpus_per_trial: Annotated[
        Real | Literal["auto"],
        AfterValidator(_check_gpus),
        WithJsonSchema(
            {
                "title": "`auto`, a share of one GPU, or a whole number",
                "anyOf": [
                    {"const": "auto"},
                    {"type": "number", "minimum": 0, "maximum": 1},
                    {"type": "integer", "minimum": 1},
                ],
            }
        ),
    ] = "auto"
    """GPUs, also a fraction; `auto` is 1 where the cluster has one, else 0."""
    memory_per_trial: Count | None = None
    """Bytes of main memory that Ray reserves. Left out: none."""
    max_concurrent: Annotated[Whole, Field(ge=1)] | None = None
    """Largest number of trials at once. Left out: as many as the resources allow."""
    address: Annotated[
        str, AfterValidator(_check_address), Field(json_schema_extra={"minLength": 1})
    ] = "local"
    """`local`, or a running Ray cluster: `auto` or `host:port`."""

    @property
    def threads(self) -> int:
        """Threads of one training; with more threads than cores it would be many times slower."""
        return max(1, int(self.cpus_per_trial))


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencySettings(Settings):
    """Where the latency of targets comes from: a table of the times of their parts.

    A key that is left out takes the value in the table, or its default if a table is measured.
    """

    table: Path | None = None
    """A file written by `spach-nas latency SEARCH --table FILE`, here or on another device. Left
    out: the parts are measured here when the search begins."""
    runtime: RuntimeName | None = None
    """`eager` (default), `compile` (torch.compile), `onnx` (ONNX Runtime), `openvino`, `tensorrt`,
    or one of a plugin."""
    device: Device | None = None
    """`cpu`, `cuda`, `mps` or `auto` (default), CUDA where there is one."""
    batch_size: Annotated[Whole, Field(ge=1)] | None = None
    """Images in a forward pass; the latency is that of the whole batch. Default 1."""
    threads: Annotated[Whole, Field(ge=1)] | None = None
    """Threads of the CPU. Default 1."""
    precision: Format | None = None
    """Format of weights and features: `fp32` (default), `bf16`, `fp16` or `int8`, as far as the
    runtime computes in it on the device."""
