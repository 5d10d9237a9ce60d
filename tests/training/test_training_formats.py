"""On a CPU nothing computes in bfloat16 or float16 unless asked for, and who asks is warned."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from full_tools import plan_in
from network_tools import small
from search_tools import write_search
from spach_nas.config.evaluation import Fidelity
from spach_nas.config.training_settings import Optimizer, TrainingSettings
from spach_nas.latency.timing import cautions, conditions
from spach_nas.networks import build
from spach_nas.search.plan import plan_search
from spach_nas.training import (
    ProductRates,
    choose_runtime,
    device,
    format_warning,
    train,
)
from spach_nas.training.device import orthogonalisation_format
from training_tools import DATA

HALVES = {torch.bfloat16, torch.float16}
# All mixers, both kinds of norm, and a stage boundary; of the data's channels and classes.
ARCHITECTURE = replace(
    small(("conv", "attention"), ("mlp", "conv"), stem="conv4"),
    image_size=(12, 12),
    in_channels=1,
    num_classes=3,
)
EMULATED = ProductRates(fp32=40.0, bf16=1.5, fp16=2.0)
NATIVE = ProductRates(fp32=90.0, bf16=180.0, fp16=9.0)


class Formats(TorchDispatchMode):
    """Every format of floating point that an operation under it takes or gives."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        self.seen |= set(_formats((args, kwargs, out)))
        return out


def _formats(value: object) -> Iterator[torch.dtype]:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        yield value.dtype
    elif isinstance(value, dict):
        yield from _formats(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _formats(item)


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_a_training_of_a_search_computes_in_float32(optimizer: Optimizer) -> None:
    settings = TrainingSettings(batch_size=32, optimizer=optimizer, device="cpu")
    fidelity = Fidelity(epochs=1, image_size=(12, 12), data_share=1.0)
    with Formats() as formats:
        train(
            build(ARCHITECTURE),
            DATA,
            settings=settings,
            fidelity=fidelity,
            seed=0,
            runtime=choose_runtime(device="cpu"),
        )
    assert torch.float32 in formats.seen
    assert not formats.seen & HALVES


def test_bf16_is_there_for_who_names_it() -> None:
    with Formats() as formats:
        train(
            build(ARCHITECTURE),
            DATA,
            settings=TrainingSettings(batch_size=64, device="cpu", precision="bf16"),
            fidelity=Fidelity(epochs=1, image_size=(12, 12), data_share=1.0),
            seed=0,
            runtime=choose_runtime(device="cpu", precision="bf16"),
        )
    assert torch.bfloat16 in formats.seen


@pytest.mark.parametrize("rates", [EMULATED, NATIVE], ids=["emulated", "native"])
def test_the_format_of_a_search_hangs_on_no_measurement(
    monkeypatch: pytest.MonkeyPatch, rates: ProductRates
) -> None:
    monkeypatch.setattr(device, "cpu_rates", lambda: rates)
    assert not choose_runtime(device="cpu").bf16
    assert orthogonalisation_format(torch.device("cpu")) is torch.float32


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_muon_takes_bf16_on_a_gpu_that_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: torch.dtype
) -> None:
    # torch says by default that a GPU which emulates it "supports" it.
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation or native,
    )
    assert orthogonalisation_format(torch.device("cuda")) is expected


def test_rates_are_those_of_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    # 8 products of 128 x 128 x 128, two operations each: 33.5 million in half a second.
    monkeypatch.setattr(device, "product_seconds", lambda matrices: 0.5)
    rates = device.cpu_rates.__wrapped__()
    assert rates.fp32 == rates.bf16 == rates.fp16 == pytest.approx(2 * 8 * 128**3 / 0.5 / 1e9)


def warned(
    monkeypatch: pytest.MonkeyPatch, rates: ProductRates
) -> Callable[[str, str], str | None]:
    monkeypatch.setattr(device, "cpu_rates", lambda: rates)
    return lambda precision, device: format_warning(precision, device=device)  # type: ignore[arg-type]


def test_who_asks_for_bf16_where_it_is_emulated_is_told_the_ratio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warning = warned(monkeypatch, EMULATED)
    text = warning("bf16", "cpu")
    assert text is not None and "0.04 times the speed" in text and "1.5 against 40" in text
    assert [warning(precision, "cpu") for precision in ("auto", "fp32")] == [None, None]
    assert warning("bf16", "cuda") is None
    assert warned(monkeypatch, NATIVE)("bf16", "cpu") is None


def test_a_search_a_training_and_a_timing_pass_the_warning_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(device, "cpu_rates", lambda: EMULATED)
    said: list[str] = []
    for precision in ("fp32", "bf16"):
        path = write_search(tmp_path, training__precision=precision, training__device="cpu")
        plan_search(path, say=said.append)
    assert len(said) == 1 and said[0].startswith("training.precision: bf16;")
    plan = plan_in(tmp_path, "precision=bf16", "device=cpu")
    assert sum("precision: bf16;" in note for note in plan.notes) == 1
    assert any("emulates" in text for text in cautions(conditions(device="cpu", precision="bf16")))
    assert not any("emulates" in text for text in cautions(conditions(device="cpu")))
