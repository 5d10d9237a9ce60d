"""Tables of trainings with the scores after every epoch, which a replay looks up.

A table is a CSV file: a row for each architecture, seed of the training and epoch. The columns:

arch_id, architecture    the target: its name, and the whole of it as JSON
reference                name of the paper's model, if it is one
seed                     of the training
epoch                    from 1
accuracy, loss           on the validation part after the epoch; accuracy in [0, 1]
train_loss               mean over the epoch
seconds                  of the epoch, validation included; processor time where it is known
target_params, target_macs, target_macs_with_norms, target_activations
proxy_params, proxy_macs, proxy_macs_with_norms, proxy_activations
image_height, image_width, data_share    what the proxy was trained on
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spach_nas.config.evaluation import Epoch
from spach_nas.config.objectives import Objective
from spach_nas.cost.closed_form import Cost
from spach_nas.errors import ArchitectureError, StudyError
from spach_nas.space.architecture import Architecture
from spach_nas.space.layouts import Value
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding
from spach_nas.study.records import Record

_COSTS = tuple(f"{of}_{name}" for of in ("target", "proxy") for name in Cost._fields)
_WHOLE = ("seed", "epoch", *_COSTS, "image_height", "image_width")
_REAL = ("accuracy", "loss", "train_loss", "seconds", "data_share")
COLUMNS = (
    *("arch_id", "reference", "architecture", "seed", "epoch"),
    *("accuracy", "loss", "train_loss", "seconds"),
    *_COSTS,
    *("image_height", "image_width", "data_share"),
)
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One architecture, trained with one seed or more.

    Attributes:
        reference: Name of the paper's model, if it is one.
        proxy_cost: Cost of the proxy, which was trained.
        curves: Scores after each epoch, by the seed of the training.
    """

    architecture: Architecture
    reference: str | None = None
    target_cost: Cost
    proxy_cost: Cost
    curves: Mapping[int, tuple[Epoch, ...]]

    def value(self, objective: Objective) -> float:
        """The value of an objective after the full training; scores are means over the seeds."""
        if objective.source == "target_cost":
            return float(getattr(self.target_cost, objective.name))
        last = [getattr(curve[-1], objective.name) for curve in self.curves.values()]
        return float(sum(last) / len(last))


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Architectures that were all trained by one protocol.

    Attributes:
        entries: Entries by `arch_id`.
        epochs: Length of every curve.
        image_size: Height and width of the proxies' input.
        data_share: Share of the training part.
    """

    entries: Mapping[str, Entry]
    epochs: int
    image_size: tuple[int, int]
    data_share: float

    @property
    def full_seconds(self) -> float:
        """Mean duration of a full training."""
        totals = [
            sum(epoch.seconds for epoch in curve)
            for entry in self.entries.values()
            for curve in entry.curves.values()
        ]
        return sum(totals) / len(totals)


def make_table(
    entries: Iterable[Entry], *, where: str, image_size: tuple[int, int], data_share: float
) -> Table:
    """A table of the architectures that were trained to the end; others are left out.

    Raises:
        StudyError: No training is complete.
    """
    given = list(entries)
    # In a search with rungs, most trainings end early; only full ones are comparable.
    epochs = max((len(c) for entry in given for c in entry.curves.values()), default=0)
    kept: dict[str, Entry] = {}
    for entry in given:
        curves = {seed: c for seed, c in sorted(entry.curves.items()) if len(c) == epochs}
        if curves:
            kept[entry.architecture.arch_id] = replace(entry, curves=curves)
    if not epochs:
        raise StudyError(f"{where}: holds no complete training; expected one at least")
    return Table(entries=kept, epochs=epochs, image_size=image_size, data_share=data_share)


def table_of_records(records: Sequence[Record], *, where: str) -> Table:
    """The table of the records of one study, or of several that share a protocol.

    The longest training of each architecture and seed counts. Trainings with another image size or
    share of the data than the highest rung's are left out.

    Raises:
        StudyError: No record is complete.
    """
    complete = [record for record in records if record.state == "complete" and record.curve]
    if not complete:
        raise StudyError(f"{where}: holds no complete training; expected one at least")
    # Scores at another image size or on fewer images are not comparable with those at the top.
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
    """The epoch with the duration that it would have on an idle machine."""
    if epoch.cpu_seconds is None:
        return epoch
    # Trainings next to each other slow each other down, by an amount that says nothing about the
    # architecture. With several threads, processor time exceeds the duration.
    return replace(epoch, seconds=min(epoch.seconds, epoch.cpu_seconds))


class TableSet:
    """Some architectures of a space; takes the place of a `FeasibleSet`.

    Raises:
        StudyError: None of them is in the space.
    """

    def __init__(self, space: SearchSpace, architectures: Iterable[Architecture]) -> None:
        self.space = space
        self._members = [item for item in dict.fromkeys(architectures) if space.contains(item)]
        self.count: int | None = len(self._members)
        if not self._members:
            raise StudyError("the table holds no architecture of the search space within limits")
        self._known = set(self._members)
        self._rows = np.array([self._row(space.encode(item)) for item in self._members])
        # As in `FeasibleSet.near`: ordered choices count by the share of all steps, others 0 or 1.
        self._spans = np.array(
            [0 if _named(values) else len(values) - 1 for values in space.parameters.values()]
        )

    @property
    def members(self) -> tuple[Architecture, ...]:
        """All of them."""
        return tuple(self._members)

    def sample(self, seed: int | np.random.Generator) -> Architecture:
        """One of them, uniformly."""
        return self._members[int(np.random.default_rng(seed).integers(len(self._members)))]

    def allows(self, architecture: Architecture) -> bool:
        """Whether it is one of them."""
        return architecture in self._known

    def near(self, encoding: Encoding, rng: np.random.Generator) -> Architecture:
        """The one nearest to a proposal; the proposal itself if it is one of them.

        Args:
            encoding: A value for each parameter of the space.
            rng: Breaks ties.
        """
        proposed = self.space.decode(encoding)
        if proposed in self._known:
            return proposed
        steps = np.abs(self._rows - self._row(self.space.encode(proposed)))
        distance = np.where(self._spans, steps / np.maximum(self._spans, 1), steps > 0).sum(1)
        nearest = np.flatnonzero(np.isclose(distance, distance.min()))
        return self._members[int(rng.choice(nearest))]

    def _row(self, encoding: Encoding) -> list[int]:
        return [values.index(encoding[name]) for name, values in self.space.parameters.items()]


def _named(values: tuple[Value, ...]) -> bool:
    return isinstance(values[0], str | bool)


def write_table(table: Table, path: Path) -> None:
    """Write a table as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_rows(table))


def read_table(path: Path) -> Table:
    """Read what `write_table` wrote; further columns are ignored.

    Raises:
        StudyError: The file is missing or damaged.
    """
    if not path.is_file():
        raise StudyError(f"{path}: no such file; expected a table")
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file))
    lacking = [name for name in COLUMNS if rows and name not in rows[0]]
    if lacking or not rows:
        raise StudyError(
            f"{path}: columns {', '.join(lacking)} are missing; expected {', '.join(COLUMNS)}"
            if lacking
            else f"{path}: holds no rows; expected one for each architecture, seed and epoch"
        )
    parsed = [_parse(row, where=f"{path}: row {number}") for number, row in enumerate(rows, 1)]
    shared = {(row["image_height"], row["image_width"], row["data_share"]) for row in parsed}
    if len(shared) > 1:
        raise StudyError(
            f"{path}: was trained on {len(shared)} combinations of image size and share of the "
            "data; expected one, so that scores can be compared"
        )
    height, width, share = shared.pop()
    return make_table(
        _entries(parsed, where=str(path)),
        where=str(path),
        image_size=(height, width),
        data_share=share,
    )


def _rows(table: Table) -> Iterator[dict[str, Any]]:
    height, width = table.image_size
    for arch_id, entry in table.entries.items():
        costs = dict(zip(_COSTS, (*entry.target_cost, *entry.proxy_cost), strict=True))
        text = json.dumps(entry.architecture.to_dict(), separators=(",", ":"))
        for seed, curve in entry.curves.items():
            for epoch, figures in enumerate(curve, 1):
                yield {
                    "arch_id": arch_id,
                    "reference": entry.reference or "",
                    "architecture": text,
                    "seed": seed,
                    "epoch": epoch,
                    "accuracy": figures.accuracy,
                    "loss": figures.loss,
                    "train_loss": figures.train_loss,
                    "seconds": figures.seconds,
                    **costs,
                    "image_height": height,
                    "image_width": width,
                    "data_share": table.data_share,
                }


def _parse(row: Row, *, where: str) -> dict[str, Any]:
    try:
        return {
            **row,
            **{name: int(row[name]) for name in _WHOLE},
            **{name: float(row[name]) for name in _REAL},
        }
    except (ValueError, TypeError) as problem:
        raise StudyError(
            f"{where}: {problem}; expected numbers in all but the first columns"
        ) from None


def _entries(rows: Sequence[Row], *, where: str) -> Iterator[Entry]:
    by_arch: dict[str, list[Row]] = {}
    for row in rows:
        by_arch.setdefault(row["arch_id"], []).append(row)
    for arch_id, own in sorted(by_arch.items()):
        first = own[0]
        curves: dict[int, dict[int, Epoch]] = {}
        for row in own:
            figures = {name: row[name] for name in ("accuracy", "loss", "train_loss", "seconds")}
            curves.setdefault(row["seed"], {})[row["epoch"]] = Epoch(**figures)
        for seed, curve in curves.items():
            # A gap would shift all later epochs.
            if sorted(curve) != list(range(1, len(curve) + 1)):
                raise StudyError(
                    f"{where}: {arch_id}, seed {seed}: epochs {sorted(curve)}; expected all from 1"
                )
        yield Entry(
            architecture=_architecture(first, where=f"{where}: {arch_id}"),
            reference=first["reference"] or None,
            target_cost=_cost(first, "target"),
            proxy_cost=_cost(first, "proxy"),
            curves={
                seed: tuple(curve[epoch] for epoch in sorted(curve))
                for seed, curve in curves.items()
            },
        )


def _architecture(row: Row, *, where: str) -> Architecture:
    try:
        found = Architecture.from_dict(json.loads(row["architecture"]), where=where)
    except (ValueError, ArchitectureError) as problem:
        raise StudyError(f"{where}: {problem}") from None
    # The id is the key of the table: rows of two architectures must never be joined.
    if found.arch_id != row["arch_id"]:
        raise StudyError(f"{where}: is another architecture, {found.arch_id}; expected its own id")
    return found


def _cost(row: Row, of: str) -> Cost:
    return Cost(**{name: row[f"{of}_{name}"] for name in Cost._fields})
