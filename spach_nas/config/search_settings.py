"""What a search YAML says about sampler, budget, rungs and resources, as values.

They check themselves on construction, so that a mistake shows before anything is loaded or trained.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict

from spach_nas.config.sampler_registry import has_sampler, optuna_samplers, sampler_names
from spach_nas.config.training_settings import outside, raise_mistakes
from spach_nas.errors import did_you_mean, one_of
from spach_nas.units import Count, Real, Seconds, Size, Whole

OptionValue = str | int | float | bool | None
_STRICT = ConfigDict(extra="forbid")


def _check_sampler(value: str) -> str:
    if not has_sampler(value):
        names = sampler_names()
        raise ValueError(
            f"{value!r}; expected {one_of(names)}, a class of optuna.samplers such as "
            "NSGAIIISampler, or one that --plugin MODULE brings in"
            f"{did_you_mean(value, (*names, *optuna_samplers()))}"
        )
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """How the space is searched, and for how long.

    Attributes:
        sampler: `random`, `nsga2`, `tpe`, `gp`, `evolution`, `local`, `surrogate`, one of a plugin,
            or a class of `optuna.samplers`.
        sampler_options: Arguments of the sampler by name, such as `population_size`.
        trials: How many architectures to train, besides the references.
        max_duration: Seconds after which nothing new starts; what runs is finished.
        seed: Of the proposals, and of the trainings unless `training.seed` says otherwise.
        startup_trials: Proposals that are uniform over the feasible architectures before the
            sampler takes over.
        stop_after_failures: The search stops when so many trials have failed and none is complete.
        warm_start: Folder of an earlier study by the same protocol, whose records this one begins
            with; they do not count as trials.

    Raises:
        ConfigError: A number out of range.
    """

    __pydantic_config__ = _STRICT

    sampler: Annotated[str, AfterValidator(_check_sampler)] = "tpe"
    sampler_options: Mapping[str, OptionValue] = field(default_factory=dict)
    trials: Whole
    max_duration: Seconds | None = None
    seed: Whole = 0
    startup_trials: Whole = 8
    stop_after_failures: Whole = 5
    warm_start: Path | None = None

    def __post_init__(self) -> None:
        duration = self.max_duration
        counts = ("trials", "startup_trials", "stop_after_failures")
        raise_mistakes(
            outside(
                "max_duration", duration, "more than 0", duration is None or 0 < duration < math.inf
            ),
            outside("seed", self.seed, "0 or more", self.seed >= 0),
            *(
                outside(name, getattr(self, name), "at least 1", getattr(self, name) >= 1)
                for name in counts
            ),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One rung below the full fidelity.

    Attributes:
        epochs: After so many, candidates are compared; epochs of lower levels are among them.
        data_share: Share of each class of the train part; None: that of `training`.
        image_size: Height and width of the input; None: that of the proxy. A level of another size
            trains another network and begins afresh.

    Raises:
        ConfigError: A number out of range.
    """

    __pydantic_config__ = _STRICT

    epochs: Whole
    data_share: Real | None = None
    image_size: Size | None = None

    def __post_init__(self) -> None:
        share = self.data_share
        raise_mistakes(
            outside("epochs", self.epochs, "at least 1", self.epochs >= 1),
            outside(
                "data_share", share, "more than 0 and at most 1", share is None or 0 < share <= 1
            ),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Rungs:
    """Lower fidelities, and who goes on to the next.

    Successive halving without waiting (Li et al. 2020, arXiv:1810.05934, ASHA), but by promotion
    instead of stopping, and by rank in the front instead of by one score.

    Attributes:
        levels: Rungs below the full fidelity, which `training` sets; none: every candidate is
            trained at the full one.
        reduction: One of so many goes on.
        rank: `front`: by non-domination, then crowding (Deb et al. 2002, NSGA-II), so that cheap
            candidates go on beside accurate ones; or a score, such as `accuracy`, alone.

    Raises:
        ConfigError: A number out of range.
    """

    __pydantic_config__ = _STRICT

    levels: tuple[Level, ...] = ()
    reduction: Whole = 3
    rank: str = "front"

    def __post_init__(self) -> None:
        raise_mistakes(outside("reduction", self.reduction, "at least 2", self.reduction >= 2))


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What a trial takes, and where.

    Attributes:
        cpus_per_trial: Cores, also a fraction; a trial has as many threads, at least one.
        gpus_per_trial: GPUs, also a fraction; `auto` is 1 where the cluster has one, else 0.
        memory_per_trial: Bytes of main memory that Ray sets aside; None: Ray does not count.
        max_concurrent: Most trials at once; None: as many as the resources allow.
        address: `local`, or a running Ray cluster: `auto` or `host:port`.

    Raises:
        ConfigError: A number out of range.
    """

    __pydantic_config__ = _STRICT

    cpus_per_trial: Real = 1
    gpus_per_trial: Real | Literal["auto"] = "auto"
    memory_per_trial: Count | None = None
    max_concurrent: Whole | None = None
    address: str = "local"

    def __post_init__(self) -> None:
        gpus, most = self.gpus_per_trial, self.max_concurrent
        raise_mistakes(
            outside("cpus_per_trial", self.cpus_per_trial, "more than 0", self.cpus_per_trial > 0),
            outside(
                "gpus_per_trial",
                gpus,
                "auto, a share of one GPU, or a whole number",
                gpus == "auto" or 0 <= gpus <= 1 or (gpus > 1 and gpus == int(gpus)),
            ),
            outside("max_concurrent", most, "at least 1", most is None or most >= 1),
            outside("address", repr(self.address), "local, auto or host:port", bool(self.address)),
        )

    @property
    def threads(self) -> int:
        """Threads of one training; more than its cores make it many times slower."""
        return max(1, int(self.cpus_per_trial))
