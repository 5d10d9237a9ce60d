"""The searches of `results/controls` load, and train all architectures within their limits."""

from pathlib import Path

import pytest

from spach_nas.config.search_yaml import load_config
from spach_nas.config.shipped import shipped_folder
from spach_nas.data import data_shape
from spach_nas.data.controls import TASKS
from spach_nas.feasible import FeasibleSet
from spach_nas.space.search_space import SearchSpace

pytestmark = pytest.mark.published

FOLDER = Path(__file__).parents[2] / "results" / "controls"


@pytest.mark.parametrize("task", TASKS)
def test_the_search_of_a_task_trains_all_architectures_within_its_limit(task: str) -> None:
    config = load_config(FOLDER / task / "search.yaml")
    assert config.data.name == f"controls/{task}"
    assert data_shape(config.data).num_classes == 8
    assert config.space == SearchSpace.from_yaml(shipped_folder() / "controls.yaml")
    config = config.for_data(data_shape(config.data))
    count = FeasibleSet(config.space, config.limits).count
    assert count is not None and 60 <= count == config.search.trials
