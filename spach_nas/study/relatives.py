"""From which trained network of a study another one begins, where its evaluator inherits."""

from collections.abc import Callable, Iterable

from spach_nas.config.evaluation import Relative
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.errors import ArchitectureError
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import DataShape, scale
from spach_nas.study.folder import CheckpointKey
from spach_nas.study.records import Record


def nearest_relative(
    target: Architecture,
    rung: int,
    *,
    config: SearchConfig,
    data: DataShape,
    records: Iterable[Record],
    holds: Callable[[CheckpointKey], bool],
) -> tuple[Record, Relative] | None:
    """The trained proxy from which the fewest changes lead to another, approximate ones first.

    Of equally near ones the most accurate, then the latest. None where no weights are kept from
    which there is a morphism.

    Args:
        target: Whose proxy is to be trained.
        rung: At which.
        config: The search YAML.
        data: Channels and classes of the images.
        records: Of the study, oldest first.
        holds: Whether the weights of a proxy after a rung are kept.
    """
    from spach_nas.networks import changes  # torch, which a study without heirs does without

    proxy = scale(target, config.proxy_at(rung), data)
    found: list[tuple[tuple[float, ...], Record, Relative]] = []
    for number, record in enumerate(records):
        below = record.fidelity.rung
        key = record.proxy_id, below
        if record.state != "complete" or not config.evaluators[below].spec.trains or not holds(key):
            continue
        own = scale(record.architecture, config.proxy_at(below), data)
        try:
            steps = changes(own, proxy)
        except ArchitectureError:
            continue
        rough = sum(not step.exact for step in steps)
        rank = (-rough, -len(steps), record.objectives.get("accuracy", 0.0), number)
        found.append((rank, record, Relative(trial=record.trial, proxy=own)))
    if not found:
        return None
    _, record, relative = max(found, key=lambda item: item[0])
    return record, relative
