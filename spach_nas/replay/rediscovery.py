"""Whether searches find what is known to be right: `spach-nas rediscover`.

Under each limit of the YAML the space is searched, sampled uniformly as often, and sampled again
with the same architectures and another seed of the trainings, which shows what scores are worth.
The best network found and the best of each mixer alone are then trained again from the beginning,
with seeds that chose nothing, and scored on the test split.

Every part is a study or a run of its own in the folder of the rediscovery: what is there is taken
as it is, what is not finished goes on.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spach_nas.config.rediscovery_settings import ColdSettings, Rediscovery
from spach_nas.config.search_settings import Rungs
from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.config.study_files import SEARCH_YAML
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.data import DataSplits, data_shape
from spach_nas.errors import SearchSpaceError, StudyError
from spach_nas.feasible import FeasibleSet
from spach_nas.files import replace_text
from spach_nas.search.plan import Plan, plan_search
from spach_nas.space.architecture import Architecture
from spach_nas.space.layouts import PerBlock
from spach_nas.space.references import REFERENCES, reference_target
from spach_nas.space.scaling import scale, shape_of
from spach_nas.space.search_space import SearchSpace
from spach_nas.study.ending import ending
from spach_nas.study.records import Record, read_records
from spach_nas.units import format_count

if TYPE_CHECKING:
    from spach_nas.study.driver import StudyDriver

Doing = Callable[[str], None]
MIXERS = ("conv", "attention", "mlp")
_DRAWN = 64  # proxies whose mean cost stands for all


def searched_space(given: Rediscovery) -> SearchSpace:
    """The space, with the channels and classes of the data where it leaves them open."""
    space = given.search.space
    return space.for_data(data_shape(given.search.data)) if space.is_open else space


def studies(given: Rediscovery) -> dict[str, SearchConfig]:
    """All studies of a rediscovery by the name of their folder, in the order of running.

    `LIMIT/search_SEED`, `LIMIT/random_SEED`, `LIMIT/repeat`, which trains the architectures of
    `random_0` again, and `LIMIT/pure_MIXER`. All are trained to the end, but for rungs of searches.
    """
    search = replace(given.search, space=searched_space(given))
    found: dict[str, SearchConfig] = {}
    for place, limits in enumerate(given.limits):

        def add(name: str, config: SearchConfig, *, place: int = place) -> None:
            study = f"{config.study[:60]}_{place}_{name}"
            found[f"limit_{place}/{name}"] = replace(config, study=study)

        base = replace(search, limits=limits, references=())
        seeds = range(search.search.seed, search.search.seed + given.searches)
        uniform = replace(
            base.search, sampler="random", sampler_options={}, warm_start=None, max_duration=None
        )
        every = replace(base, rungs=Rungs(), search=uniform)
        for number, seed in enumerate(seeds):
            add(f"search_{number}", replace(base, search=replace(base.search, seed=seed)))
            models = models_within(given, limits) if number == 0 else ()
            # By another seed: a search begins with uniform draws by its own.
            other = replace(uniform, seed=seed + len(seeds))
            drawn = replace(every, search=other, references=models)
            add(f"random_{number}", drawn)
            if number == 0:
                again = replace(base.training, seed=drawn.training_seed + len(seeds))
                add("repeat", replace(drawn, training=again))
        for mixer in MIXERS:
            pure = pure_space(search.space, mixer)
            if pure is None or (count := _count(pure, limits)) == 0:
                continue
            trials = min(given.pure_trials, count or given.pure_trials)
            add(f"pure_{mixer}", replace(every, space=pure, search=replace(uniform, trials=trials)))
    return found


def models_within(given: Rediscovery, limits: Limits) -> tuple[str, ...]:
    """The paper's models of the space inside the limits: the published ones and the known one."""
    space = searched_space(given)
    names = [name for name, one in REFERENCES.items() if one.top1 or name == given.known]
    targets = {name: reference_target(name, space.shape) for name in names}
    return tuple(
        name
        for name, target in targets.items()
        if space.contains(target) and limits.allow(cost(target))
    )


def _count(space: SearchSpace, limits: Limits) -> int | None:
    try:
        return FeasibleSet(space, limits).count
    except SearchSpaceError:
        return 0


def pure_space(space: SearchSpace, mixer: str) -> SearchSpace | None:
    """The networks of one mixer alone, as the paper has them: stage 1 is convolution if it can be.

    None where no stage has the mixer, or one has neither it nor convolution.
    """
    stages, used = [], False
    for place, stage in enumerate(space.stages):
        names = stage.mixers.names
        first = place == 0 and len(space.stages) > 1 and "conv" in names
        own = "conv" if first or mixer not in names else mixer
        if own not in names:
            return None
        used = used or own == mixer
        stages.append(replace(stage, mixers=PerBlock(choices=(own,))))
    return replace(space, stages=tuple(stages)) if used else None


def effort(given: Rediscovery, configs: Mapping[str, SearchConfig]) -> Iterator[str]:
    """A line on the trainings of each study, and on what all of them take."""
    total = 0.0
    for name, config in configs.items():
        drawn = FeasibleSet(config.space, config.limits).samples(_DRAWN, 0)
        proxies = [scale(one, config.proxy, config.space.shape) for one in drawn]
        macs = float(np.mean([cost(one).macs for one in proxies]))
        trainings = config.search.trials + len(config.references)
        spent = trainings * macs * config.training.epochs * config.training.data_share
        total += spent
        yield (
            f"{name:<24} {trainings:>5} trainings, proxies of {format_count(macs)} MACs in the mean"
        )
    networks = len(given.limits) * (len(MIXERS) + 1 + isinstance(given.known, str))
    yield (
        f"all: {6 * total:.2e} FLOPs for each image of the train split, forward and "
        f"backward; then up to {given.cold.seeds} trainings of each of "
        f"{networks} networks by the recipe {given.cold.recipe}"
    )


def run_studies(
    given: Rediscovery, folder: Path, *, doing: Doing = lambda _: None
) -> dict[str, tuple[Record, ...]]:
    """Run or read every study; their records by the name of their folder.

    Raises:
        SpachNasError: A mistake in the YAML, missing data, or a folder that holds something else.
        KeyboardInterrupt: One was stopped.
    """
    found, images = {}, dict[tuple[int, int], DataSplits]()
    configs = studies(given)
    for number, (name, config) in enumerate(configs.items(), 1):
        own = folder / name
        if not _is_done(own, config):
            said = f"{name}, study {number} of {len(configs)}"

            def tell(what: str, said: str = said) -> None:
                doing(f"{said}: {what}")

            resume = own.exists()
            plan = plan_search(config, out=own, resume=resume, doing=tell, images=images)
            images |= plan.splits
            if _stopped(plan, own, resume=resume, tell=tell):
                raise KeyboardInterrupt
        found[name] = read_records(own)
    return found


def _stopped(plan: Plan, folder: Path, *, resume: bool, tell: Doing) -> bool:
    """Run a study and tell how many of its trials are done; whether it was stopped."""
    from spach_nas.search.run import run_plan  # imports Ray

    trials = plan.config.search.trials + len(plan.config.paper_models)

    def count(study: "StudyDriver", _: Record | None) -> None:
        done = len({record.trial for record in study.records})
        tell(f"{done} of {trials} trials done")

    return run_plan(plan, out=folder, resume=resume, listener=count, doing=tell).stopped


def _is_done(folder: Path, config: SearchConfig) -> bool:
    if not (folder / SEARCH_YAML).is_file() or ending(folder).why not in ("done", "exhausted"):
        return False
    return load_config(folder / SEARCH_YAML) == config


def trained_cold(
    target: Architecture, given: Rediscovery, *, folder: Path, doing: Doing
) -> dict[int, float]:
    """Accuracy on the test split after trainings from the beginning, by seed."""
    place, cold = folder / "cold" / target.arch_id, given.cold
    place.mkdir(parents=True, exist_ok=True)
    proxy = scale(target, given.search.proxy, shape_of(target))
    trained = proxy if cold.scale == "proxy" else target
    replace_text(place / "architecture.yaml", trained.to_yaml())
    found = {}
    for seed in range(cold.first_seed, cold.first_seed + cold.seeds):
        file = place / f"test_{seed}.json"
        if not file.is_file():
            doing(f"training {target} from the beginning, seed {seed}")
            top1 = _trained(place, given.search, cold, seed=seed)
            replace_text(file, json.dumps({"top1": top1}) + "\n")
        try:
            found[seed] = float(json.loads(file.read_text(encoding="utf-8"))["top1"])
        except (ValueError, KeyError, TypeError):
            raise StudyError(f"{file}: is damaged; expected the accuracy, or no file") from None
    return found


def _trained(place: Path, search: SearchConfig, cold: ColdSettings, *, seed: int) -> float:
    # Here: they import torch, and Ray where the recipe wants it.
    from spach_nas.full_size.evaluate import evaluate
    from spach_nas.full_size.training_plan import TrainingRequest, plan_training
    from spach_nas.full_size.training_run import run_training

    data, run = search.data, place / f"run_{seed}"
    name = str(data.root) if data.name == "folder" else data.name
    plan = plan_training(
        TrainingRequest(
            source=str(place / "architecture.yaml"),
            data=name,
            recipe=cold.recipe,
            out=run,
            resume=run.exists(),
            changes=cold_changes(search, cold, seed=seed),
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
    return found.top1


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
