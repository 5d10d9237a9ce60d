"""Trained networks that a study keeps: the one from which it begins, and the teacher.

Both are copied into its folder when it begins, so that it can be resumed without their source.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path

from spach_nas.config.search_yaml import SearchConfig
from spach_nas.config.study_files import INITIAL, PREPARED, TEACHER
from spach_nas.errors import ArchitectureError, BundleError, ConfigError
from spach_nas.export.named_networks import load_initial, load_teacher
from spach_nas.feasible import FeasibleSet
from spach_nas.search.placement import find_frame, legal_layouts
from spach_nas.space.scaling import DataShape, scale

# Proxies of a search that are tried: all have as many stages, but patches may differ.
_SAMPLES = 20


def read_initial(
    config: SearchConfig, *, folder: Path | None, feasible: FeasibleSet, data: DataShape
) -> bytes | None:
    """The trained network from which a search begins, as the study keeps it; None without one.

    Args:
        config: The search YAML.
        folder: Of the study that continues, whose own copy is taken; None: of none.
        feasible: What may be proposed.
        data: Channels and classes of the images.

    Raises:
        ConfigError: There is no such network, there is no morphism to the proxies of the search,
            or a placement search is impossible.
    """
    init = config.init
    if init is None:
        return None
    from spach_nas.networks import changes
    from spach_nas.training import CheckpointError
    from spach_nas.training.sealed_networks import open_network, seal_network

    kept = None if folder is None else folder / PREPARED / INITIAL
    try:
        if kept is not None and kept.is_file():
            sealed = kept.read_bytes()
            network = open_network(sealed)
        else:
            initial = load_initial(init.network, model=init.model or "", key="init.network:")
            network, sealed = initial.network, seal_network(initial.network)
    except (BundleError, CheckpointError) as problem:
        raise ConfigError(str(problem)) from None
    for rung, target in itertools.product(
        range(len(config.fidelities)), feasible.samples(_SAMPLES, 0)
    ):
        try:
            changes(network.architecture, scale(target, config.proxy_at(rung), data))
        except ArchitectureError as problem:
            lines = [
                f"init.network: {init.network}: proxies have {x}" for x in str(problem).split("\n")
            ]
            raise ConfigError("\n".join(lines)) from None
    if init.placement:
        find_frame(config.space, network.architecture, config=config, data=data)
        legal_layouts(config.space)
    return sealed


def read_networks(
    config: SearchConfig, *, folder: Path | None, feasible: FeasibleSet, data: DataShape
) -> dict[str, bytes]:
    """Trained networks that a study keeps, by the names of its files; see `read_initial`.

    Raises:
        ConfigError: One does not exist, or does not suit the search.
    """
    found: dict[str, bytes] = {}
    teacher = config.training.teacher
    if teacher is not None:
        kept = None if folder is None else folder / PREPARED / TEACHER
        if kept is not None and kept.is_file():
            found[TEACHER] = kept.read_bytes()
        else:
            found[TEACHER] = load_teacher(teacher, data=data, key="training.teacher")
    initial = read_initial(config, folder=folder, feasible=feasible, data=data)
    return found if initial is None else found | {INITIAL: initial}


def keep_networks(folder: Path, networks: Mapping[str, bytes]) -> None:
    """Write the networks into the folder of a study."""
    for name, sealed in networks.items():
        (folder / PREPARED).mkdir(exist_ok=True)
        (folder / PREPARED / name).write_bytes(sealed)
