"""A search small enough for a test, and an evaluator that trains nothing."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import yaml

from spach_nas.config.evaluation import Epoch, Evaluation, EvaluationRequest
from spach_nas.config.search_yaml import SearchConfig, load_config, source_files
from spach_nas.config.study_files import SEARCH_YAML
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.feasible import FeasibleSet
from spach_nas.space.scaling import DataShape
from spach_nas.space.search_space import SearchSpace
from spach_nas.study.driver import Signal, StudyDriver
from spach_nas.study.folder import create_folder
from spach_nas.study.records import Record, read_records

# Two stages, 13,860 architectures, some of them above the limit.
SPACE = {
    "image_size": 32,
    "num_classes": 10,
    "in_channels": 1,
    "patch_size": 4,
    "stem": ["conv1", "conv4"],
    "stem_width": 8,
    "expansion_ratio": [2, 3],
    "heads": 2,
    "stages": [
        {"depth": [1, 2, 3], "width": [8, 16, 24], "mixers": "conv"},
        {
            "depth": {"from": 1, "to": 4},
            "width": {"times": [1, 2]},
            "mixers": {
                "leading": ["conv", "attention", "mlp"],
                "trailing": ["conv", "attention", "mlp"],
            },
        },
    ],
}
SEARCH = {
    "study": "small",
    "space": SPACE,
    "limits": {"max_macs": "1.2M"},
    "data": {"name": "fashion-mini"},
    "proxy": {"patch_size": 8},
    "training": {"epochs": 1, "data_share": 0.02, "batch_size": 32},
    "search": {"sampler": "nsga2", "trials": 12, "seed": 3, "startup_trials": 4},
}
DATA = DataShape(in_channels=1, num_classes=10)


def write_search(folder: Path, **changes: object) -> Path:
    """A search YAML; `search__trials=3` changes one key of a section."""
    plain = {
        key: dict(value) if isinstance(value, dict) else value for key, value in SEARCH.items()
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            plain.setdefault(section, {})[name] = value
        else:
            plain[section] = value
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(plain, sort_keys=False))
    return path


def make_study(
    folder: Path,
    *,
    clock: Callable[[], float] = lambda: 0.0,
    records: Sequence[Record] = (),
    mirrored: bool = False,
    **changes: object,
) -> StudyDriver:
    """A study that has not begun, in `folder / "study"`."""
    path = write_search(folder, **changes)
    config = load_config(path)
    create_folder(folder / "study", texts=source_files(path), records=records)
    return open_study(folder / "study", config, clock=clock, mirrored=mirrored)


def open_study(
    folder: Path,
    config: SearchConfig | None = None,
    *,
    clock: Callable[[], float] = lambda: 0.0,
    mirrored: bool = False,
) -> StudyDriver:
    """The study of a folder, as it goes on after its process was killed."""
    config = config or load_config(folder / SEARCH_YAML)
    return StudyDriver(
        config,
        folder=folder,
        data=DATA,
        feasible=_feasible(config.space, config.limits),
        records=read_records(folder),
        mirrored=mirrored,
        clock=clock,
    )


@cache
def _feasible(space: SearchSpace, limits: Limits) -> FeasibleSet:
    return FeasibleSet(space, limits)


def evaluate(request: EvaluationRequest) -> Evaluation:
    """A score in closed form: larger is better, attention is worth more than it costs."""
    target = request.architecture
    attention = sum(stage.mixers.count("attention") for stage in target.stages)
    accuracy = 0.5 + 0.02 * math.log(cost(target).macs) + 0.01 * attention
    done = 0
    if request.parent is not None:
        done = request.course[request.course.index(request.fidelity) - 1].epochs
    # Longer trainings score higher, by an amount that differs between networks.
    gain = 0.001 * (cost(target).params % 7)
    curve = tuple(
        Epoch(train_loss=1.0, loss=2.0 - score, accuracy=score, seconds=1.0)
        for score in (accuracy + gain * i for i in range(done + 1, request.fidelity.epochs + 1))
    )
    return Evaluation(
        state="complete",
        scores={"accuracy": curve[-1].accuracy, "loss": curve[-1].loss},
        curve=curve,
        seconds=1.0,
        weights=request.proxy.arch_id.encode(),
    )


def drive(
    study: StudyDriver, evaluator: Callable[[EvaluationRequest], Evaluation] = evaluate
) -> list[EvaluationRequest]:
    """Run a study to its end with one worker; the requests in order."""
    asked = []
    while isinstance(request := study.next(), EvaluationRequest):
        asked.append(request)
        study.tell(request, evaluator(request))
    assert request is Signal.DONE
    return asked
