"""The command `latency`: options, sources, and one real measurement."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from effort import slow
from search_tools import write_search
from spach_nas.cli import app
from spach_nas.cli.latency_view import print_network
from spach_nas.config.runtime_registry import Format
from spach_nas.config.search_settings import LatencySettings
from spach_nas.errors import LatencyError, SpachNasError
from spach_nas.latency.request import (
    find_network,
    find_space,
    parse_batch_sizes,
    parse_runtimes,
)
from spach_nas.latency.timing import measure_network
from spach_nas.space.architecture import Architecture, Stage

TINY = Architecture(
    stem="conv1",
    patch_size=4,
    image_size=(8, 8),
    num_classes=2,
    stages=(Stage(mixers=("conv", "attention"), width=8, heads=2, expansion_ratio=1),),
)


def test_a_network_is_timed_here() -> None:
    before = torch.get_num_threads()
    state = torch.get_rng_state()
    [eager] = measure_network(TINY, batch_sizes=(2,), runtimes=("eager",), seconds=0.01)
    assert eager.timing is not None and eager.missing is None
    assert 0 < eager.timing.low <= eager.timing.median <= eager.timing.high
    assert eager.images_per_second == pytest.approx(2e9 / eager.timing.median)
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)


def test_a_runtime_that_is_missing_is_said_once() -> None:
    [found] = measure_network(
        TINY, batch_sizes=(1, 2), runtimes=("onnx",), precision="bf16", seconds=0.01
    )
    assert found.timing is None and found.missing == (
        "onnx: does not compute in bf16 on cpu; expected fp32 or int8"
    )


def show(*runtimes: str, precision: Format) -> None:
    print_network(
        TINY,
        name="tiny",
        batch_sizes=(1,),
        runtimes=runtimes,
        device="cpu",
        threads=1,
        precision=precision,
        as_json=True,
    )


def test_a_format_that_no_runtime_computes_in_is_told_of_each() -> None:
    with pytest.raises(LatencyError, match=r"^onnx: does not compute in fp16 .*\nopenvino: "):
        show("onnx", "openvino", precision="fp16")


@slow
def test_a_format_of_one_runtime_is_timed_there(capsys: pytest.CaptureFixture[str]) -> None:
    show("eager", "onnx", precision="int8")
    eager, onnx = json.loads(capsys.readouterr().out)["times"]
    assert eager["missing"] == "eager: does not compute in int8 on cpu; expected fp32 or bf16"
    assert onnx["precision"] == "int8" and onnx["median_ms"] > 0


@pytest.mark.parametrize("text", ["", "0", "1,x", "-1", "1.5", "1,,2"])
def test_bad_batch_sizes_are_told(text: str) -> None:
    with pytest.raises(LatencyError, match=r"--batch-size: .*; expected whole numbers from 1"):
        parse_batch_sizes(text)


def test_options_are_read() -> None:
    assert parse_batch_sizes("1, 32,1") == (1, 32)
    assert parse_runtimes("onnx,eager") == ("eager", "onnx")
    with pytest.raises(LatencyError, match=r"--runtime: 'onx'; expected eager, .* or tensorrt; di"):
        parse_runtimes("eager,onx")


def test_sources_are_found_and_confusions_told(tmp_path: Path) -> None:
    (tmp_path / "architecture.yaml").write_text(TINY.to_yaml())
    assert find_network(str(tmp_path)) == TINY == find_network(str(tmp_path / "architecture.yaml"))
    assert find_network("conv_ms_xxs").stages[0].width == 64
    search = write_search(tmp_path, references=[], latency={"threads": 2})
    assert find_space(str(search)).settings == LatencySettings(threads=2)
    assert find_space("spach_ms").references == ()
    for source, message in (
        ("conv_ms_xx", "unknown model.*did you mean 'conv_ms_xxs'"),
        ("spach_ms", "many networks; expected one, or --table FILE"),
        (str(search), "many networks"),
        (str(tmp_path.parent), "holds no architecture.yaml; expected a bundle"),
    ):
        with pytest.raises(SpachNasError, match=message):
            find_network(source)
    for source in ("conv_ms_xxs", str(tmp_path), str(tmp_path / "architecture.yaml")):
        with pytest.raises(LatencyError, match="is one network; expected a search"):
            find_space(source)


def test_the_command_prints_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = partial(measure_network, seconds=0.01)
    monkeypatch.setattr("spach_nas.cli.latency_view.measure_network", quick)
    path = tmp_path / "a.yaml"
    path.write_text(TINY.to_yaml())
    arguments = ["latency", str(path), "--runtime", "eager", "--batch-size", "1,2", "--json"]
    found = CliRunner().invoke(app, arguments, catch_exceptions=False)
    plain = json.loads(found.stdout)
    assert plain["arch_id"] == TINY.arch_id
    assert [(line["runtime"], line["batch_size"]) for line in plain["times"]] == [
        ("eager", 1),
        ("eager", 2),
    ]
    assert all(line["median_ms"] > 0 and line["threads"] == 1 for line in plain["times"])
    with pytest.raises(SpachNasError, match=r"--batch-size: 1,2; expected one"):
        CliRunner().invoke(
            app,
            ["latency", "spach_ms", "--table", "t.json", "--batch-size", "1,2"],
            catch_exceptions=False,
        )
