"""Trained networks that a study keeps: the one from which it begins, and the teacher.

Both are copied into its folder when it begins, so that it can be resumed without their source.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from spach_nas.config.search_yaml import SearchConfig
from spach_nas.config.study_files import (
    DATA_JSON,
    INITIAL,
    INITIAL_SUPERNET,
    PREPARED,
    SEARCH_YAML,
    SUPERNET,
    SUPERNET_FILE,
    TEACHER,
)
from spach_nas.data.preprocessing import read_preprocessing
from spach_nas.errors import ArchitectureError, BundleError, ConfigError, SpachNasError
from spach_nas.export.named_networks import load_initial, load_teacher
from spach_nas.feasible import FeasibleSet
from spach_nas.search.placement import find_frame, legal_layouts
from spach_nas.space.references import reference_target
from spach_nas.space.scaling import DataShape, scale, shape_of
from spach_nas.study.results import Study, open_study

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
        if shape_of(network.architecture) != data:
            raise ConfigError(
                f"init.network: {init.network}: takes and gives {shape_of(network.architecture)}; "
                f"expected {data}, as the data have, since init.placement judges each change by "
                "the loss on them: train it on them first, or init.placement: 0"
            )
        find_frame(config.space, network.architecture, config=config, data=data)
        legal_layouts(config.space)
    return sealed


def read_shared(config: SearchConfig, *, folder: Path | None, data: DataShape) -> bytes | None:
    """The weights of the supernet from which a search begins; None: `init` names no supernet.

    Args:
        config: The search YAML.
        folder: Of the study that continues, whose own copy is taken; None: of none.
        data: Channels and classes of the images.

    Raises:
        ConfigError: The supernet does not exist, or does not hold the proxies of the search.
    """
    if config.init is None:
        return None
    source = Path(config.init.network)
    named = source.name == SUPERNET_FILE  # results/STUDY/prepared/supernet/FILE
    home = source.resolve().parents[2] if named else source
    if folder is not None and (folder / PREPARED / INITIAL_SUPERNET).is_file():
        return (folder / PREPARED / INITIAL_SUPERNET).read_bytes()
    if not (home / SEARCH_YAML).is_file():
        return None
    try:
        study = open_study(home)
    except SpachNasError as problem:
        raise ConfigError(f"init.network: {problem}") from None
    if not named and study.config.evaluator.name != SUPERNET:
        return None
    mistakes = [f"init.network: {source}: {line}" for line in _differences(study, config, data)]
    if config.init.placement:
        mistakes.append(
            "init.placement: a placement search begins with one network, and "
            f"{source} is a supernet; expected 0: a supernet scores its own subnets"
        )
    mistakes += [
        f"references: {name}: is outside of the space, and so of the supernet of {source}; "
        "expected none"
        for name in config.paper_models
        if not config.space.contains(reference_target(name, config.space.shape))
    ]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    from spach_nas.training.supernet_loop import shared_weights

    try:
        return shared_weights(home / PREPARED / SUPERNET / SUPERNET_FILE)
    except BundleError as problem:
        raise ConfigError(f"init.network: {problem}") from None


def _differences(study: Study, config: SearchConfig, data: DataShape) -> Iterator[str]:
    """Why the supernet of a study does not hold the proxies of a search."""
    theirs = study.config
    held = [choice.name for choice in theirs.evaluators]
    if SUPERNET not in held or not study.records:
        yield "has no trained supernet; expected a study with some trials by one"
        return
    if theirs.space != config.space:
        yield (
            f"its supernet is of another space; expected that of {study.folder}, with other limits "
            "if you like"
        )
    rule = asdict(theirs.proxy_at(held.index(SUPERNET)))
    for rung, choice in enumerate(config.evaluators):
        if choice.spec.inherits:
            for key, value in asdict(config.proxy_at(rung)).items():
                if value != rule[key]:
                    yield f"its proxies have {key} {rule[key]}; expected {value}, as at rung {rung}"
    shape = read_preprocessing(study.folder / DATA_JSON).data_shape
    if shape != data:
        yield f"takes and gives {shape}; expected {data}, as the data have"


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
    shared = read_shared(config, folder=folder, data=data)
    if shared is not None:
        return found | {INITIAL_SUPERNET: shared}
    initial = read_initial(config, folder=folder, feasible=feasible, data=data)
    return found if initial is None else found | {INITIAL: initial}


def keep_networks(folder: Path, networks: Mapping[str, bytes]) -> None:
    """Write the networks into the folder of a study."""
    for name, sealed in networks.items():
        (folder / PREPARED).mkdir(exist_ok=True)
        (folder / PREPARED / name).write_bytes(sealed)
