"""What a user meets in Python: names, arguments in any form, studies, mistakes in our words."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
import yaml

import spach_nas
from documents import DOCS, blocks
from search_tools import drive, make_study, write_search
from spach_nas.config.search_yaml import load_config, parse_config, to_yaml
from spach_nas.config.shipped import shipped_folder
from spach_nas.latency.latency_table import Timing
from spach_nas.space.references import REFERENCES
from spach_nas.study import pareto
from spach_nas.study.records import read_records

PUBLISHED = Path(spach_nas.__file__).parents[1] / "results" / "first_front"
TINY = spach_nas.Architecture(
    stem="conv1",
    patch_size=2,
    stages=(
        spach_nas.Stage(mixers=("conv", "attention"), width=8, heads=2, expansion_ratio=2),
        spach_nas.Stage(mixers=("mlp",), width=16, heads=2, expansion_ratio=2),
    ),
    image_size=(16, 16),
    num_classes=3,
)


def test_a_listing_offers_what_is_public_and_nothing_else() -> None:
    assert dir(spach_nas) == sorted(spach_nas.__all__)


def test_a_name_is_the_same_whatever_was_imported_before() -> None:
    code = (
        "import {0}spach_nas; figures = spach_nas.cost('conv_xxs'); "
        "from spach_nas.cost import cost; assert spach_nas.cost is spach_nas.cost; "
        "print(figures == cost('conv_xxs') == spach_nas.cost('conv_xxs'))"
    )
    for before in ("", "spach_nas.cost.limits, "):
        done = subprocess.run(
            [sys.executable, "-c", code.format(before)], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "True"


@pytest.fixture(scope="module")
def study() -> spach_nas.Study:
    return spach_nas.open_study(PUBLISHED)


def test_an_opened_study_finds_what_its_records_say(study: spach_nas.Study) -> None:
    records = read_records(PUBLISHED)
    config = load_config(PUBLISHED / "search.yaml")
    assert tuple(study.records) == records
    assert study.front() == pareto.front(records, config.objective_list, limits=config.limits)
    assert study.best() == pareto.best(records)
    assert study.knee() == pareto.knee(records, config.objective_list, limits=config.limits)


def test_a_study_is_printed_in_a_few_lines(study: spach_nas.Study) -> None:
    lines = str(study).splitlines()
    assert repr(study) == str(study) and len(lines) <= 5
    best = study.best()
    assert best is not None
    assert "28 trials" in lines[1] and "'quickstart'" in lines[0]
    assert lines[2] == (
        f"  best: trial {best.trial}, accuracy {best.objectives['accuracy']:.4g}, "
        f"macs {best.target_cost.macs / 1e9:.4g}G, {best.architecture}"
    )


def test_an_empty_study_is_printed_too(study: spach_nas.Study) -> None:
    empty = spach_nas.Study(study.config, folder=PUBLISHED)
    assert empty.best() is empty.knee() is None and empty.front() == ()
    assert len(str(empty).splitlines()) == 2
    assert len(empty.to_dataframe()) == 0


def test_a_table_has_a_flat_row_for_each_record(study: spach_nas.Study) -> None:
    table = study.to_dataframe()
    assert list(table["trial"]) == [record.trial for record in study.records]
    for column in table:
        assert not table[column].map(lambda value: isinstance(value, dict | list | tuple)).any()
    front = {record.trial for record in study.front()}
    assert set(table[table.on_front].trial) == front
    best = study.best()
    assert best is not None
    row = table[table.trial == best.trial].iloc[0]
    assert row.accuracy == table.accuracy.max() == best.objectives["accuracy"]
    assert row.target_macs == best.target_cost.macs == spach_nas.cost(best).macs
    assert row.stage1_width == best.architecture.stages[0].width
    assert row.stage3_depth == best.architecture.stages[2].depth
    assert isinstance(table, pandas.DataFrame) and table.columns.is_unique


def test_a_table_without_pandas_says_what_to_install(
    study: spach_nas.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(spach_nas.SpachNasError, match="pip install pandas"):
        study.to_dataframe()


def test_opening_a_study_loads_nothing_heavy() -> None:
    code = (
        f"import sys, spach_nas; study = spach_nas.open_study({str(PUBLISHED)!r}); str(study); "
        "spach_nas.cost(study.best()); "
        "print(sorted({'torch', 'ray', 'timm', 'optuna', 'plotly', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_search_gives_a_study_like_any_other(tmp_path: Path) -> None:
    searched = make_study(tmp_path, search__sampler="random", search__trials=6)
    assert isinstance(searched, spach_nas.Study)
    drive(searched)
    opened = spach_nas.open_study(tmp_path / "study")
    for found in (searched, opened):
        assert (found.front(), found.best(), found.knee()) == (
            opened.front(),
            opened.best(),
            opened.knee(),
        )
        assert str(found) == str(opened)
        assert found.to_dataframe().equals(opened.to_dataframe())
    searched.close()


def sources(folder: Path) -> dict[str, Any]:
    file = folder / "tiny.yaml"
    file.write_text(TINY.to_yaml())
    bundle = folder / "bundle"
    bundle.mkdir()
    (bundle / "architecture.yaml").write_text(TINY.to_yaml())
    record = replace(read_records(PUBLISHED)[0], architecture=TINY)
    return {
        "architecture": TINY,
        "dictionary": TINY.to_dict(),
        "record": record,
        "file": file,
        "name of a file": str(file),
        "bundle": bundle,
        "reference": replace(REFERENCES["conv_xxs"], architecture=TINY),
    }


def test_every_function_takes_every_form_of_an_architecture(tmp_path: Path) -> None:
    expected = spach_nas.cost(TINY), str(spach_nas.draw(TINY))
    for name, source in sources(tmp_path).items():
        assert (spach_nas.cost(source), str(spach_nas.draw(source))) == expected, name
        assert spach_nas.build(source).architecture == TINY, name
    assert spach_nas.latency(TINY.to_dict(), seconds=0.01, device="cpu").median_ms > 0
    assert spach_nas.cost("hybrid_ms_s") == spach_nas.cost(REFERENCES["hybrid_ms_s"])
    assert spach_nas.draw("conv_xxs") == spach_nas.draw(REFERENCES["conv_xxs"].architecture)


WRONG = [None, 3, 1.5, "conv_ms", "missing.yaml", Path("/no/such"), b"conv_ms_s", [], {}, object()]


@pytest.mark.parametrize("name", ["build", "cost", "draw", "latency", "load_model", "open_study"])
def test_a_wrong_argument_is_our_error(name: str) -> None:
    for wrong in WRONG:
        with pytest.raises(spach_nas.SpachNasError):
            getattr(spach_nas, name)(wrong)


@pytest.mark.parametrize("wrong", [None, 3, "no_such_search", [], {}, {"study": "x"}, object()])
def test_a_wrong_search_is_our_error(wrong: Any) -> None:
    with pytest.raises(spach_nas.SpachNasError):
        spach_nas.search(wrong)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spach_nas.latency(TINY, runtime="onx"), "runtime: 'onx'; .* did you mean 'onnx'"),
        (lambda: spach_nas.latency(TINY, device="gpu"), "device: 'gpu'; expected auto"),
        (lambda: spach_nas.latency(TINY, precision="fp8"), "precision: 'fp8'; expected fp32, bf"),
        (lambda: spach_nas.latency(TINY, batch_size=0), "batch_size: 0; expected a whole"),
        (lambda: spach_nas.latency(TINY, threads="2"), "threads: '2'; expected a whole"),
        (lambda: spach_nas.load_official("no.pth", "conv_ms_s"), r"no\.pth"),
        (lambda: spach_nas.Architecture.from_yaml("no.yaml"), r"no\.yaml: No such file"),
        (lambda: spach_nas.SearchSpace.from_yaml("no.yaml"), r"no\.yaml: No such file"),
        (lambda: replace(TINY.stages[0], width="8"), "Stage: .* expected mixer names and plain"),
        (lambda: replace(TINY.stages[0], mixers=None), r"mixers: \(\)|Stage: "),
        (lambda: replace(TINY, image_size=16), "Architecture: .* as height and width"),
        (lambda: replace(TINY, stages=[3]), "Architecture: "),
        (lambda: spach_nas.load_official("no.pth", "conv_ms"), "unknown model 'conv_ms'"),
        (lambda: spach_nas.search({"study": "a", "trails": 3}), "search: trails: unknown key"),
    ],
)
def test_a_wrong_setting_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(spach_nas.SpachNasError, match=message):
        call()


@pytest.mark.parametrize("form", ["mapping", "config"])
def test_a_search_in_python_is_the_search_of_its_file(form: str, tmp_path: Path) -> None:
    from spach_nas.search.plan import plan_search
    from spach_nas.search.run import prepare_folder

    path = write_search(tmp_path)
    config = load_config(path)
    plain = yaml.safe_load(path.read_text())
    space = plain["space"]
    if isinstance(space, str) and (path.parent / space).is_file():
        plain["space"] = str(path.parent / space)
    plan = plan_search(plain if form == "mapping" else config)
    assert plan.config == config
    prepare_folder(plan, tmp_path / "study")
    assert load_config(tmp_path / "study" / "search.yaml") == config


@pytest.mark.parametrize(
    "path",
    sorted(set(shipped_folder().glob("*.yaml")) - set(shipped_folder().glob("rediscover_*"))),
    ids=lambda path: path.stem,
)
def test_a_config_says_the_same_as_yaml(path: Path, tmp_path: Path) -> None:
    if "study" not in yaml.safe_load(path.read_text()):
        plain = yaml.safe_load((shipped_folder() / "quickstart.yaml").read_text())
        plain |= {"space": path.stem, "references": [], "limits": {}, "proxy": {}}
    else:
        plain = yaml.safe_load(path.read_text())
    plain["limits"] |= {"max_latency": "12.5ms"}
    plain["search"] |= {"max_duration": "2h"}
    plain["training"] = {"epochs": 3}
    plain["rungs"] = {"levels": [{"epochs": 1, "data_share": 0.5}]}
    plain["resources"] = {"memory_per_trial": "2G", "gpus_per_trial": 0.5}
    config = parse_config(plain, where="test", folder=tmp_path)
    again = parse_config(yaml.safe_load(to_yaml(config)), where="test", folder=tmp_path)
    assert again == config


def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tmp_path / "results" / "quickstart"
    shutil.copytree(PUBLISHED, study)
    (study / "best").mkdir()
    (study / "best" / "architecture.yaml").write_text(TINY.to_yaml())
    monkeypatch.chdir(tmp_path)
    searched: list[object] = []
    monkeypatch.setitem(vars(spach_nas), "search", lambda source, **_: searched.append(source))
    measured: list[object] = []
    monkeypatch.setattr(
        "spach_nas.latency.latency",
        lambda source, **_: measured.append(source) or Timing(median=1e6, low=1, high=1, runs=1),
    )
    found = [block for block in blocks(DOCS / "api.md") if block.language == "python"]
    for block in found:
        exec(compile(block.text, "api.md", "exec"), {})
    assert searched[0] == "quickstart" and measured == ["conv_ms_xxs"]
    assert parse_config(searched[1], where="page", folder=tmp_path).search.trials == 12
    text = (DOCS / "api.md").read_text()
    for name in set(spach_nas.__all__) - {"__version__"}:
        assert re.search(rf"spach_nas\.{name}\b|`{name}`|: .*\.{name}$", text, re.MULTILINE), name
