"""Which loggers a search YAML names: TensorBoard, MLflow, Weights & Biases."""

import logging
import os
from collections.abc import Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from spach_nas.config.search_yaml import CallbackName, SearchConfig
from spach_nas.errors import ConfigError, StudyError
from spach_nas.search.ray.loggers import LOGS, Loggers

# Ray's integrations are imported late: the environment that Ray reads is set first.
_PACKAGES: Mapping[CallbackName, tuple[str, str]] = {
    # Module, and what to install for it.
    "tensorboard": ("tensorboardX", "tensorboardX"),
    "mlflow": ("mlflow", "mlflow"),
    "wandb": ("wandb", "wandb"),
}
_OF_URLS = frozenset("?%#")


def make_loggers(config: SearchConfig, folder: Path) -> Loggers:
    """The loggers that a search YAML names.

    Args:
        config: Of the search.
        folder: Of the study.

    Raises:
        ConfigError: The package of one is not installed.
    """
    check_callbacks(config)
    return Loggers(
        {name: partial(make_callback, name, config.study, folder) for name in config.callbacks},
        study=config.study,
        folder=folder,
    )


def check_callbacks(config: SearchConfig) -> None:
    """Whether the packages of all callbacks are installed.

    Raises:
        ConfigError: One is not.
    """
    check_packages(config.callbacks, key="callbacks")


def check_packages(names: Iterable[CallbackName], *, key: str) -> None:
    """Whether the packages of some loggers are installed.

    Args:
        names: Of the loggers.
        key: Where they stand, for the message.

    Raises:
        ConfigError: One is not.
    """
    mistakes = []
    for name in names:
        module, package = _PACKAGES[name]
        if find_spec(module) is None:
            mistakes.append(
                f"{key}: {name}: needs the package {package}; expected `pip install {package}`"
            )
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def make_callback(name: CallbackName, study: str, folder: Path) -> Any:
    """Ray's callback of a logger.

    Args:
        name: Of the logger.
        study: Groups what is logged.
        folder: For the logger's files.
    """
    if name == "tensorboard":
        from ray.tune.logger import TBXLoggerCallback

        return TBXLoggerCallback()
    if name == "mlflow":
        return _mlflow(study, folder)
    return _wandb(study)


def _mlflow(study: str, folder: Path) -> Any:
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        home = (folder / LOGS / "mlflow").absolute()
        if meant := sorted(_OF_URLS & set(str(home))):
            raise StudyError(
                f"callbacks: mlflow: {home}: {' and '.join(meant)} would be read as parts of a "
                "URL; expected another folder, or a server in MLFLOW_TRACKING_URI"
            )
        home.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{home / 'mlflow.db'}"
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    # It tells of its tables on the terminal, where the live view is.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MLflowLoggerCallback(tracking_uri=uri, experiment_name=study)


def _wandb(study: str) -> Any:
    from ray.air.integrations.wandb import WandbLoggerCallback

    mode = os.environ.get("WANDB_MODE") or ("online" if _has_wandb_key() else "offline")
    # Ray's callback asks this process for it; its workers were born before and are told below.
    os.environ["WANDB_MODE"] = mode
    project = os.environ.get("WANDB_PROJECT_NAME") or study
    return WandbLoggerCallback(project=project, mode=mode)


def _has_wandb_key() -> bool:
    """Whether the user has logged in: `wandb login` leaves the key in netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
