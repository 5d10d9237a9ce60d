"""Networks of a rediscovery, trained again from the beginning with seeds that chose nothing."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spach_nas.config.recipe import HERE, load_recipe
from spach_nas.config.rediscovery_settings import ColdSettings, Rediscovery
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.errors import StudyError
from spach_nas.files import replace_text
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import plugin_mixers
from spach_nas.space.scaling import scale, shape_of


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """One training.

    Attributes:
        place: Folder of all trainings of the network.
        threads: Of a training beside others; None: it is alone on the machine.
    """

    place: Path
    search: SearchConfig
    cold: ColdSettings
    seed: int
    threads: int | None = None

    @property
    def file(self) -> Path:
        """Where its accuracy is kept."""
        return self.place / f"test_{self.seed}.json"


def train_cold(
    given: Rediscovery,
    targets: Sequence[Architecture],
    *,
    folder: Path,
    doing: Callable[[str], None],
) -> dict[str, dict[int, float]]:
    """Train what is not trained yet; trials of the search on this machine run side by side.

    Args:
        given: The YAML.
        targets: At full size.
        folder: Of the rediscovery.
        doing: Takes a few words on what is being done.

    Returns:
        By `arch_id`, the accuracy on the test split by seed.

    Raises:
        SpachNasError: A mistake in the recipe, or a training that failed.
    """
    cold = given.cold
    jobs = {
        target.arch_id: [
            _Job(
                place=_place(target, given, folder=folder),
                search=given.search,
                cold=cold,
                seed=seed,
            )
            for seed in range(cold.first_seed, cold.first_seed + cold.seeds)
        ]
        for target in targets
    }
    every = [job for own in jobs.values() for job in own]
    lacking = [job for job in every if not job.file.is_file()]
    for _ in _ended(given, lacking, doing=doing):
        done = sum(job.file.is_file() for job in every)
        doing(f"{done} of {len(every)} trainings from the beginning done")
    return {arch_id: {job.seed: _read(job.file) for job in own} for arch_id, own in jobs.items()}


def _place(target: Architecture, given: Rediscovery, *, folder: Path) -> Path:
    place = folder / "cold" / target.arch_id
    place.mkdir(parents=True, exist_ok=True)
    proxy = scale(target, given.search.proxy, shape_of(target))
    trained = proxy if given.cold.scale == "proxy" else target
    replace_text(place / "architecture.yaml", trained.to_yaml())
    return place


def _ended(
    given: Rediscovery, jobs: Sequence[_Job], *, doing: Callable[[str], None]
) -> Iterator[None]:
    """Train, and yield after each training."""
    search = given.search
    recipe = load_recipe(
        given.cold.recipe, changes=cold_changes(search, given.cold, seed=given.cold.first_seed)
    )
    # A recipe that asks Ray for workers has its own idea of who trains; on a cluster the folder may
    # not be seen by all machines.
    if len(jobs) < 2 or recipe.resources.address != HERE or search.resources.address != "local":
        for job in jobs:
            doing(f"training {job.place.name} from the beginning, seed {job.seed}")
            _train(job)
            yield
        return
    from spach_nas.search.ray.tasks import run_tasks  # imports Ray

    resources = search.trial_resources
    threads = max(1, int(resources.cpus_per_trial))
    doing(f"training from the beginning: {len(jobs)} trainings")
    yield from run_tasks(
        _train,
        [replace(job, threads=threads) for job in jobs],
        resources=resources,
        mixers=plugin_mixers(search.mixers),
    )


def _train(job: _Job) -> None:
    # Here: they import torch, and Ray where the recipe wants it.
    from spach_nas.full_size.evaluate import evaluate
    from spach_nas.full_size.training_plan import TrainingRequest, plan_training
    from spach_nas.full_size.training_run import run_training

    data, run = job.search.data, job.place / f"run_{job.seed}"
    name = str(data.root) if data.name == "folder" else data.name
    changes = cold_changes(job.search, job.cold, seed=job.seed)
    if job.threads is not None:
        changes = (*changes, f"resources.cpus_per_worker={job.threads}")
    plan = plan_training(
        TrainingRequest(
            source=str(job.place / "architecture.yaml"),
            data=name,
            recipe=job.cold.recipe,
            out=run,
            resume=run.exists(),
            changes=changes,
        )
    )
    bundle = run_training(plan)
    found = evaluate(
        str(bundle),
        data=name,
        batch_sizes=(),
        options=plan.job.recipe.data,
        device=plan.job.recipe.device,
        precision=plan.job.recipe.precision,
    )
    replace_text(job.file, json.dumps({"top1": found.top1}) + "\n")


def _read(file: Path) -> float:
    try:
        return float(json.loads(file.read_text(encoding="utf-8"))["top1"])
    except (ValueError, KeyError, TypeError):
        raise StudyError(f"{file}: is damaged; expected the accuracy, or no file") from None


def cold_changes(search: SearchConfig, cold: ColdSettings, *, seed: int) -> tuple[str, ...]:
    """The changes of the recipe as `--set` takes them: of the YAML, and of the search's data."""
    data = search.data
    values: dict[str, object] = {"seed": seed, "data.split_seed": data.split_seed}
    if data.validation is not None:
        values["data.validation"] = data.validation
    if data.root is not None and data.name != "folder":
        values["data.root"] = str(data.root)
    values |= cold.changes
    # JSON is YAML, with quotes where a text looks like a number.
    return tuple(f"{key}={json.dumps(value)}" for key, value in values.items())
