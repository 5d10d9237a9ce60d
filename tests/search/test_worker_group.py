"""A supernet that two workers of Ray Train share."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from effort import slow
from search_tools import make_study
from spach_nas.config.search_settings import Resources
from spach_nas.config.training_settings import DataSettings
from spach_nas.data import load_train_and_validation
from spach_nas.errors import StudyError
from spach_nas.evaluators.interface import make_evaluator, prepare_evaluators
from spach_nas.search.ray.session import ray_session
from spach_nas.search.ray.worker_group import run_on_workers

SIZE = (32, 32)
RESOURCES = Resources(address="local", gpus_per_trial=0)
CHANGES = {
    "evaluator": {"name": "supernet", "epochs": 1, "paths": "single", "workers": 2},
    "training__data_share": 1.0,
}


@slow
@pytest.mark.timeout(600)
# Ray Train sets up a data library of its own, which is not used, by deprecated options.
@pytest.mark.filterwarnings("ignore:.use_:DeprecationWarning")
def test_two_workers_train_the_supernet_of_a_search(tmp_path: Path) -> None:
    data = load_train_and_validation(DataSettings(name="fashion-mini"), image_size=SIZE)
    data = replace(data, train=data.train.take(np.arange(128)))
    study = make_study(tmp_path, **CHANGES)
    told: list[str] = []
    # Beside other work on this machine, workers at Ray's own niceness of 15 would hardly start.
    with (
        mock.patch.dict(os.environ, {"RAY_worker_niceness": "0"}),
        ray_session(RESOURCES),
    ):
        on_workers = partial(run_on_workers, resources=RESOURCES)
        seconds = prepare_evaluators(
            study.config,
            folder=study.folder,
            data={SIZE: data},
            tell=told.append,
            stopped=lambda: False,
            on_workers=on_workers,
        )
        with pytest.raises(StudyError, match=r"evaluator.workers: 999; expected at most the \d+"):
            on_workers(print, workers=999, folder=tmp_path, tick=lambda: None)
    assert seconds > 0
    assert told[-1] == "training the supernet: step 4 of 4"
    make_evaluator(study.config, folder=study.folder)  # reads the file
