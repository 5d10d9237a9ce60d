"""The folder of a study: what is written where, by the driver alone.

records.jsonl     the truth, one line for each finished evaluation
trials.csv        a mirror for spreadsheets, one row a trial
study.db          a mirror for optuna-dashboard
search.yaml       the search as run
space.yaml        its search space, where the search names a file
data.json         how its images were prepared
plugins.json      modules of the mixers that do not come with this package, where there are any
checkpoints/      weights of the proxies on the front, by proxy_id
report.html       the page of the results
best/             the exported best network
"""

import csv
import json
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from spach_nas.errors import PluginError, StudyError
from spach_nas.mixers import MixerSpec, mixer_names
from spach_nas.plugins import home
from spach_nas.records import FILE_NAME, Record, append_record

CHECKPOINTS = "checkpoints"
DATA_JSON = "data.json"
PLUGINS_JSON = "plugins.json"
BEST = "best"
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
)


def create_folder(folder: Path, *, texts: Mapping[str, str]) -> None:
    """Make the folder of a new study, with these text files.

    Raises:
        StudyError: It exists already, or cannot be made.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise StudyError(
            f"{folder}: exists already and is never overwritten; expected a new folder: give "
            "another with --out, another name under `study:`, or move this one away"
        ) from None
    except OSError as problem:
        raise StudyError(f"{folder}: {problem.strerror}; expected a writable place") from None
    (folder / CHECKPOINTS).mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / FILE_NAME).touch()
    with (folder / "trials.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(_COLUMNS)


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
        raise PluginError(
            f"{folder}: was searched with the mixers {', '.join(map(repr, lacking))}, which are "
            f"not known here; expected {' '.join(f'--plugin {name}' for name in modules)}, or in "
            f"Python import {', '.join(modules)}"
        )


def checkpoint_path(folder: Path, proxy_id: str) -> Path:
    """Where the weights of a proxy on the front lie."""
    return folder / CHECKPOINTS / f"{proxy_id}.safetensors"


def write_record(folder: Path, record: Record) -> None:
    """Append to the records, then to the table that mirrors them."""
    append_record(folder / FILE_NAME, record)
    with (folder / "trials.csv").open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(_row(record))


def write_checkpoint(folder: Path, proxy_id: str, weights: bytes) -> None:
    """Write whole or not at all."""
    path = checkpoint_path(folder, proxy_id)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(weights)
    temporary.replace(path)


def prune_checkpoints(folder: Path, keep: Collection[str]) -> None:
    """Remove the weights of all proxies but these."""
    for path in (folder / CHECKPOINTS).glob("*.safetensors"):
        if path.stem not in keep:
            path.unlink()


def remove_if_empty(folder: Path) -> None:
    """Take back a folder in which nothing has been recorded, so that the search can start again."""
    if not (folder / FILE_NAME).stat().st_size:
        shutil.rmtree(folder)


def _row(record: Record) -> list[object]:
    last = record.curve[-1] if record.curve and record.state == "complete" else None
    return [
        record.trial,
        record.arch_id,
        record.proxy_id,
        record.state,
        record.reference or "",
        str(record.architecture),
        last.accuracy if last else "",
        last.loss if last else "",
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
    ]
