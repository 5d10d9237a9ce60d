"""Which mixers a set of architectures prefers in each stage."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spach_nas.config.objectives import Objective
from spach_nas.cost.limits import Limits
from spach_nas.space.architecture import Architecture
from spach_nas.study.pareto import comparable, front
from spach_nas.study.records import Record

_ORDER = ("conv", "attention", "mlp")

Shares = dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A set of architectures.

    Attributes:
        name: As on the axis.
        count: Architectures in it.
        shares: For each stage, the share of its blocks by mixer name, in [0, 1], averaged over the
            architectures that have the stage.
        drawn: Whether it stands for a larger set that it was drawn from.
    """

    name: str
    count: int
    shares: tuple[Shares, ...]
    drawn: bool = False

    @property
    def title(self) -> str:
        """Its name and size."""
        return f"{self.name} ({self.count:,}{' drawn' if self.drawn else ''})"


@dataclass(frozen=True, kw_only=True, slots=True)
class SharesData:
    """The groups to compare, and the mixers that occur in any."""

    mixers: tuple[str, ...]
    groups: tuple[Group, ...]


def shares_data(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None = None,
    feasible: Sequence[Architecture] = (),
) -> SharesData:
    """Shares on the front, among all feasible, over all evaluated, and in the paper's models.

    Args:
        records: Of one study.
        objectives: Of the study; they decide what is on the front.
        limits: Bounds on the target's cost.
        feasible: Architectures drawn uniformly from all feasible ones: what chance gives.
    """
    evaluated = comparable(records)
    if not evaluated:
        return SharesData(mixers=(), groups=())
    groups = {
        "front": _targets(front(records, objectives, limits=limits)),
        "all feasible": tuple(feasible),
        "all evaluated": _targets(item for item in evaluated if item.reference is None),
        "paper models": _targets(item for item in evaluated if item.reference is not None),
    }
    members = {name: architectures for name, architectures in groups.items() if architectures}
    used = {
        mixer
        for architectures in members.values()
        for architecture in architectures
        for stage in architecture.stages
        for mixer in stage.mixers
    }
    return SharesData(
        mixers=tuple(sorted(used, key=mixer_order)),
        groups=tuple(_group(name, items) for name, items in members.items()),
    )


def mixer_order(name: str) -> tuple[int, str]:
    """Key by which mixers are sorted: the paper's as it names them, then the others by name."""
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)


def _targets(records: Iterable[Record]) -> tuple[Architecture, ...]:
    # One architecture trained with several seeds is one.
    return tuple({record.arch_id: record.architecture for record in records}.values())


def _group(name: str, architectures: Sequence[Architecture]) -> Group:
    number = max(len(architecture.stages) for architecture in architectures)
    return Group(
        name=name,
        count=len(architectures),
        shares=tuple(_shares(i, architectures) for i in range(number)),
        drawn=name == "all feasible",
    )


def _shares(i: int, architectures: Sequence[Architecture]) -> Shares:
    having = [item.stages[i].mixers for item in architectures if len(item.stages) > i]
    shares: Shares = {}
    for mixers in having:
        for mixer in mixers:
            shares[mixer] = shares.get(mixer, 0.0) + 1 / len(mixers) / len(having)
    return {name: shares[name] for name in sorted(shares, key=mixer_order)}
