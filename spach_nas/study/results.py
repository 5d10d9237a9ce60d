"""The results of a study, for use in Python: `spach_nas.open_study`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spach_nas.config.objectives import Objective
from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.config.study_files import SEARCH_YAML
from spach_nas.errors import StudyError, one_line
from spach_nas.study import pareto
from spach_nas.study.folder import check_plugins
from spach_nas.study.records import Record, flat_record, read_records
from spach_nas.units import format_count

if TYPE_CHECKING:
    import pandas


class Study:
    """A study: its records, and which of them are best.

    Attributes:
        config: The search YAML.
    """

    def __init__(
        self, config: SearchConfig, *, folder: Path, records: Sequence[Record] = ()
    ) -> None:
        self.config = config
        self.folder = folder
        self._read = tuple(records)

    @property
    def records(self) -> Sequence[Record]:
        """All finished records, oldest first."""
        return self._read

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is optimised."""
        return self.config.objective_list

    def front(self) -> tuple[Record, ...]:
        """Records of the highest rung that no other dominates, cheapest target first."""
        return pareto.front(self.records, self.objectives, limits=self.config.limits)

    def best(self) -> Record | None:
        """The record with the best score, by the first trained objective; None without records."""
        return pareto.best(self.records, self.objectives)

    def knee(self) -> Record | None:
        """The record of the front that is farthest above its chord; None without a front."""
        return pareto.knee(self.records, self.objectives, limits=self.config.limits)

    def to_dataframe(self) -> "pandas.DataFrame":
        """A table for pandas with a row for each record, oldest first.

        Columns of a stage begin with its number: `stage1_mixers`, `stage1_width`. Costs are those
        of the target (`target_macs`) and of the trained proxy (`proxy_macs`), `latency` is in
        milliseconds, `accuracy` and `loss` are those of the last epoch. `on_front` marks the front.

        Raises:
            StudyError: pandas is not installed, or cannot be loaded.
        """
        # Optional, since nothing else needs pandas.
        try:
            import pandas
        except ImportError as problem:
            raise StudyError(
                f"to_dataframe: needs the package pandas ({one_line(problem)}); expected "
                "`pip install pandas`"
            ) from None
        front = {_key(record) for record in self.front()}
        return pandas.DataFrame(
            [{**flat_record(record), "on_front": _key(record) in front} for record in self.records]
        )

    def __repr__(self) -> str:
        states = Counter(record.state for record in self.records)
        trials = len({record.trial for record in self.records})
        lines = [
            f"Study {self.config.study!r} in {self.folder}",
            f"  {trials} trials: {states['complete']} records complete, {states['failed']} failed; "
            f"{len(self.front())} on the front",
        ]
        for name, record in (("best", self.best()), ("knee", self.knee())):
            if record is not None:
                figures = ", ".join(self._figures(record))
                lines.append(f"  {name}: trial {record.trial}, {figures}, {record.architecture}")
        return "\n".join(lines)

    def _figures(self, record: Record) -> list[str]:
        found = []
        for objective in self.objectives:
            value = pareto.value(record, objective)
            if value is not None:
                counted = objective.source == "target_cost"
                text = format_count(value) if counted else f"{value:.4g}"
                found.append(f"{objective.name} {text}")
        return found


def open_study(folder: str | Path) -> Study:
    """Open a finished or running study in its current state; nothing is changed.

    Args:
        folder: Folder of the study, such as `results/quickstart`.

    Raises:
        StudyError: The folder is not a study, or is damaged.
        ConfigError: Its search YAML is damaged.
        PluginError: A mixer of the study is not registered here.
    """
    if not isinstance(folder, str | Path):
        raise StudyError(f"{folder!r}: is no path; expected the folder of a study")
    folder = Path(folder)
    records = read_records(folder)
    if not (folder / SEARCH_YAML).is_file():
        raise StudyError(f"{folder}: holds no {SEARCH_YAML}; expected the folder of a study")
    check_plugins(folder)
    return Study(load_config(folder / SEARCH_YAML), folder=folder, records=records)


def _key(record: Record) -> tuple[int, int, int]:
    return record.trial, record.fidelity.rung, record.seed
