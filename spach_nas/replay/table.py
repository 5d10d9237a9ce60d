"""What was trained once, after every epoch: what a replay takes in place of training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from spach_nas.config.evaluation import Epoch
from spach_nas.config.objectives import Objective
from spach_nas.cost.closed_form import Cost
from spach_nas.errors import StudyError
from spach_nas.space.architecture import Architecture
from spach_nas.study.records import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One architecture, trained with one seed or more.

    Attributes:
        architecture: The target.
        reference: Name of the paper's model, when it is one.
        target_cost: Cost of the target.
        proxy_cost: Cost of what was trained.
        curves: Figures after each epoch, by the seed of the training.
    """

    architecture: Architecture
    reference: str | None = None
    target_cost: Cost
    proxy_cost: Cost
    curves: Mapping[int, tuple[Epoch, ...]]

    def value(self, objective: Objective) -> float:
        """The figure at full length, a score as the mean over the seeds."""
        if objective.source == "target_cost":
            return float(getattr(self.target_cost, objective.name))
        last = [getattr(curve[-1], objective.name) for curve in self.curves.values()]
        return float(sum(last) / len(last))


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Architectures that were all trained by one protocol.

    Attributes:
        entries: By `arch_id`, each trained for as many epochs as the others.
        epochs: Of every curve.
        image_size: Height and width of the proxies' input.
        data_share: Share of the training part.
    """

    entries: Mapping[str, Entry]
    epochs: int
    image_size: tuple[int, int]
    data_share: float

    @property
    def full_seconds(self) -> float:
        """Mean duration of a training at full length."""
        totals = [
            sum(epoch.seconds for epoch in curve)
            for entry in self.entries.values()
            for curve in entry.curves.values()
        ]
        return sum(totals) / len(totals)


def make_table(
    entries: Iterable[Entry], *, where: str, image_size: tuple[int, int], data_share: float
) -> Table:
    """A table of those that were trained to the end; the others are left out.

    Raises:
        StudyError: There is none.
    """
    given = list(entries)
    epochs = max((len(c) for entry in given for c in entry.curves.values()), default=0)
    kept: dict[str, Entry] = {}
    for entry in given:
        curves = {seed: c for seed, c in sorted(entry.curves.items()) if len(c) == epochs}
        if curves:
            kept[entry.architecture.arch_id] = Entry(
                architecture=entry.architecture,
                reference=entry.reference,
                target_cost=entry.target_cost,
                proxy_cost=entry.proxy_cost,
                curves=curves,
            )
    if not epochs:
        raise StudyError(f"{where}: holds no complete training; expected one at least")
    return Table(entries=kept, epochs=epochs, image_size=image_size, data_share=data_share)


def table_of_records(records: Sequence[Record], *, where: str) -> Table:
    """The table of one study's records or of several, which share their protocol.

    The longest training of an architecture and seed counts; trainings on other image sizes or
    shares of the data than those of the highest rung are left out.

    Raises:
        StudyError: No record is complete.
    """
    complete = [record for record in records if record.state == "complete" and record.curve]
    if not complete:
        raise StudyError(f"{where}: holds no complete training; expected one at least")
    top = max((record.fidelity for record in complete), key=lambda one: (one.rung, one.epochs))
    size, share = top.image_size, top.data_share
    curves: dict[str, dict[int, tuple[Epoch, ...]]] = {}
    firsts: dict[str, Record] = {}
    for record in complete:
        if (record.fidelity.image_size, record.fidelity.data_share) != (size, share):
            continue
        first = firsts.setdefault(record.arch_id, record)
        if record.reference and not first.reference:
            firsts[record.arch_id] = record
        own = curves.setdefault(record.arch_id, {})
        if len(record.curve) > len(own.get(record.seed, ())):
            own[record.seed] = tuple(map(_undisturbed, record.curve))
    entries = [
        Entry(
            architecture=record.architecture,
            reference=record.reference,
            target_cost=record.target_cost,
            proxy_cost=record.proxy_cost,
            curves=curves[arch_id],
        )
        for arch_id, record in firsts.items()
    ]
    return make_table(entries, where=where, image_size=size, data_share=share)


def _undisturbed(epoch: Epoch) -> Epoch:
    """With the duration that a training on one thread has where nothing else runs."""
    if epoch.cpu_seconds is None:
        return epoch
    # Several threads take more processor time than the training lasts.
    return replace(epoch, seconds=min(epoch.seconds, epoch.cpu_seconds))
