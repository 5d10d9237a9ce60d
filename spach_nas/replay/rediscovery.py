"""Whether searches find what is known to be right: `spach-nas rediscover`.

Under each limit of the YAML the space is searched, sampled uniformly as often, and sampled again
with the same architectures and another seed of the trainings, which shows what scores are worth.
The best network found and the best of each mixer alone are then trained again from the beginning,
with seeds that chose nothing, and scored on the test split.

Every part is a study or a run of its own in the folder of the rediscovery: what is there is taken
as it is, what is not finished goes on.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spach_nas.config.rediscovery_settings import Rediscovery
from spach_nas.config.search_settings import Rungs
from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.config.study_files import SEARCH_YAML
from spach_nas.config.training_settings import DataSettings
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.data import DataSplits, data_shape
from spach_nas.data.controls import PREFIX, Options
from spach_nas.errors import SearchSpaceError
from spach_nas.feasible import FeasibleSet
from spach_nas.replay.control_checks import control_studies
from spach_nas.search.plan import Plan, plan_search
from spach_nas.space.layouts import PerBlock
from spach_nas.space.references import REFERENCES, reference_target
from spach_nas.space.scaling import scale
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

    Those on control tasks, `LIMIT/search_SEED`, `LIMIT/random_SEED`, `LIMIT/repeat`, which trains
    the architectures of `random_0` again, and `LIMIT/pure_MIXER`. All are trained to the end, but
    for rungs of searches.
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
    # These first: they say whether the others are worth their hours.
    return control_studies(given) | found


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
    flops = {}
    for name, config in configs.items():
        drawn = FeasibleSet(config.space, config.limits).samples(_DRAWN, 0)
        proxies = [scale(one, config.proxy, config.space.shape) for one in drawn]
        macs = float(np.mean([cost(one).macs for one in proxies]))
        trainings = config.search.trials + len(config.references)
        # For each image of the train split, forward and backward.
        flops[name] = 6 * macs * trainings * config.training.epochs * config.training.data_share
        yield (
            f"{name:<24} {trainings:>5} trainings, proxies of {format_count(macs)} MACs in the mean"
        )
    controls = sum(own for name, own in flops.items() if name.startswith(PREFIX))
    if controls:
        yield f"all on control tasks: {controls * Options().images:.2e} FLOPs"
    networks = len(given.limits) * (len(MIXERS) + 1 + isinstance(given.known, str))
    yield (
        f"all under limits: {sum(flops.values()) - controls:.2e} FLOPs for each image of the train "
        f"split, forward and backward; then up to {given.cold.seeds} trainings of each of "
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
    found = {}
    images: dict[DataSettings, dict[tuple[int, int], DataSplits]] = {}
    configs = studies(given)
    for number, (name, config) in enumerate(configs.items(), 1):
        own = folder / name
        if not _is_done(own, config):
            said = f"{name}, study {number} of {len(configs)}"

            def tell(what: str, said: str = said) -> None:
                doing(f"{said}: {what}")

            resume = own.exists()
            if config.data not in images:
                images = {config.data: {}}  # of one set at a time
            read = images[config.data]
            plan = plan_search(config, out=own, resume=resume, doing=tell, images=read)
            read |= plan.splits
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
