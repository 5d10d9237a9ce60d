"""The first proposals of a search that begins from a trained network: those of a placement search.

What the blocks are worth is kept in the study's folder, so that a resumed search goes on with it
and proposes the same.
"""

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from spach_nas.config.search_yaml import SearchConfig
from spach_nas.config.study_files import INITIAL, PLACEMENT, PREPARED
from spach_nas.data import DataSplits
from spach_nas.errors import ConfigError
from spach_nas.feasible import FeasibleSet
from spach_nas.files import replace_text
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import DataShape, scale
from spach_nas.space.search_space import SearchSpace, contexts, numbered_stages
from spach_nas.space.stage_space import Encoding

if TYPE_CHECKING:
    from spach_nas.evaluators.block_changes import BlockChange

# Of one stage: the integer programme has a variable for each.
MOST_LAYOUTS = 20_000
# Solutions of the programme that other limits may refuse, such as one on latency.
_MOST_TRIED = 10


def placed(
    config: SearchConfig,
    *,
    folder: Path,
    feasible: FeasibleSet,
    data: DataShape,
    splits: DataSplits,
    tell: Callable[[str], None],
    stopped: Callable[[], bool],
) -> tuple[tuple[Encoding, ...], float]:
    """The first proposals, what a placement search expects most of first; and its seconds.

    Args:
        config: With `init.placement`.
        folder: Of the study.
        feasible: What may be proposed.
        data: Channels and classes of the images.
        splits: Images of the full fidelity.
        tell: Takes a few words on what is being done.
        stopped: Whether to save and return.
    """
    from spach_nas.evaluators.block_changes import block_changes, place, score_blocks
    from spach_nas.training import choose_runtime, move, threads
    from spach_nas.training.sealed_networks import open_network

    init = config.init
    assert init is not None
    runtime = choose_runtime(device=config.training.device, precision=config.training.precision)
    network = move(open_network((folder / PREPARED / INITIAL).read_bytes()), runtime)
    trained = network.architecture
    changes = block_changes(trained, [stage.mixers.names for stage in config.space.stages])
    path = folder / PREPARED / PLACEMENT
    scores, before = _read_scores(path)
    started = time.monotonic() - before
    missing = [change for change in changes if change not in scores]
    found = score_blocks(
        network,
        splits,
        changes=missing,
        steps=init.steps,
        learning_rate=init.learning_rate,
        seed=config.training_seed,
        runtime=runtime,
    )
    with threads(config.resources.threads):
        for number in range(len(changes) - len(missing), len(changes)):
            if stopped():
                return (), time.monotonic() - started
            tell(f"placement: {number + 1} of {len(changes)} changes of a block")
            change, loss = next(found)
            scores[change] = loss
            known = {
                "seconds": time.monotonic() - started,
                "changes": [{**asdict(item), "loss": worth} for item, worth in scores.items()],
            }
            replace_text(path, json.dumps(known))
    frame = find_frame(config.space, trained, config=config, data=data)
    targets = place(
        frame,
        scores,
        trained=trained,
        rule=config.proxy,
        layouts=legal_layouts(config.space),
        limits=config.limits.without_latency,
    )
    tried = itertools.islice(targets, _MOST_TRIED * init.placement)
    allowed = (target for target in tried if feasible.allows(target))
    encodings = map(config.space.encode, itertools.islice(allowed, init.placement))
    return tuple(encodings), time.monotonic() - started


def find_frame(
    space: SearchSpace, trained: Architecture, *, config: SearchConfig, data: DataShape
) -> Architecture:
    """A target of the space whose proxy has the stem and the widths of a trained network.

    Raises:
        ConfigError: There is none.
    """
    for values in contexts(space):
        encoding = dict(values)
        for prefix, stage in numbered_stages(space):
            depth = max(stage.depth)
            mixers = next(stage.mixers.arrangements((depth,)))
            encoding[f"{prefix}.depth"] = depth
            described = stage.mixers.describe(mixers, stage.depth)
            assert described is not None, "an arrangement of the stage"
            encoding |= {f"{prefix}.{name}": value for name, value in described.items()}
        target = space.decode(encoding)
        if _sizes(scale(target, config.proxy, data)) == _sizes(trained):
            return target
    raise ConfigError(
        f"init.network: no proxy of the space has its stem and widths: {trained.stem} and "
        f"{', '.join(str(stage.width) for stage in trained.stages)}; expected a network of the "
        "space, or init.placement: 0"
    )


def _sizes(architecture: Architecture) -> tuple[object, ...]:
    stages = [
        (stage.width, stage.heads, int(stage.expansion_ratio * stage.width))
        for stage in architecture.stages
    ]
    return architecture.stem, architecture.stem_width, architecture.patch_size, stages


def legal_layouts(space: SearchSpace) -> list[list[tuple[str, ...]]]:
    """Legal mixers of each stage.

    Raises:
        ConfigError: A stage has too many.
    """
    mistakes = []
    for number, stage in enumerate(space.stages):
        count = sum(item.number for item in stage.mixers.classes(stage.depth))
        if count > MOST_LAYOUTS:
            mistakes.append(
                f"init.placement: stages[{number}] of the space has {count:,} arrangements of its "
                f"mixers; expected at most {MOST_LAYOUTS:,}, as with a layout of leading and "
                "trailing mixers"
            )
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return [list(stage.mixers.arrangements(stage.depth)) for stage in space.stages]


def _read_scores(path: Path) -> "tuple[dict[BlockChange, float], float]":
    """What earlier sessions have found, and the seconds that it took."""
    from spach_nas.evaluators.block_changes import BlockChange

    if not path.is_file():
        return {}, 0.0
    known = json.loads(path.read_text(encoding="utf-8"))
    scores = {
        BlockChange(**{name: value for name, value in item.items() if name != "loss"}): item["loss"]
        for item in known["changes"]
    }
    return scores, known["seconds"]
