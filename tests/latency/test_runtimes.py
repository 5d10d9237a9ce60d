"""Runtimes by name: what each computes in, what it lacks, and one that a plugin brings in."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import needs
from documents import DOCS, blocks
from effort import slow
from latency_tools import fake_clock
from search_tools import write_search
from spach_nas.config import plugins
from spach_nas.config.plugins import load_plugins
from spach_nas.config.runtime_registry import RUNTIMES, RuntimeSpec, register_runtime
from spach_nas.config.search_yaml import load_config, source_files
from spach_nas.errors import ConfigError, LatencyError, PluginError
from spach_nas.latency import runtimes
from spach_nas.latency.measuring import search_latency
from spach_nas.latency.parts import parts_of
from spach_nas.latency.timing import conditions, measure_network, time_part
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.study.folder import create_folder, plugin_texts
from spach_nas.study.results import open_study

TINY = Architecture(
    stem="conv1",
    patch_size=4,
    image_size=(8, 8),
    num_classes=2,
    stages=(Stage(mixers=("conv", "attention", "mlp"), width=8, heads=2, expansion_ratio=1),),
)
BOTH = {"accuracy": "max", "latency": "min"}


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(RUNTIMES, "known", dict(RUNTIMES))


@pytest.mark.parametrize(
    ("runtime", "precision", "message"),
    [
        ("eager", "int8", "eager: does not compute in int8 on cpu; expected fp32 or bf16"),
        ("onnx", "fp16", "onnx: does not compute in fp16 on cpu; expected fp32 or int8"),
        ("openvino", "bf16", "openvino: does not compute in bf16 on cpu; expected fp32"),
        ("tensorrt", "fp32", "tensorrt: does not run on cpu; expected cuda"),
        ("openvin", "fp32", "unknown runtime 'openvin'; expected .*; did you mean 'openvino'?"),
    ],
)
def test_a_runtime_says_what_it_cannot(runtime: str, precision: str, message: str) -> None:
    with pytest.raises(LatencyError, match=message):
        conditions(runtime=runtime, device="cpu", precision=precision)  # type: ignore[arg-type]


def test_a_runtime_that_is_not_installed_stops_a_search_before_any_time(
    tmp_path: Path, own: None
) -> None:
    register_runtime(
        RuntimeSpec(
            name="absent",
            factory="nowhere:run",
            formats={"cpu": ("fp32",)},
            modules=("torch", "no_such_module"),
            install="no-such",
        )
    )
    path = write_search(tmp_path, objectives=BOTH, latency={"runtime": "absent"})
    with pytest.raises(LatencyError, match="absent: lacks no_such_module; pip install no-such"):
        search_latency(load_config(path), clock=fake_clock(asked=(asked := [])))
    assert not asked


def test_a_provider_that_is_not_there_is_told_with_what_to_install() -> None:
    gpu = replace(conditions(), device="cuda")
    for factory in (runtimes.onnx_runtime, runtimes.tensor_rt):
        with pytest.raises(LatencyError, match=r"no .*ExecutionProvider; expected .*onnxr"):
            factory(nn.Identity(), torch.zeros(1), gpu)


def test_the_runtime_of_a_plugin_is_measured_and_belongs_to_its_study(
    tmp_path: Path, own: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "brought_in", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "my_runtimes", sys)
    monkeypatch.delitem(sys.modules, "my_runtimes")
    monkeypatch.chdir(tmp_path)
    text = next(item.text for item in blocks(DOCS / "latency.md") if item.file == "my_runtimes.py")
    (tmp_path / "my_runtimes.py").write_text(text)
    latency = {"runtime": "autocast", "precision": "bf16"}
    path = write_search(tmp_path, objectives=BOTH, latency=latency)
    with pytest.raises(ConfigError, match=r"latency.runtime: 'autocast'; expected eager, .*--plug"):
        load_config(path)
    load_plugins(["my_runtimes"])
    config = load_config(path)
    measure = partial(measure_network, TINY, device="cpu", seconds=0.01)
    [found] = measure(runtimes=("autocast",), precision="bf16")
    assert found.timing is not None and found.where is not None
    assert (found.where.runtime, found.where.precision) == ("autocast", "bf16")
    create_folder(tmp_path / "study", texts=source_files(path) | plugin_texts(config))
    assert open_study(tmp_path / "study").config.latency.runtime == "autocast"
    del RUNTIMES.known["autocast"]
    with pytest.raises(PluginError, match="for 'runtime autocast'; expected --plugin my_runtimes"):
        open_study(tmp_path / "study")


def test_what_a_runtime_cannot_run_is_told_by_its_name(
    own: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no such operator\nTraceback of many lines")

    monkeypatch.setitem(sys.modules, "refusing", refuse)
    refuse.run = refuse  # type: ignore[attr-defined]
    register_runtime(
        RuntimeSpec(name="refusing", factory="refusing:run", formats={"cpu": ("fp32",)})
    )
    [found] = measure_network(TINY, device="cpu", runtimes=("refusing",))
    assert found.missing == "refusing: RuntimeError: no such operator"


@slow
def test_every_part_runs_in_onnx_runtime() -> None:
    # Made from the graph in fp32; stems, downsamplings and heads may have nothing in INT8.
    where = conditions(runtime="onnx", batch_size=2, precision="int8")
    assert set(where.versions) == {"torch", "onnxruntime"}
    for part in parts_of(TINY):
        assert time_part(part, where).median > 0


@slow
def test_openvino_computes_the_module() -> None:
    pytest.importorskip("openvino", reason=needs.OPENVINO)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(48, 64), nn.GELU(), nn.Linear(64, 8)).eval()
    image = torch.randn(16, 48)
    [found] = runtimes.open_vino(module, image, conditions(runtime="openvino"))().values()  # type: ignore[attr-defined]
    assert np.allclose(found, module(image).detach().numpy(), rtol=0, atol=1e-5)
