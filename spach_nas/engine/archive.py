"""What a study writes: the records, which are the truth, and what mirrors or serves them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from spach_nas.config import SearchConfig
from spach_nas.engine.mirror import StudyMirror
from spach_nas.engine.samplers import distributions
from spach_nas.journal import Journal
from spach_nas.records import Record
from spach_nas.study_folder import (
    CheckpointKey,
    append_to_table,
    kept_checkpoints,
    remove_checkpoints,
    write_checkpoint,
    write_record,
    write_table,
)


class Archive:
    """The folder of a study, open for writing."""

    def __init__(
        self, folder: Path, config: SearchConfig, *, records: Sequence[Record], mirrored: bool
    ) -> None:
        """Open it, and mend the mirrors where an earlier run was killed.

        Args:
            folder: Made by `create_folder`.
            config: The search YAML.
            records: What it holds already, oldest first.
            mirrored: Whether `study.db` mirrors the records.
        """
        self._folder = folder
        self._journal = Journal(folder)
        self._kept = kept_checkpoints(folder)
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
        """Write a record, so that it outlives a crash at any moment."""
        # The weights first: a record whose weights are missing would have lost them.
        if weights is not None:
            key = record.proxy_id, record.fidelity.rung
            write_checkpoint(self._folder, key, weights)
            self._kept.add(key)
        write_record(self._folder, record)

    def mirror(self, record: Record) -> None:
        """Add a saved record to what mirrors the records."""
        append_to_table(self._folder, record)
        if self._mirror is not None:
            self._mirror.add(record)

    def forget(self, needs: Callable[[CheckpointKey], bool]) -> None:
        """Remove the weights that nothing needs."""
        spare = {key for key in self._kept if not needs(key)}
        remove_checkpoints(self._folder, spare)
        self._kept -= spare

    def log(self, event: str, fields: Mapping[str, object]) -> None:
        """Note what happened."""
        self._journal.write(event, fields)

    def close(self) -> None:
        """Let go of all files."""
        if self._mirror is not None:
            self._mirror.close()
