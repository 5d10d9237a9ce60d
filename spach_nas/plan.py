"""A search before it begins: everything that can be checked, checked; free of torch and Ray."""

from dataclasses import dataclass
from pathlib import Path

from spach_nas.config import SearchConfig, load_config
from spach_nas.data import DataSplits, load_train_and_validation, validate_settings
from spach_nas.data.preprocessing import Preprocessing, preprocessing
from spach_nas.errors import ConfigError, DataError, SearchSpaceError
from spach_nas.feasible import FeasibleSet
from spach_nas.shipped import find_yaml


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A search that was checked and has not begun.

    Attributes:
        path: Of the search YAML.
        config: What it says.
        feasible: The architectures inside the limits.
        splits: The images.
    """

    path: Path
    config: SearchConfig
    feasible: FeasibleSet
    splits: DataSplits

    @property
    def preprocessing(self) -> Preprocessing:
        """What the images go through."""
        return preprocessing(self.splits)


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
        feasible = FeasibleSet(config.space, config.limits)
        splits = load_train_and_validation(config.data, image_size=config.fidelity.image_size)
    except (DataError, SearchSpaceError) as problem:
        raise type(problem)(f"{path}: {problem}") from None
    return Plan(path=path, config=config, feasible=feasible, splits=splits)
