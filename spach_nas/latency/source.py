"""What the command `latency` is asked about: one network, or the space of a search."""

from dataclasses import dataclass
from pathlib import Path

from spach_nas.config.search_settings import LatencySettings
from spach_nas.config.search_yaml import load_config
from spach_nas.config.shipped import find_yaml, shipped_names
from spach_nas.data import data_shape
from spach_nas.errors import ConfigError, LatencyError, did_you_mean
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import REFERENCES
from spach_nas.space.search_space import SearchSpace
from spach_nas.validation import read_document, read_yaml

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
    document = read_document(path, error=ConfigError)
    plain = document.data
    if not _is_space(plain):
        raise LatencyError(f"--table: {source} is one network; expected a search YAML or a space")
    if "space" not in plain:
        return SpaceToTime(space=SearchSpace.from_dict(plain, where=document))
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
