"""The files in the folder of a study, which only the driver writes, through an archive.

records.jsonl     the source of truth, one line for each finished evaluation
trials.csv        a copy for spreadsheets
study.db          a copy for optuna-dashboard
search.yaml       the search as run
space.yaml        its search space, where the search names a file
data.json         how its images were prepared
latency.json      times of the parts of its networks, where latency is an objective or a limit
front_latency.json  measured times of its front, once the trials have ended
timm_models.csv   figures of timm's models, where the search refers to any
plugins.json      modules of what does not come with this package, if there are any
prepared/         what the evaluators of its candidates share, such as a supernet
checkpoints/      weights of proxies on the front or that may be promoted, PROXY_ID-RUNG
log.jsonl         what happened when
report.html       the report
best/             the best network as a bundle
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spach_nas.config.evaluator_registry import EVALUATORS, EvaluatorSpec
from spach_nas.config.logger_registry import LOGGERS, LoggerSpec
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.runtime_registry import RUNTIMES, RuntimeSpec
from spach_nas.config.sampler_registry import SAMPLERS, SamplerSpec, get_sampler
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.config.study_files import DATA_JSON, INITIAL, PREPARED, RECORDS_FILE, TEACHER
from spach_nas.errors import PluginError, StudyError
from spach_nas.files import replace_bytes, replace_text
from spach_nas.paths import check_text, shell_word
from spach_nas.registry import Registry
from spach_nas.space.mixers import MIXERS, home, plugin_mixers
from spach_nas.space.short_names import details
from spach_nas.study.intervals import image_interval
from spach_nas.study.journal import Journal
from spach_nas.study.records import Record, append_record, flat_record

if TYPE_CHECKING:
    from spach_nas.study.optuna_mirror import StudyMirror

CHECKPOINTS = "checkpoints"
PLUGINS_JSON = "plugins.json"
BEST = "best"
REPORT = "report.html"
# `proxy_id` and rung.
CheckpointKey = tuple[str, int]
_COLUMNS = (
    *("trial", "arch_id", "proxy_id", "state", "reference", "architecture", "accuracy", "loss"),
    *("target_macs", "target_params", "target_activations", "proxy_macs", "proxy_params"),
    *("epochs", "rung", "seed", "seconds", "reason", "finished_at"),
    *("validation_images", "accuracy_low", "accuracy_high", "image_size"),
    # Of the target; from `depth` on, a figure for each stage.
    *("stem", "stem_width", "patch_size", "depth", "width", "heads"),
    *("expansion_ratio", "token_ratio", "shared"),
)


def check_new(folder: Path) -> None:
    """Check that a new study can be created in this place.

    Raises:
        StudyError: Something exists there.
    """
    if folder.exists():
        raise StudyError(
            f"{folder}: exists already and is never overwritten; expected --resume to continue "
            "it, or a new folder: give another with --out, another name under `study:`, or move "
            "this one away"
        )


def create_folder(
    folder: Path, *, texts: Mapping[str, str], records: Sequence[Record] = ()
) -> None:
    """Create the folder of a new study, with these text files and first records.

    Raises:
        StudyError: It exists already, cannot be created, or has a name that is not text.
    """
    check_text(folder, what="the folder of a study", error=StudyError)
    check_new(folder)
    # Renamed at the end, so that there is never half a study.
    new = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        new.mkdir(parents=True)
        (new / CHECKPOINTS).mkdir()
        for name, text in texts.items():
            (new / name).write_text(text, encoding="utf-8")
        for record in records:
            append_record(new / RECORDS_FILE, record)
        (new / RECORDS_FILE).touch()
        write_table(new, records)
        new.rename(folder)
    except OSError as problem:
        shutil.rmtree(new, ignore_errors=True)
        raise StudyError(f"{folder}: {problem.strerror}; expected a writable place") from None


def plugin_texts(config: SearchConfig) -> dict[str, str]:
    """The file that lists what a search takes from outside this package, with its modules."""
    homes = {spec.name: home(spec) for spec in plugin_mixers(config.mixers)}
    named: list[tuple[str, SamplerSpec | LoggerSpec | EvaluatorSpec | RuntimeSpec]]
    named = [("sampler", get_sampler(config.search.sampler))]
    named += [("logger", LOGGERS[name]) for name in config.callbacks]
    named += [("evaluator", choice.spec) for choice in config.evaluators]
    if config.latency.runtime is not None:
        named.append(("runtime", RUNTIMES[config.latency.runtime]))
    for kind, spec in named:
        module = spec.factory.partition(":")[0]
        if not module.startswith("spach_nas."):
            homes[f"{kind} {spec.name}"] = module
    return {PLUGINS_JSON: json.dumps(homes, indent=2) + "\n"} if homes else {}


def check_plugins(folder: Path) -> None:
    """Check that all plugins of a study are known here. What its folder names is never imported.

    Raises:
        PluginError: One is not known; the message names its module.
        StudyError: The list of plugins is damaged.
    """
    path = folder / PLUGINS_JSON
    if not path.is_file():
        return
    try:
        homes = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise StudyError(f"{path}: is damaged; expected plugins and their modules") from None
    lacking = [name for name in homes if not _is_known(name)]
    if lacking:
        modules = sorted({str(homes[name]) for name in lacking})
        options = " ".join(f"--plugin {shell_word(name)}" for name in modules)
        raise PluginError(
            f"{folder}: needs plugins for {', '.join(map(repr, lacking))}; expected {options}, or "
            f"in Python import {', '.join(modules)}"
        )


def _is_known(entry: str) -> bool:
    kind, _, name = entry.rpartition(" ")
    registries: dict[str, Registry[Any]] = {
        "sampler": SAMPLERS,
        "logger": LOGGERS,
        "evaluator": EVALUATORS,
        "runtime": RUNTIMES,
    }
    return name in registries.get(kind, MIXERS).names()


def class_count(folder: Path) -> int | None:
    """Number of classes of a study's images; None if it is unknown."""
    try:
        return len(json.loads((folder / DATA_JSON).read_text(encoding="utf-8"))["class_names"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def checkpoint_path(folder: Path, record: Record) -> Path:
    """Path of the weights of a record, if they were kept."""
    return checkpoint_file(folder, (record.proxy_id, record.fidelity.rung))


def checkpoint_file(folder: Path, key: CheckpointKey) -> Path:
    """Path of the weights of a proxy after a rung."""
    proxy_id, rung = key
    return folder / CHECKPOINTS / f"{proxy_id}-{rung}.safetensors"


def write_table(folder: Path, records: Iterable[Record]) -> None:
    """Replace `trials.csv`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    writer.writerows(_row(record) for record in records)
    replace_text(folder / "trials.csv", text.getvalue())


def append_to_table(folder: Path, record: Record) -> None:
    """Append to `trials.csv`."""
    with (folder / "trials.csv").open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(_row(record))


def write_checkpoint(folder: Path, key: CheckpointKey, weights: bytes) -> None:
    """Write the weights of a proxy after a rung, completely or not at all."""
    path = checkpoint_file(folder, key)
    # A study that was published or copied may lack the folder.
    path.parent.mkdir(exist_ok=True)
    replace_bytes(path, weights)


def copy_checkpoints(source: Path, folder: Path, records: Iterable[Record]) -> None:
    """Copy the weights of records from another study, as far as they were kept."""
    for record in records:
        path = checkpoint_path(source, record)
        if path.is_file():
            write_checkpoint(folder, (record.proxy_id, record.fidelity.rung), path.read_bytes())


def kept_checkpoints(folder: Path) -> set[CheckpointKey]:
    """Proxies and rungs whose weights are kept."""
    names = [path.stem for path in (folder / CHECKPOINTS).glob("*.safetensors")]
    return {
        (proxy_id, int(rung))
        for proxy_id, _, rung in (name.rpartition("-") for name in names)
        if rung.isdecimal()
    }


def remove_checkpoints(folder: Path, keys: Iterable[CheckpointKey]) -> None:
    """Remove weights that are no longer needed."""
    for key in keys:
        checkpoint_file(folder, key).unlink(missing_ok=True)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder without records, so that the search can start again.

    What was prepared for its trials is kept: the search resumes with it.
    """
    if not holds_prepared(folder) and not (folder / RECORDS_FILE).stat().st_size:
        shutil.rmtree(folder)


def holds_prepared(folder: Path) -> bool:
    """Whether a study holds work that was done before its first trial, besides copies of files."""
    files = (path for path in (folder / PREPARED).rglob("*") if path.is_file())
    return any(path.name not in (INITIAL, TEACHER) for path in files)


def _row(record: Record) -> list[object]:
    interval = image_interval(record, OBJECTIVES["accuracy"])
    row: dict[str, object] = flat_record(record) | details(record.architecture)
    row["seconds"] = round(record.seconds, 3)
    if interval is not None and row["accuracy"] is not None:
        row |= {"accuracy_low": round(interval.low, 6), "accuracy_high": round(interval.high, 6)}
    return ["" if row.get(name) is None else row[name] for name in _COLUMNS]


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
        if records:
            write_table(folder, records)
        self._mirror = _mirror(folder, config, records) if mirrored else None

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


def _mirror(folder: Path, config: SearchConfig, records: Sequence[Record]) -> "StudyMirror":
    # They import Optuna, which nobody needs who only reads a folder.
    from spach_nas.samplers.feasible_sampler import distributions
    from spach_nas.study.optuna_mirror import StudyMirror

    return StudyMirror(
        folder,
        name=config.study,
        objectives=config.objective_list,
        distributions=distributions(config.space),
        top=config.fidelity.rung,
        records=records,
    )
