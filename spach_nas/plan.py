"""A search before it begins: everything that can be checked, checked; free of Ray."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spach_nas.config import SearchConfig, load_config
from spach_nas.data import (
    DataSplits,
    data_shape,
    load_train_and_validation,
    validate_settings,
)
from spach_nas.data.preprocessing import Preprocessing, preprocessing
from spach_nas.engine.logger_choice import check_callbacks
from spach_nas.engine.sampler_check import check_sampler
from spach_nas.errors import ConfigError, DataError, SearchSpaceError
from spach_nas.feasible import FeasibleSet
from spach_nas.limits import ProxyLimits
from spach_nas.shipped import find_yaml


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A search that was checked and has not begun.

    Attributes:
        path: Of the search YAML.
        config: What it says.
        feasible: The architectures inside the limits.
        splits: The images, by the image size of the rungs.
    """

    path: Path
    config: SearchConfig
    feasible: FeasibleSet
    splits: Mapping[tuple[int, int], DataSplits]

    @property
    def images(self) -> DataSplits:
        """Those of the full fidelity."""
        return self.splits[self.config.fidelity.image_size]

    @property
    def preprocessing(self) -> Preprocessing:
        """What the images of the full fidelity go through."""
        return preprocessing(self.images)


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
        check_callbacks(config)
        check_sampler(config.search, space=config.space, objectives=config.objective_list)
        feasible = FeasibleSet(
            config.space,
            config.limits,
            proxy=ProxyLimits(
                limits=config.proxy_limits, rule=config.proxy, data=data_shape(config.data)
            ),
        )
        splits = {
            size: load_train_and_validation(config.data, image_size=size)
            for size in dict.fromkeys(fidelity.image_size for fidelity in config.fidelities)
        }
    except (ConfigError, DataError, SearchSpaceError) as problem:
        lines = [f"{path}: {line}" for line in str(problem).split("\n")]
        raise type(problem)("\n".join(lines)) from None
    return Plan(path=path, config=config, feasible=feasible, splits=splits)
