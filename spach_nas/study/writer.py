"""What a study writes: records, copies of them in other formats, weights and journal."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from spach_nas.config.search_yaml import SearchConfig
from spach_nas.config.study_files import RECORDS_FILE
from spach_nas.samplers.feasible_sampler import distributions
from spach_nas.study.folder import (
    CheckpointKey,
    append_to_table,
    checkpoint_file,
    kept_checkpoints,
    remove_checkpoints,
    write_checkpoint,
    write_table,
)
from spach_nas.study.journal import Journal
from spach_nas.study.optuna_mirror import StudyMirror
from spach_nas.study.records import Record, append_record


class Archive:
    """Writes nothing, for replays; it only knows whose weights would be kept."""

    def __init__(self) -> None:
        self._kept: set[CheckpointKey] = set()

    def save(self, record: Record, weights: bytes | None) -> None:
        """Keep a record and its weights."""
        if weights is not None:
            self._kept.add((record.proxy_id, record.fidelity.rung))

    def mirror(self, record: Record) -> None:
        """Add a saved record to the mirrors of the records."""

    def kept(self) -> Collection[CheckpointKey]:
        """Proxies and rungs whose weights are kept."""
        return self._kept

    def holds(self, key: CheckpointKey) -> bool:
        """Whether the weights of a proxy after a rung are kept."""
        return key in self._kept

    def forget(self, keys: Collection[CheckpointKey]) -> None:
        """Remove weights."""
        self._kept.difference_update(keys)

    def log(self, event: str, fields: Mapping[str, object]) -> None:
        """Note what happened in the journal."""

    def close(self) -> None:
        """Close all files."""


class FolderArchive(Archive):
    """The folder of a study, open for writing."""

    def __init__(
        self, folder: Path, config: SearchConfig, *, records: Sequence[Record], mirrored: bool
    ) -> None:
        """Open the folder, and repair the mirrors if an earlier run was killed.

        Args:
            folder: A folder made by `create_folder`.
            config: The search YAML.
            records: Its records so far, oldest first.
            mirrored: Whether `study.db` mirrors the records.
        """
        super().__init__()
        self._folder = folder
        self._journal = Journal(folder)
        self._mirror = None
        if records:
            write_table(folder, records)
        if mirrored:
            self._mirror = StudyMirror(
                folder,
                name=config.study,
                objectives=config.objective_list,
                distributions=distributions(config.space),
                top=config.fidelity.rung,
                records=records,
            )

    def save(self, record: Record, weights: bytes | None) -> None:
        """Write weights and record, so that a crash at any moment loses neither."""
        # The weights first: once the record is written, the trial is not repeated.
        if weights is not None:
            key = record.proxy_id, record.fidelity.rung
            write_checkpoint(self._folder, key, weights)
        append_record(self._folder / RECORDS_FILE, record)

    def mirror(self, record: Record) -> None:
        """Add a saved record to the mirrors of the records."""
        append_to_table(self._folder, record)
        if self._mirror is not None:
            self._mirror.add(record)

    def kept(self) -> Collection[CheckpointKey]:
        """Proxies and rungs whose weights are kept."""
        return kept_checkpoints(self._folder)

    def holds(self, key: CheckpointKey) -> bool:
        """Whether the weights are kept; a user may have removed them."""
        return checkpoint_file(self._folder, key).is_file()

    def forget(self, keys: Collection[CheckpointKey]) -> None:
        """Remove weights."""
        remove_checkpoints(self._folder, keys)

    def log(self, event: str, fields: Mapping[str, object]) -> None:
        """Note what happened."""
        self._journal.write(event, fields)

    def close(self) -> None:
        """Close all files."""
        if self._mirror is not None:
            self._mirror.close()
