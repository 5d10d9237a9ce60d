"""What a user asks of the command `latency`, read and checked without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args

from spach_nas.config.latency_settings import RUNTIMES, Format, LatencySettings, RuntimeName
from spach_nas.config.search_yaml import load_config
from spach_nas.config.shipped import find_yaml, shipped_names
from spach_nas.config.training_settings import Device
from spach_nas.data import data_shape
from spach_nas.errors import ConfigError, LatencyError, did_you_mean, one_of
from spach_nas.latency.table import read_table
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import REFERENCES
from spach_nas.space.search_space import SearchSpace
from spach_nas.validation import read_yaml

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a user asked for, as written; None where an option was left out.

    Attributes:
        source: One network, or with a table a search or a space.
        batch_size: Such as `1,32`.
        runtime: Such as `eager,onnx`.
        device: `cpu`, `cuda`, `mps` or `auto`.
        threads: Threads of the CPU.
        precision: Format of weights and features.
    """

    source: str
    batch_size: str | None = None
    runtime: str | None = None
    device: str | None = None
    threads: int | None = None
    precision: Format | None = None


def check_request(asked: Request, table: Path | None) -> None:
    """What can be checked before torch is imported.

    Args:
        asked: What the user asked for.
        table: The file of a table to measure; None: one network is timed.

    Raises:
        SpachNasError: An unknown network, runtime or device, a mistake in the search, or a file
            that is no table.
    """
    if table is not None:
        table_settings(asked)
        find_space(asked.source)
        if table.exists():
            read_table(table)
        return
    parse_device(asked.device or "auto")
    parse_batch_sizes(asked.batch_size or "1")
    parse_runtimes(asked.runtime or ",".join(RUNTIMES))
    find_network(asked.source)


def table_settings(asked: Request) -> LatencySettings:
    """What is given of the conditions of a table.

    Raises:
        LatencyError: An unknown name, or several where a table has one.
    """
    return LatencySettings(
        runtime=_only("--runtime", parse_runtimes(asked.runtime)) if asked.runtime else None,
        device=parse_device(asked.device) if asked.device else None,
        batch_size=_only("--batch-size", parse_batch_sizes(asked.batch_size))
        if asked.batch_size
        else None,
        threads=asked.threads,
        precision=asked.precision,
    )


def parse_batch_sizes(text: str) -> tuple[int, ...]:
    """`1,32` as numbers.

    Raises:
        LatencyError: Something else.
    """
    found = [item.strip() for item in text.split(",")]
    for item in found:
        if not (item.isascii() and item.isdecimal() and 0 < int(item) < 10**6):
            raise LatencyError(
                f"--batch-size: {item!r}; expected whole numbers from 1, such as 1,32"
            )
    return tuple(dict.fromkeys(map(int, found)))


def parse_runtimes(text: str) -> tuple[RuntimeName, ...]:
    """`eager,onnx` as names.

    Raises:
        LatencyError: An unknown one.
    """
    found = dict.fromkeys(item.strip() for item in text.split(","))
    for item in found:
        _known("--runtime", item, RUNTIMES)
    return tuple(name for name in RUNTIMES if name in found)


def parse_device(text: str) -> Device:
    """A device's name.

    Raises:
        LatencyError: An unknown one.
    """
    legal = get_args(Device)
    _known("--device", text, legal)
    found: Device = next(name for name in legal if name == text)
    return found


def _known(option: str, value: str, legal: Sequence[str]) -> None:
    if value not in legal:
        raise LatencyError(
            f"{option}: {value!r}; expected {one_of(legal)}{did_you_mean(value, legal)}"
        )


def _only(option: str, values: Sequence[Value]) -> Value:
    if len(values) > 1:
        raise LatencyError(
            f"{option}: {','.join(map(str, values))}; expected one, since a table holds one"
        )
    return values[0]


_BUNDLED = "architecture.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceToTime:
    """A space whose parts are timed.

    Attributes:
        space: The space.
        references: The paper's models that its search trains, too.
        settings: What the search says about latency.
    """

    space: SearchSpace
    references: tuple[str, ...] = ()
    settings: LatencySettings = LatencySettings()  # noqa: RUF009 (frozen)


def find_network(source: str) -> Architecture:
    """The network that a user names: a paper's model, a bundle or an architecture file.

    Raises:
        LatencyError: There is no such thing, or it is a search.
        ArchitectureError: The file is no architecture.
    """
    if source in REFERENCES:
        return REFERENCES[source].architecture
    path = Path(source)
    if path.is_dir():
        path = path / _BUNDLED
        if not path.is_file():
            raise LatencyError(
                f"{source}: holds no {_BUNDLED}; expected a bundle, such as the folder `best` of a "
                "study"
            )
    if not path.is_file():
        if source in shipped_names():
            raise LatencyError(_not_one(source))
        raise LatencyError(
            f"{source}: expected a model of the paper (`spach-nas references` lists them), a "
            f"bundle or an architecture file{did_you_mean(source, REFERENCES)}"
        )
    if _is_space(read_yaml(path, error=LatencyError)):
        raise LatencyError(_not_one(source))
    return Architecture.from_yaml(path)


def find_space(source: str) -> SpaceToTime:
    """The space that a user names: that of a search YAML, or a bare one.

    Raises:
        LatencyError: It is one network.
        SpachNasError: A mistake in the file.
    """
    if source in REFERENCES or Path(source).is_dir():
        raise LatencyError(f"--table: {source} is one network; expected a search YAML or a space")
    path = find_yaml(source, folder=Path.cwd(), error=ConfigError)
    plain = read_yaml(path, error=ConfigError)
    if not _is_space(plain):
        raise LatencyError(f"--table: {source} is one network; expected a search YAML or a space")
    if "space" not in plain:
        return SpaceToTime(space=SearchSpace.from_dict(plain, where=str(path)))
    config = load_config(path)
    if config.space.is_open:
        config = config.for_data(data_shape(config.data))
    return SpaceToTime(space=config.space, references=config.references, settings=config.latency)


def _is_space(plain: object) -> bool:
    """Whether the data is of a search or of a space, as far as one can tell."""
    if not isinstance(plain, dict):
        return False
    stages = plain.get("stages")
    first = stages[0] if isinstance(stages, list) and stages else None
    return "space" in plain or (isinstance(first, dict) and "depth" in first)


def _not_one(source: str) -> str:
    return (
        f"{source}: is many networks; expected one, or --table FILE to time the parts of them all"
    )
