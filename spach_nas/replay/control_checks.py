"""Whether a training can tell mixers apart, tried on tasks where it is known which are needed.

For each task, architectures of the space `controls` are drawn uniformly and trained twice, by two
seeds. They are trained as the candidates of the search are, but without its augmentation and
teacher, which are made for other images.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from spach_nas.config.rediscovery_settings import Rediscovery
from spach_nas.config.search_settings import SearchSettings
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.config.shipped import shipped_folder
from spach_nas.config.training_settings import Augmentation, DataSettings
from spach_nas.data import data_shape
from spach_nas.data.controls import PREFIX
from spach_nas.replay.audit import audit_records
from spach_nas.replay.known_answers import CONTROL_ANSWERS, KnownAnswer
from spach_nas.replay.mixer_worths import worths_of_records
from spach_nas.space.search_space import SearchSpace
from spach_nas.study import pareto
from spach_nas.study.audit_rows import AuditRow, Estimate
from spach_nas.study.pareto import comparable
from spach_nas.study.records import Record

_REPEAT = "_repeat"


class ControlOutcome(NamedTuple):
    """What the training made of one task.

    Attributes:
        task: Its name.
        best: The most accurate network of the first trainings.
        changes: Blocks to change until that has the known layout.
        worths: What all blocks of the last stage add if they have a mixer in place of convolution,
            in points at equal MACs, by the mixer.
        audit: How well one training ranks another, beside sizes.
    """

    task: str
    best: Record
    changes: int
    worths: Mapping[str, Estimate]
    audit: tuple[AuditRow, ...]

    @property
    def seen(self) -> bool:
        """Whether a needed mixer is worth something, beyond chance."""
        return any(worth.low > 0 for worth in self.worths.values())


def control_studies(given: Rediscovery) -> dict[str, SearchConfig]:
    """The studies on control tasks by the name of their folder: `controls/TASK`, and its repeat."""
    found: dict[str, SearchConfig] = {}
    if given.controls is None:
        return found
    search = given.search
    space = SearchSpace.from_yaml(shipped_folder() / "controls.yaml")
    training = replace(
        search.training,
        epochs=given.controls.epochs or search.training.epochs,
        data_share=1.0,
        augmentation=Augmentation(),
        teacher=None,
        seed=search.training_seed,
    )
    again = replace(training, seed=search.training_seed + 1)
    for task in given.controls.tasks:
        data = DataSettings(name=f"{PREFIX}{task}")
        for name, own in ((task, training), (f"{task}{_REPEAT}", again)):
            found[f"{PREFIX}{name}"] = SearchConfig(
                study=f"{search.study[:60]}_controls_{name}",
                space=space.for_data(data_shape(data)),
                data=data,
                training=own,
                search=SearchSettings(
                    sampler="random", trials=given.controls.trials, seed=search.search.seed
                ),
                resources=search.resources,
            )
    return found


def judge_controls(
    given: Rediscovery, found: Mapping[str, Sequence[Record]]
) -> Iterator[ControlOutcome]:
    """What came of each task of which a network was trained.

    Args:
        given: The YAML.
        found: Records of all studies by the name of their folder.
    """
    configs = control_studies(given)
    for task in given.controls.tasks if given.controls else ():
        name = f"{PREFIX}{task}"
        config = configs[name]
        best = pareto.best(comparable(found[name]))
        if best is None:
            continue
        records = [*found[name], *found[f"{name}{_REPEAT}"]]
        worths = worths_of_records(comparable(records), space=config.space)
        last = len(config.space.stages) - 1
        known = KnownAnswer(CONTROL_ANSWERS[task], config.space.shape)
        yield ControlOutcome(
            task=task,
            best=best,
            changes=known.changes(best.architecture),
            worths={mixer: worth for (place, mixer), worth in worths.items() if place == last},
            audit=audit_records(records, where=name),
        )
