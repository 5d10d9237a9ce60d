"""The folder of a study: what is written where, by the driver alone.

records.jsonl     the truth, one line for each finished evaluation
trials.csv        a mirror for spreadsheets, one row a trial
study.db          a mirror for optuna-dashboard
search.yaml       the search as run
space.yaml        its search space, where the search names a file
data.json         how its images were prepared
latency.json      times of the parts of its networks, where latency is an objective or a limit
plugins.json      modules of the mixers that do not come with this package, where there are any
prepared/         what the evaluators of its candidates share, such as a supernet
checkpoints/      weights of proxies on the front or that may be promoted, PROXY_ID-RUNG
log.jsonl         what happened when
report.html       the page of the results
best/             the exported best network
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.study_files import DATA_JSON, PREPARED, RECORDS_FILE
from spach_nas.errors import PluginError, StudyError
from spach_nas.files import replace_bytes, replace_text
from spach_nas.paths import check_text, shell_word
from spach_nas.space.mixers import MixerSpec, home, mixer_names
from spach_nas.space.short_names import details
from spach_nas.study.intervals import image_interval
from spach_nas.study.records import Record, append_record

CHECKPOINTS = "checkpoints"
PLUGINS_JSON = "plugins.json"
BEST = "best"
REPORT = "report.html"
# `proxy_id` and rung.
CheckpointKey = tuple[str, int]
_COLUMNS = (
    "trial",
    "arch_id",
    "proxy_id",
    "state",
    "reference",
    "architecture",
    "accuracy",
    "loss",
    "target_macs",
    "target_params",
    "target_activations",
    "proxy_macs",
    "proxy_params",
    "epochs",
    "rung",
    "seed",
    "seconds",
    "reason",
    "finished_at",
    "validation_images",
    "accuracy_low",
    "accuracy_high",
    "image_size",
    # Of the target, a figure for each stage.
    "stem",
    "stem_width",
    "patch_size",
    "depth",
    "width",
    "heads",
    "expansion_ratio",
    "token_ratio",
    "shared",
)


def check_new(folder: Path) -> None:
    """Whether a new study may take this place.

    Raises:
        StudyError: Something is there.
    """
    if folder.exists():
        raise StudyError(
            f"{folder}: exists already and is never overwritten; expected --resume to go on with "
            "it, or a new folder: give another with --out, another name under `study:`, or move "
            "this one away"
        )


def create_folder(
    folder: Path, *, texts: Mapping[str, str], records: Sequence[Record] = ()
) -> None:
    """Make the folder of a new study, with these text files and records to begin with.

    Raises:
        StudyError: It exists already, cannot be made, or has a name that is no text.
    """
    check_text(folder, what="the folder of a study", error=StudyError)
    check_new(folder)
    # Moved into place at the end: there is never half a study.
    new = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        new.mkdir(parents=True)
        (new / CHECKPOINTS).mkdir()
        for name, text in texts.items():
            (new / name).write_text(text, encoding="utf-8")
        for record in records:
            write_record(new, record)
        (new / RECORDS_FILE).touch()
        write_table(new, records)
        new.rename(folder)
    except OSError as problem:
        shutil.rmtree(new, ignore_errors=True)
        raise StudyError(f"{folder}: {problem.strerror}; expected a writable place") from None


def plugin_texts(mixers: Iterable[MixerSpec]) -> dict[str, str]:
    """What remembers where these mixers came from: nothing where there are none."""
    homes = {spec.name: home(spec) for spec in mixers}
    return {PLUGINS_JSON: json.dumps(homes, indent=2) + "\n"} if homes else {}


def check_plugins(folder: Path) -> None:
    """Whether all mixers of a study are known here. What its folder names is never imported.

    Raises:
        PluginError: One is not; the message says which module brings it in.
        StudyError: The list of them is damaged.
    """
    path = folder / PLUGINS_JSON
    if not path.is_file():
        return
    try:
        homes = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise StudyError(f"{path}: is damaged; expected mixers and their modules") from None
    lacking = [name for name in homes if name not in mixer_names()]
    if lacking:
        modules = sorted({str(homes[name]) for name in lacking})
        options = " ".join(f"--plugin {shell_word(name)}" for name in modules)
        raise PluginError(
            f"{folder}: was searched with the mixers {', '.join(map(repr, lacking))}, which are "
            f"not known here; expected {options}, "
            f"or in Python import {', '.join(modules)}"
        )


def class_count(folder: Path) -> int | None:
    """Classes of a study's images; None where it does not say."""
    try:
        return len(json.loads((folder / DATA_JSON).read_text(encoding="utf-8"))["class_names"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def checkpoint_path(folder: Path, record: Record) -> Path:
    """Where the weights of a record are, if they were kept."""
    return checkpoint_file(folder, (record.proxy_id, record.fidelity.rung))


def checkpoint_file(folder: Path, key: CheckpointKey) -> Path:
    """Where the weights of a proxy after a rung are."""
    proxy_id, rung = key
    return folder / CHECKPOINTS / f"{proxy_id}-{rung}.safetensors"


def write_record(folder: Path, record: Record) -> None:
    """Append to the records."""
    append_record(folder / RECORDS_FILE, record)


def write_table(folder: Path, records: Iterable[Record]) -> None:
    """Write `trials.csv` anew."""
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
    """Write whole or not at all."""
    path = checkpoint_file(folder, key)
    # A study that was published or copied may have come without its weights.
    path.parent.mkdir(exist_ok=True)
    replace_bytes(path, weights)


def copy_checkpoints(source: Path, folder: Path, records: Iterable[Record]) -> None:
    """Take over the weights of records from another study, where they were kept."""
    for record in records:
        path = checkpoint_path(source, record)
        if path.is_file():
            write_checkpoint(folder, (record.proxy_id, record.fidelity.rung), path.read_bytes())


def kept_checkpoints(folder: Path) -> set[CheckpointKey]:
    """Proxies and rungs whose weights are there."""
    names = [path.stem for path in (folder / CHECKPOINTS).glob("*.safetensors")]
    return {
        (proxy_id, int(rung))
        for proxy_id, _, rung in (name.rpartition("-") for name in names)
        if rung.isdecimal()
    }


def remove_checkpoints(folder: Path, keys: Iterable[CheckpointKey]) -> None:
    """Remove weights that nothing needs any more."""
    for key in keys:
        checkpoint_file(folder, key).unlink(missing_ok=True)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder without records, so that the search can start again.

    What its evaluators have prepared is kept: the search resumes with it.
    """
    prepared = any(path.is_file() for path in (folder / PREPARED).rglob("*"))
    if not prepared and not (folder / RECORDS_FILE).stat().st_size:
        shutil.rmtree(folder)


def _row(record: Record) -> list[object]:
    complete = record.state == "complete"
    accuracy, loss = (
        OBJECTIVES[name].of(record) if complete else None for name in ("accuracy", "loss")
    )
    interval = None if accuracy is None else image_interval(record, OBJECTIVES["accuracy"])
    ends = ("", "") if interval is None else (round(end, 6) for end in interval)
    return [
        record.trial,
        record.arch_id,
        record.proxy_id,
        record.state,
        record.reference or "",
        str(record.architecture),
        *("" if figure is None else figure for figure in (accuracy, loss)),
        record.target_cost.macs,
        record.target_cost.params,
        record.target_cost.activations,
        record.proxy_cost.macs,
        record.proxy_cost.params,
        record.fidelity.epochs,
        record.fidelity.rung,
        record.seed,
        round(record.seconds, 3),
        record.reason or "",
        record.finished_at,
        record.validation_images or "",
        *ends,
        "x".join(map(str, record.architecture.image_size)),
        *details(record.architecture).values(),
    ]
