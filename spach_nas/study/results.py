"""What a study has found, for use in Python: `spach_nas.open_study`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.config.study_files import SEARCH_YAML
from spach_nas.errors import StudyError, one_line
from spach_nas.study import pareto
from spach_nas.study.folder import check_plugins
from spach_nas.study.records import Record, read_records
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
        """Everything finished, oldest first."""
        return self._read

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is optimised."""
        return self.config.objective_list

    def front(self) -> tuple[Record, ...]:
        """Records of the highest rung that no other dominates, cheapest target first."""
        return pareto.front(self.records, self.objectives, limits=self.config.limits)

    def best(self) -> Record | None:
        """The record with the best score, the first trained objective; None without one."""
        return pareto.best(self.records, self.objectives)

    def knee(self) -> Record | None:
        """The front's record farthest above its chord; None where there is no front."""
        return pareto.knee(self.records, self.objectives, limits=self.config.limits)

    def to_dataframe(self) -> "pandas.DataFrame":
        """A table for pandas: a row for each record, oldest first; a column for each figure.

        Columns of a stage begin with its number: `stage1_mixers`, `stage1_width`. Costs are counts
        of the target (`target_macs`) and of the trained proxy (`proxy_macs`), `latency` is in
        milliseconds, `accuracy` and `loss` are those of the last epoch. `on_front` marks the front.

        Raises:
            StudyError: pandas is not installed, or cannot be loaded.
        """
        try:
            import pandas
        except ImportError as problem:
            raise StudyError(
                f"to_dataframe: needs the package pandas ({one_line(problem)}); expected "
                "`pip install pandas`"
            ) from None
        front = {_key(record) for record in self.front()}
        return pandas.DataFrame(
            [{**_row(record), "on_front": _key(record) in front} for record in self.records]
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
    """A study that a search has left, or is writing, as it is now; nothing is changed.

    Args:
        folder: Of the study, such as `results/quickstart`.

    Raises:
        StudyError: The folder is no study, or is damaged.
        ConfigError: Its search YAML is none.
        PluginError: A mixer of the study is not known here.
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


def _row(record: Record) -> dict[str, Any]:
    """A record without anything nested."""
    architecture = record.architecture
    complete = record.state == "complete"
    row: dict[str, Any] = {
        "trial": record.trial,
        "rung": record.fidelity.rung,
        "state": record.state,
        "reference": record.reference,
        **{name: OBJECTIVES[name].of(record) if complete else None for name in _SCORED},
        **{name: value for name, value in record.objectives.items() if name not in _TWICE},
        **{f"target_{name}": value for name, value in record.target_cost._asdict().items()},
        **{f"proxy_{name}": value for name, value in record.proxy_cost._asdict().items()},
        "architecture": str(architecture),
        "stem": architecture.stem,
        "stem_width": architecture.stem_width,
        "patch_size": architecture.patch_size,
        "image_size": "x".join(map(str, architecture.image_size)),
    }
    for number, stage in enumerate(architecture.stages, 1):
        row |= {
            f"stage{number}_mixers": str(stage),
            f"stage{number}_depth": stage.depth,
            f"stage{number}_width": stage.width,
            f"stage{number}_heads": stage.heads,
            f"stage{number}_expansion_ratio": stage.expansion_ratio,
            f"stage{number}_token_ratio": stage.token_ratio,
            f"stage{number}_shared": stage.shared,
            **{f"stage{number}_{name}": value for name, value in stage.options},
        }
    return row | {
        "epochs": record.fidelity.epochs,
        "data_share": record.fidelity.data_share,
        "seed": record.seed,
        "seconds": record.seconds,
        "started": record.started,
        "finished_at": record.finished_at,
        "reason": record.reason,
        "remark": record.remark,
        "arch_id": record.arch_id,
        "proxy_id": record.proxy_id,
        "origin": record.origin,
        "evaluator": record.evaluator,
        "version": record.version,
        "machine": record.machine,
    }


_SCORED = ("accuracy", "loss")
# Objectives that stand in the row under another name, or as they are.
_TWICE = ("accuracy", "loss", "macs", "params", "activations")
