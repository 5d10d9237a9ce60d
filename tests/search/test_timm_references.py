"""Models of timm among the references: told early, timed with the table, shown, never trained."""

from dataclasses import replace
from pathlib import Path

import pytest

from latency_tools import fake_clock, make_table, timing
from search_tools import make_study, write_search
from spach_nas.config.search_yaml import load_config
from spach_nas.config.study_files import TIMM_CSV
from spach_nas.errors import ConfigError, LatencyError, StudyError
from spach_nas.latency.latency_table import read_table, write_table
from spach_nas.latency.measuring import measure_file, search_latency, search_parts
from spach_nas.report.study import study_facts
from spach_nas.search.plan import plan_search
from spach_nas.search.run import prepare_folder
from spach_nas.study.timm_figures import TimmFigures, read_timm_table, timm_table
from study_factory import TIMM_FIGURES

NAMES = ["timm/test_vit", "timm/test_resnet"]
BOTH = {"accuracy": "max", "latency": "min"}


def test_they_are_not_trained_and_have_the_input_and_classes_of_the_targets(tmp_path: Path) -> None:
    config = load_config(write_search(tmp_path, references=NAMES))
    assert config.paper_models == ()
    assert [str(model) for model in config.timm_models] == [
        f"{name}, 32x32 px, 1 channel and 10 classes" for name in NAMES
    ]
    assert make_study(tmp_path, references=NAMES).total == 12


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("timm/test_vitt", "references: timm/test_vitt: no such model of timm; did you mean"),
        ("timm/inception_v3", "references: timm/inception_v3: cannot take images of 32x32 px"),
    ],
)
def test_a_model_that_is_none_or_takes_another_input_is_told(
    tmp_path: Path, name: str, line: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        plan_search(write_search(tmp_path, references=[name]))
    assert line in str(raised.value)


def test_they_are_timed_whole_with_the_table_and_a_table_without_them_is_told(
    tmp_path: Path,
) -> None:
    given = {"objectives": BOTH, "latency__table": str(tmp_path / "t.json")}
    config = load_config(write_search(tmp_path, references=NAMES, **given))
    table = make_table(search_parts(config))
    write_table(tmp_path / "t.json", table)
    with pytest.raises(LatencyError) as raised:
        search_latency(config)
    assert f"t.json: holds no time of {NAMES[0]}, 32x32 px, 1 channel and 10" in str(raised.value)
    own = fake_clock()

    def network(item, where):
        return timing(12e6) if item in config.timm_models else own.network(item, where)

    measure_file(
        tmp_path / "t.json",
        config.space,
        (),
        table.conditions,
        timm_models=config.timm_models,
        clock=replace(own, network=network),
    )
    found = search_latency(config)
    assert found is not None
    assert [time.median_ms for time in found.table.timm.values()] == [12, 12]
    assert read_table(tmp_path / "t.json") == found.table


def test_a_study_keeps_their_figures(tmp_path: Path) -> None:
    path = write_search(tmp_path, references=NAMES)
    prepare_folder(plan_search(path), tmp_path / "study")
    vit, resnet = read_timm_table(tmp_path / "study")
    assert (vit.name, vit.image_size, vit.latency, vit.top1) == (NAMES[0], 32, None, None)
    # Two tokens of 16 px sides and a class token: far fewer products than of the 160 px of timm.
    assert 0 < vit.macs < 10e6 and 0 < resnet.macs < 10e6
    assert study_facts(tmp_path / "study").timm == (vit, resnet)
    (tmp_path / "study" / TIMM_CSV).write_text("name,macs\nx,y\n")
    with pytest.raises(StudyError, match="is damaged"):
        read_timm_table(tmp_path / "study")


def test_their_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_timm_table(tmp_path) == ()
    bare = TimmFigures(name="timm/c", image_size=32, params=1, macs=2, activations=3)
    (tmp_path / TIMM_CSV).write_text(timm_table([TIMM_FIGURES, bare]))
    assert read_timm_table(tmp_path) == (TIMM_FIGURES, bare)
