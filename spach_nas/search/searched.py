"""What the command `space` looks at: a search, or a search space alone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spach_nas.config.search_yaml import load_config
from spach_nas.config.shipped import find_yaml
from spach_nas.cost.limits import Limits, ProxyLimits
from spach_nas.data import data_shape
from spach_nas.errors import ConfigError, DataError, LatencyError, SearchSpaceError
from spach_nas.feasible import FeasibleSet
from spach_nas.search.plan import Plan, plan_search
from spach_nas.space.search_space import SearchSpace
from spach_nas.validation import read_document


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceSource:
    """A space within limits, and the search that it belongs to.

    Attributes:
        path: Of the YAML.
        name: Of the study, or of the space.
        feasible: The architectures inside the limits.
        plan: The search with its images; None where they were not asked for, or there is none.
    """

    path: Path
    name: str
    feasible: FeasibleSet
    plan: Plan | None = None


def read_space_source(
    source: str | Path,
    *,
    images: bool,
    say: Callable[[str], None] | None = None,
    doing: Callable[[str], None] = lambda _: None,
) -> SpaceSource:
    """Read a search YAML, or a bare search space, which has no limits and no proxies.

    Args:
        source: A file, or the name of a shipped one.
        images: Whether to load the images of a search.
        say: Gets a line for the eye before and after anything that takes long.
        doing: Told what goes on, in a few words.

    Raises:
        SpachNasError: A mistake in the file, limits that nothing meets, or missing data.
    """
    path = find_yaml(str(source), folder=Path.cwd(), error=ConfigError)
    document = read_document(path, error=ConfigError)
    plain = document.data
    if isinstance(plain, dict) and "stages" in plain and "space" not in plain:
        space = SearchSpace.from_dict(plain, where=document)
        return SpaceSource(path=path, name=path.stem, feasible=FeasibleSet(space, Limits()))
    if images:
        plan = plan_search(source, say=say, doing=doing, begins=False)
        return SpaceSource(path=path, name=plan.config.study, feasible=plan.feasible, plan=plan)
    config = load_config(path)
    doing("counting what is inside the limits")
    try:
        shape = data_shape(config.data)
        config = config.for_data(shape)
        proxy = ProxyLimits(limits=config.proxy_limits, rule=config.proxy, data=shape)
        latency = None
        if config.wants_latency:
            from spach_nas.latency import search_latency

            latency = search_latency(config, say=say)
        feasible = FeasibleSet(config.space, config.limits, proxy=proxy, latency=latency)
    except (ConfigError, DataError, LatencyError, SearchSpaceError) as problem:
        raise type(problem)(f"{path}: {problem}") from None
    return SpaceSource(path=path, name=config.study, feasible=feasible)
