"""Settings that are made in Python are checked like those of a file."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from spach_nas.config.search_settings import (
    LatencySettings,
    Level,
    Resources,
    Rungs,
    SearchSettings,
)
from spach_nas.config.training_settings import Augmentation, DataSettings, TrainingSettings
from spach_nas.errors import ArchitectureError, ConfigError, SearchSpaceError, SpachNasError
from spach_nas.space.layouts import Layout
from spach_nas.space.scaling import ProxyRule
from spach_nas.space.stage_space import HeadsRule, StageSpace, Times
from spach_nas.validation import Settings


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DataSettings(name="a", root=" "), ConfigError, "root: is empty"),
        (lambda: Augmentation(flip=3), ConfigError, "flip: 3; expected true or false"),
        (lambda: TrainingSettings(optimizer="adam"), ConfigError, "optimizer: 'adam'; expected ad"),
        (lambda: SearchSettings(trials=0), ConfigError, "trials: 0; expected at least 1"),
        (
            lambda: SearchSettings(trials=1, max_duration=0),
            ConfigError,
            "max_duration: 0; expected more than 0",
        ),
        (
            lambda: SearchSettings(trials=1, sampler="nsga"),
            ConfigError,
            "sampler: 'nsga'; expected random",
        ),
        (lambda: Level(epochs=1, data_share=2), ConfigError, "data_share: 2; expected more than 0"),
        (lambda: Rungs(reduction=1), ConfigError, "reduction: 1; expected at least 2"),
        (lambda: Resources(gpus_per_trial=1.5), ConfigError, "gpus_per_trial: 1.5; expected auto"),
        (lambda: LatencySettings(runtime="jit"), ConfigError, "runtime: 'jit'; expected eager"),
        (lambda: ProxyRule(image_size=0), ConfigError, "image_size: 0; expected a size"),
        (
            lambda: HeadsRule(width_per_head=0),
            SearchSpaceError,
            "width_per_head: 0; expected at least 1",
        ),
        (lambda: Times(times=(-1,)), SearchSpaceError, "times: -1.0; expected more than 0"),
        (
            lambda: StageSpace(depth=(201,), width=(8,), mixers="conv"),
            SearchSpaceError,
            "depth: 201; expected at most 200",
        ),
        (
            lambda: Layout(leading=("conv",), trailing=("cnv",)),
            ArchitectureError,
            "trailing: unknown mixer 'cnv'",
        ),
    ],
)
def test_a_bad_value_is_refused(
    make: Callable[[], Any], error: type[SpachNasError], message: str
) -> None:
    with pytest.raises(error) as raised:
        make()
    assert str(raised.value).startswith(message)


def test_all_bad_values_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        TrainingSettings(epochs=0, batch_size=0, warmup_share=1)
    assert str(raised.value).splitlines() == [
        "epochs: 0; expected at least 1",
        "batch_size: 0; expected at least 1",
        "warmup_share: 1; expected at least 0 and less than 1",
    ]


def test_every_field_of_settings_says_what_it_means() -> None:
    for cls in (DataSettings, TrainingSettings, SearchSettings, Rungs, Resources, LatencySettings):
        assert issubclass(cls, Settings)
        assert fields(cls)
        assert "Attributes:" not in (cls.__doc__ or "")
