"""Prints the results of the commands `export` and `verify`."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from spach_nas.cli.status_line import plain_table

if TYPE_CHECKING:
    from spach_nas.export.proof import Agreement, Verification


def print_exported(folders: Iterable[Path], *, notes: Iterable[str] = ()) -> None:
    """Print the folders of bundles, and one line for everything that was left out.

    Args:
        folders: The bundles.
        notes: Remarks for users; each is printed once.
    """
    from spach_nas.export.bundle import SAMPLES
    from spach_nas.export.proof import PARITY, read_proof

    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    told: dict[str, str] = {}
    inside: dict[str, None] = {}
    for folder in folders:
        print(folder)
        told |= read_proof(folder / PARITY)["left_out"]
        if (folder / SAMPLES).is_file():
            inside[f"{SAMPLES} holds a few images of the data; --no-samples leaves them out"] = None
    for note in [*dict.fromkeys(notes), *inside]:
        errors.print(note, markup=False)
    for name, reason in told.items():
        errors.print(f"left out {name}: {reason}", markup=False)


def print_verification(found: "Verification", *, strict: bool = False) -> bool:
    """Print the comparisons, what could not be checked, the problems, and the checksum.

    Args:
        found: The result of the verification.
        strict: Whether a form that could not be checked counts as a failure.

    Returns:
        Whether the verification succeeded, in agreement with the last line.
    """
    console = Console(soft_wrap=True, highlight=False)
    if found.agreements:
        console.print(_table(found.agreements, images=found.images))
    for score in found.accuracies:
        console.print(
            f"{score.form}: top-1 {score.top1:.1%} on {score.images} {score.data}, the network "
            f"{score.float32_top1:.1%}",
            markup=False,
        )
    for line in found.unchecked:
        console.print(f"not checked: {line}", markup=False)
    for line in found.problems:
        Console(stderr=True, soft_wrap=True, highlight=False).print(line, markup=False)
    console.print(f"sha256 {found.bundle}", markup=False)
    number = len(found.unchecked)
    gap = f"{number} form{'s'[: number > 1]} cannot be run here" if number else ""
    if found.problems:
        verdict = "FAILED"
    elif strict and gap:
        verdict = f"FAILED: {gap}, and --strict requires all"
    else:
        verdict = f"verified, but {gap}" if gap else "verified"
    console.print(verdict, style="bold", markup=False)
    return not verdict.startswith("FAILED")


def _table(agreements: "Iterable[Agreement]", *, images: str) -> Table:
    headings = ("form", "weights", "largest difference", "mean", "tolerance", "same top-1")
    table = plain_table(*headings, right=range(2, 6))
    table.title, table.title_justify = images, "left"
    for item in agreements:
        table.add_row(
            item.form,
            item.weights,
            f"{item.max_difference:.1e}",
            f"{item.mean_difference:.1e}",
            "any" if item.tolerance is None else f"{item.tolerance:.1e}",
            f"{item.top1_agreement:.0%}",
        )
    return table
