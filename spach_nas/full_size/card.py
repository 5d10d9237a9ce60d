"""What the model card of a bundle says of its training."""

from collections.abc import Sequence

from spach_nas.full_size.job import Job
from spach_nas.full_size.progress import EpochLine
from spach_nas.full_size.recipe_files import recipe_text

_MOST_ROWS = 12


def training_section(job: Job, curve: Sequence[EpochLine]) -> str:
    """Data, curve and recipe as Markdown.

    Args:
        job: The training.
        curve: Its epochs.
    """
    parts = [
        "## Training",
        f"On `{_data_name(job)}` from seed {job.recipe.seed}, {job.recipe.epochs} epochs of "
        f"{job.recipe.batch_size} images a step. Validation images were not trained on, but "
        "chose the weights that are kept."
        if _chosen(job, curve)
        else f"On `{_data_name(job)}` from seed {job.recipe.seed}, {job.recipe.epochs} epochs of "
        f"{job.recipe.batch_size} images a step.",
        _table(curve),
        f"```yaml\n{recipe_text(job.recipe).rstrip()}\n```",
    ]
    return "\n\n".join(filter(None, parts))


def _chosen(job: Job, curve: Sequence[EpochLine]) -> bool:
    return job.recipe.final == "best" and any(line.top1 is not None for line in curve)


def _data_name(job: Job) -> str:
    # A whole path says who trained where.
    return job.data.name.rstrip("/").rsplit("/", 1)[-1] if job.data.is_folder else job.data.name


def _table(curve: Sequence[EpochLine]) -> str:
    """Some epochs, evenly spread, and the last one."""
    if not curve:
        return ""
    every = -(-len(curve) // _MOST_ROWS)
    shown = [line for line in curve if line.epoch % every == 0 or line is curve[-1]]
    columns = ("loss", "top1", "top5", "ema_top1", "ema_top5")
    used = [name for name in columns if getattr(shown[-1], name) is not None]
    rows = [["epoch", *used], ["---"] * (len(used) + 1)]
    rows += [[str(line.epoch), *(f"{getattr(line, name):.4f}" for name in used)] for line in shown]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
