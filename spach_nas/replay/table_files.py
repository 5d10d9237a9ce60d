"""Tables as files: CSV by the standard library, Parquet where pyarrow is installed.

One row for each architecture, seed of the training and epoch. The columns:

arch_id, architecture    the target: its name, and the whole of it as JSON
reference                name of the paper's model, when it is one
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
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from spach_nas.config.evaluation import Epoch
from spach_nas.cost.closed_form import Cost
from spach_nas.errors import ArchitectureError, StudyError
from spach_nas.replay.table import Entry, Table, make_table
from spach_nas.space.architecture import Architecture

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


def write_table(table: Table, path: Path) -> None:
    """Write a table as `.csv` or `.parquet`.

    Raises:
        StudyError: Another ending, or Parquet without pyarrow.
    """
    rows = list(_rows(table))
    if _is_parquet(path):
        arrow, parquet = _pyarrow(path)
        parquet.write_table(arrow.Table.from_pylist(rows), path)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path) -> Table:
    """Read what `write_table` wrote; further columns are ignored.

    Raises:
        StudyError: The file is missing or damaged, or Parquet without pyarrow.
    """
    if not path.is_file():
        raise StudyError(f"{path}: no such file; expected a table")
    if _is_parquet(path):
        rows = _parquet_rows(path)
    else:
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
    by_arch = sorted(range(len(rows)), key=lambda i: (rows[i]["arch_id"], i))
    for arch_id, places in groupby(by_arch, key=lambda i: rows[i]["arch_id"]):
        own = [rows[i] for i in places]
        first = own[0]
        curves: dict[int, dict[int, Epoch]] = {}
        for row in own:
            figures = {name: row[name] for name in ("accuracy", "loss", "train_loss", "seconds")}
            curves.setdefault(row["seed"], {})[row["epoch"]] = Epoch(**figures)
        for seed, curve in curves.items():
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
    if found.arch_id != row["arch_id"]:
        raise StudyError(f"{where}: is another architecture, {found.arch_id}; expected its own id")
    return found


def _cost(row: Row, of: str) -> Cost:
    return Cost(**{name: row[f"{of}_{name}"] for name in Cost._fields})


def _is_parquet(path: Path) -> bool:
    if path.suffix not in (".csv", ".parquet"):
        raise StudyError(f"{path}: is no table; expected a file .csv or .parquet")
    return path.suffix == ".parquet"


def _parquet_rows(path: Path) -> list[Row]:
    arrow, parquet = _pyarrow(path)
    try:
        rows: list[Row] = parquet.read_table(path).to_pylist()
    except (arrow.ArrowException, OSError) as problem:
        raise StudyError(f"{path}: {problem}; expected a Parquet file") from None
    return rows


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise StudyError(
            f"{path}: Parquet needs pyarrow; expected the same table as .csv, or "
            "pip install pyarrow"
        ) from None
    return pyarrow, pyarrow.parquet
