"""What strategies are compared on: a table of trainings, its search YAML, and the exact front."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import moocore
import numpy as np

from spach_nas.config.objectives import Objective
from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.config.study_files import LATENCY_JSON, RECORDS_FILE, SEARCH_YAML
from spach_nas.cost.closed_form import cost
from spach_nas.errors import StudyError
from spach_nas.feasible import Latency
from spach_nas.latency import PredictedLatency
from spach_nas.latency import read_table as read_latency
from spach_nas.replay.training_table import Entry, Table, TableSet, read_table, table_of_records
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import shape_of
from spach_nas.study.records import read_records
from spach_nas.study.requests import latency_figure

TABLE_CSV = "table.csv"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A search space whose architectures were all trained.

    Attributes:
        config: The search YAML of the table; its sampler, budget and rungs have no effect.
        table: The trainings.
        latency: Predicted latency, if it is an objective or a limit.
    """

    config: SearchConfig
    table: Table
    latency: Latency | None = None

    @cached_property
    def feasible(self) -> TableSet:
        """The architectures of the table in the space and the limits."""
        return TableSet(
            self.config.space,
            (
                entry.architecture
                for entry in self.table.entries.values()
                if self.allows(entry.architecture)
                and self.config.proxy_limits.allow(entry.proxy_cost)
            ),
        )

    @cached_property
    def reference_point(self) -> dict[str, float]:
        """The worst value of each objective over the feasible architectures."""
        worst = [min, max]
        return {
            item.name: worst[item.direction == "min"](self._points[:, i].tolist())
            for i, item in enumerate(self.config.objective_list)
        }

    @cached_property
    def front(self) -> tuple[Entry, ...]:
        """The exact front: the feasible entries that no other dominates, in their order."""
        mask = moocore.is_nondominated(self._points, maximise=self._maximised)
        return tuple(
            self.table.entries[item.arch_id]
            for item, on_front in zip(self.feasible.members, mask, strict=True)
            if on_front
        )

    def regret(self, arch_ids: Iterable[str]) -> float:
        """Share of the exact front's hypervolume that some architectures do not dominate.

        Scores are those at full length, means over the seeds of the table.

        Args:
            arch_ids: Feasible architectures of the table.

        Returns:
            From 0, the exact front, to 1; lower is better.
        """
        # Duplicates are harmless, but would cost time in the hypervolume.
        places = [self._places[arch_id] for arch_id in set(arch_ids)]
        return 1 - self._volume(self._points[places]) / self._exact if self._exact else 0.0

    def allows(self, architecture: Architecture) -> bool:
        """Whether an architecture is inside the limits, in the table or not."""
        latency = None if self.latency is None else self.latency.of(architecture)
        return self.config.limits.allow(cost(architecture), latency_ns=latency)

    def value(self, entry: Entry, objective: Objective) -> float:
        """The value of an objective after the full training; scores are means over the seeds."""
        if objective.name in (figures := latency_figure(entry.architecture, self.latency)):
            return figures[objective.name]
        return entry.value(objective)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {item.arch_id: i for i, item in enumerate(self.feasible.members)}

    @cached_property
    def _points(self) -> np.ndarray:
        return np.array(
            [
                [
                    self.value(self.table.entries[arch_id], item)
                    for item in self.config.objective_list
                ]
                for arch_id in self._places
            ]
        )

    @cached_property
    def _exact(self) -> float:
        return self._volume(self._points)

    def _volume(self, points: np.ndarray) -> float:
        if not len(points):
            return 0.0
        reference = list(self.reference_point.values())
        return float(moocore.hypervolume(points, ref=reference, maximise=self._maximised))

    @property
    def _maximised(self) -> list[bool]:
        return [item.direction == "max" for item in self.config.objective_list]


def read_benchmark(sources: Sequence[Path]) -> Benchmark:
    """Read a benchmark.

    Args:
        sources: A table file next to its `search.yaml`, a folder of both, or folders of studies
            that share a protocol.

    Raises:
        StudyError: They hold no table, or differ in their protocols.
        SpachNasError: A file is damaged.
    """
    if all((source / RECORDS_FILE).is_file() for source in sources):
        config = _shared_config(sources)
        records = [record for source in sources for record in read_records(source)]
        table = table_of_records(records, where=str(sources[0]))
        return _fitting(config, table, where=sources[0] / RECORDS_FILE)
    if len(sources) > 1:
        raise StudyError(f"{sources[1]}: expected one table, or folders of studies alone")
    path = _table_file(sources[0])
    search = path.with_name(SEARCH_YAML)
    if not search.is_file():
        raise StudyError(f"{search}: is missing; expected the search YAML of the table")
    return _fitting(load_config(search), read_table(path), where=path)


def _table_file(source: Path) -> Path:
    if not source.is_dir():
        return source
    if (source / TABLE_CSV).is_file():
        return source / TABLE_CSV
    raise StudyError(
        f"{source}: holds neither {RECORDS_FILE} nor {TABLE_CSV}; expected the folder of a study "
        "or of a table"
    )


def _shared_config(folders: Sequence[Path]) -> SearchConfig:
    first = load_config(folders[0] / SEARCH_YAML)
    for folder in folders[1:]:
        other = load_config(folder / SEARCH_YAML)
        for name, wanted in _shared(first).items():
            if _shared(other)[name] != wanted:
                raise StudyError(
                    f"{folder}: its {name} differs from that of {folders[0]}; expected studies by "
                    "one protocol"
                )
    return first


def _shared(config: SearchConfig) -> dict[str, object]:
    # What studies must share for their scores to be comparable.
    return {**config.protocol, "space": config.space, "objectives": config.objectives}


def _fitting(config: SearchConfig, table: Table, *, where: Path) -> Benchmark:
    wanted = (config.fidelity.image_size, config.fidelity.data_share)
    if wanted != (table.image_size, table.data_share):
        raise StudyError(
            f"{where}: was trained at {table.image_size} on {table.data_share} of the data; "
            f"expected {wanted[0]} and {wanted[1]}, as its {SEARCH_YAML} says"
        )
    latency = None
    if config.wants_latency:
        path = where.with_name(LATENCY_JSON)
        latency = PredictedLatency(read_latency(path), where=str(path))
    # The table decides how long a full training is, whatever the YAML says.
    training = replace(config.training, epochs=table.epochs)
    levels = tuple(
        level for level in config.rungs.levels if (level.epochs or table.epochs) < table.epochs
    )
    # Outside the folder of a study, only the architectures say what the targets' data were.
    config = config.for_data(shape_of(next(iter(table.entries.values())).architecture))
    return Benchmark(
        config=replace(
            config, training=training, rungs=replace(config.rungs, levels=levels), references=()
        ),
        table=table,
        latency=latency,
    )
