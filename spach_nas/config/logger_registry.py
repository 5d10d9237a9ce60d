"""The registry of loggers, by the names that a YAML uses.

A logger's class is imported when a search or a training begins, so that a YAML is checked without
MLflow and the like.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from spach_nas.registry import Registry
from spach_nas.space.choices import one_of_names
from spach_nas.validation import Written


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggerSpec:
    """A place to which the figures of a search or a training are sent.

    Attributes:
        name: As in the YAML, and the logger's folder in `logs/`.
        factory: `package.module:Class` of a `Logger`, which is called without arguments.
        package: What to `pip install` for it; empty: nothing.
    """

    name: str
    factory: str
    package: str = ""


_BUILT_IN = "spach_nas.search.loggers"
LOGGERS: Registry[LoggerSpec] = Registry(
    "logger", homes=lambda spec: {spec.factory.partition(":")[0]}
)
for _spec in (
    LoggerSpec(name="tensorboard", factory=f"{_BUILT_IN}:TensorBoard", package="tensorboardX"),
    LoggerSpec(name="mlflow", factory=f"{_BUILT_IN}:MLflow", package="mlflow"),
    LoggerSpec(name="wandb", factory=f"{_BUILT_IN}:WandB", package="wandb"),
):
    LOGGERS.register(_spec)


def register_logger(spec: LoggerSpec) -> None:
    """Make a logger known by its name.

    Raises:
        PluginError: Another logger has the name.
    """
    LOGGERS.register(spec)


# A name in a YAML.
LoggerName = Annotated[
    str, AfterValidator(LOGGERS.written), Written(lambda: one_of_names(LOGGERS.names()))
]
