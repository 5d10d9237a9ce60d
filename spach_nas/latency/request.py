"""Reads and checks the options of the command `latency`, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from spach_nas.config.runtime_registry import RUNTIMES, Format
from spach_nas.config.search_settings import LatencySettings
from spach_nas.config.search_yaml import load_config
from spach_nas.config.shipped import find_yaml, shipped_names
from spach_nas.config.training_settings import Device
from spach_nas.data import data_shape
from spach_nas.errors import ConfigError, LatencyError, did_you_mean, one_of
from spach_nas.space.architecture import Architecture
from spach_nas.space.read_architecture import as_architecture
from spach_nas.space.references import REFERENCES
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.timm_reference import TimmModel
from spach_nas.validation import read_document, read_yaml

Value = TypeVar("Value")


def table_settings(
    *,
    batch_size: str | None = None,
    runtime: str | None = None,
    device: Device | None = None,
    threads: int | None = None,
    precision: Format | None = None,
) -> LatencySettings:
    """The conditions of a table that the options set; None for an option that was left out.

    Raises:
        LatencyError: A name is unknown, or several are given where a table has one.
    """
    return LatencySettings(
        runtime=_only("--runtime", parse_runtimes(runtime)) if runtime else None,
        device=device,
        batch_size=_only("--batch-size", parse_batch_sizes(batch_size)) if batch_size else None,
        threads=threads,
        precision=precision,
    )


def parse_batch_sizes(text: str) -> tuple[int, ...]:
    """Batch sizes from text such as `1,32`.

    Raises:
        LatencyError: The text is anything else.
    """
    found = [item.strip() for item in text.split(",")]
    for item in found:
        if not (item.isascii() and item.isdecimal() and 0 < int(item) < 10**6):
            raise LatencyError(
                f"--batch-size: {item!r}; expected whole numbers from 1, such as 1,32"
            )
    return tuple(dict.fromkeys(map(int, found)))


def parse_runtimes(text: str) -> tuple[str, ...]:
    """Names of runtimes from text such as `eager,onnx`.

    Raises:
        LatencyError: A name is unknown.
    """
    found = dict.fromkeys(item.strip() for item in text.split(","))
    legal = RUNTIMES.names()
    for item in found:
        check_known("--runtime", item, legal)
    return tuple(name for name in legal if name in found)


def check_known(argument: str, value: object, legal: Sequence[str]) -> None:
    """Check the value of an option or an argument.

    Raises:
        LatencyError: It is not one of the legal values.
    """
    if value not in legal:
        raise LatencyError(
            f"{argument}: {value!r}; expected {one_of(legal)}{did_you_mean(str(value), legal)}"
        )


def _only(option: str, values: Sequence[Value]) -> Value:
    if len(values) > 1:
        raise LatencyError(
            f"{option}: {','.join(map(str, values))}; expected one, because a table holds one"
        )
    return values[0]


_BUNDLED = "architecture.yaml"
_ONE = "--table: {} is one network; expected a search YAML or a space"


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceToTime:
    """A space whose parts are timed.

    Attributes:
        space: The search space.
        references: The paper's models that the search trains as well.
        timm_models: Models of timm that it compares with.
        settings: The section `latency` of the search.
    """

    space: SearchSpace
    references: tuple[str, ...] = ()
    timm_models: tuple[TimmModel, ...] = ()
    settings: LatencySettings = LatencySettings()  # noqa: RUF009 (frozen)


def find_network(source: str) -> Architecture:
    """The network that a user names: a paper's model, a bundle or an architecture file.

    Raises:
        LatencyError: It is a search, a space or another folder.
        ArchitectureError: It does not exist, or the file does not hold an architecture.
    """
    path = Path(source)
    if path.is_dir() and source not in REFERENCES and not (path / _BUNDLED).is_file():
        raise LatencyError(f"{source}: holds no {_BUNDLED}; expected a bundle, such as `best`")
    shipped = not path.exists() and source in shipped_names()
    if shipped or (path.is_file() and _is_space(read_yaml(path, error=LatencyError))):
        raise LatencyError(
            f"{source}: means many networks; expected one, or --table FILE to time the parts of all"
        )
    return as_architecture(source)


def find_space(source: str) -> SpaceToTime:
    """The space that a user names: that of a search YAML, or a bare one.

    Raises:
        LatencyError: It is one network.
        SpachNasError: The file has mistakes.
    """
    if source in REFERENCES or Path(source).is_dir():
        raise LatencyError(_ONE.format(source))
    path = find_yaml(source, folder=Path.cwd(), error=ConfigError)
    document = read_document(path, error=ConfigError)
    plain = document.data
    if not _is_space(plain):
        raise LatencyError(_ONE.format(source))
    if "space" not in plain:
        return SpaceToTime(space=SearchSpace.from_dict(plain, where=document))
    config = load_config(path)
    # Channels and classes come from the data unless the space fixes them.
    if config.space.is_open:
        config = config.for_data(data_shape(config.data))
    return SpaceToTime(
        space=config.space,
        references=config.paper_models,
        timm_models=config.timm_models,
        settings=config.latency,
    )


def _is_space(plain: object) -> bool:
    """Whether the data looks like a search or a space rather than an architecture."""
    if not isinstance(plain, dict):
        return False
    stages = plain.get("stages")
    first = stages[0] if isinstance(stages, list) and stages else None
    return "space" in plain or (isinstance(first, dict) and "depth" in first)
