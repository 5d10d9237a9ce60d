"""How fast a training step is, beside the machine's own rate of matrix products.

Off by default; `pytest -m benchmark tests/benchmarks/test_training_speed.py` takes about eight
minutes and writes three tables to `results/benchmarks/`. Nothing here asserts a time.
"""

import copy
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from result_tables import write_table
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from spach_nas.machine import keep_freed_memory
from spach_nas.networks import build
from spach_nas.networks import mixer_modules as network_mixers
from spach_nas.training import threads
from spach_nas.training.muon import make_muon
from training_steps import (
    PROXIES,
    Case,
    MatrixProduct,
    Trainer,
    full_size_cases,
    interleaved,
    proxy,
)

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]
# More rounds give steadier medians; fewer are enough to see that it runs.
ROUNDS = int(os.environ.get("SPACH_NAS_BENCHMARK_ROUNDS", "5"))
PRECISIONS = ("fp32", "bf16")


def rows_of(case: Case, *, count: int, rounds: int) -> list[dict[str, object]]:
    """Both precisions of a network, with matrix products in the same rounds."""
    with threads(count):
        steps = {precision: Trainer(case, precision) for precision in PRECISIONS}
        products = {f"mm {precision}": MatrixProduct(precision) for precision in PRECISIONS}
        timed = interleaved({**products, **steps}, rounds=rounds)
    speedup = statistics.median(map(ratio, timed["fp32"], timed["bf16"]))
    rows = []
    for precision in PRECISIONS:
        step, one = (statistics.median(timed[name]) for name in (precision, f"mm {precision}"))
        # Steps a product: within a round, where both had the same machine.
        ratios = map(ratio, timed[f"mm {precision}"], timed[precision])
        share = statistics.median(ratios) * case.gflops(1.0) / MatrixProduct.gflops(1.0)
        rows.append(
            case.sizes
            | {
                "threads": count,
                "precision": precision,
                "images_per_s": f"{case.batch / step:.1f}",
                "gflops": f"{case.gflops(step):.1f}",
                "matrix_gflops": f"{MatrixProduct.gflops(one):.1f}",
                "share_of_matrix_rate": f"{share:.2f}",
                "speed_beside_fp32": f"{speedup if precision == 'bf16' else 1:.2f}",
            }
        )
    return rows


def compared(
    case: Case, question: str, variants: Mapping[str, Callable[[], None]], *, rounds: int = ROUNDS
) -> list[dict[str, object]]:
    """Speed of each variant beside the first, the median of the ratios within a round."""
    timed = interleaved(variants, rounds=rounds)
    first = next(iter(timed.values()))
    return [
        {"question": question, "variant": name}
        | case.sizes
        | {
            "speed_beside_first": f"{statistics.median(map(ratio, first, times)):.2f}",
            "gflops": f"{case.gflops(statistics.median(times)):.1f}",
        }
        for name, times in timed.items()
    ]


def ratio(first: float, other: float) -> float:
    return first / other


def adamw(**how: bool) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda network: torch.optim.AdamW(network.parameters(), lr=1e-3, **how)


def muon_of_timm(network: nn.Module) -> torch.optim.Optimizer:
    return create_optimizer_v2(network, opt="muon", lr=5e-3, weight_decay=0.05)


def muon(network: nn.Module) -> torch.optim.Optimizer:
    return make_muon(network, learning_rate=5e-3, weight_decay=0.05)


WAYS: dict[str, dict[str, Callable[[nn.Module], torch.optim.Optimizer]]] = {
    "AdamW": {
        "fused": adamw(fused=True),
        "foreach": adamw(foreach=True),
        "loop": adamw(foreach=False),
    },
    "Muon": {"matrices of a shape at once": muon, "one by one": muon_of_timm},
}


def optimizers(case: Case, question: str) -> list[dict[str, object]]:
    network = build(case.architecture)
    return compared(
        case,
        question,
        {
            name: Trainer(case, "fp32", network=copy.deepcopy(network), optimizer=way)
            for name, way in WAYS[question].items()
        },
    )


def fused_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def three_step_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(q, k, v)


def attention_kernels(case: Case, precision: str) -> list[dict[str, object]]:
    """The package's own choice beside torch's two kernels."""

    def step(kernel: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[], None]:
        trainer = Trainer(case, precision)

        def run() -> None:
            with mock.patch.object(network_mixers, "attend", kernel):
                trainer()

        return run

    kernels = {
        "chosen": network_mixers.attend,
        "fused": fused_attention,
        "three steps of torch": three_step_attention,
    }
    return compared(
        case, f"attention {precision}", {name: step(kernel) for name, kernel in kernels.items()}
    )


def batches(name: str, *, width: int, sizes: Iterable[int]) -> list[dict[str, object]]:
    cases = [proxy(name, width=width, batch=size) for size in sizes]
    timed = interleaved({str(c.batch): Trainer(c, "fp32") for c in cases}, rounds=ROUNDS)
    rates = {case: case.gflops(statistics.median(timed[str(case.batch)])) for case in cases}
    return [
        {"question": "batch size", "variant": str(case.batch)}
        | case.sizes
        | {"speed_beside_first": f"{rate / rates[cases[0]]:.2f}", "gflops": f"{rate:.1f}"}
        for case, rate in rates.items()
    ]


def test_training_steps_are_measured() -> None:
    keep_freed_memory()
    rows = []
    for case, count in itertools.product(full_size_cases(), (1, 2)):
        rows += rows_of(case, count=count, rounds=ROUNDS)
    proxies = [
        proxy(name, width=width, batch=batch)
        for batch, name, width in itertools.product((128, 32), PROXIES, (32, 16))
    ]
    for case, count in itertools.product(proxies, (1, 2)):
        rows += rows_of(case, count=count, rounds=ROUNDS + 2)
    write_table("training_speed.csv", rows, test=__file__)


def test_choices_are_measured() -> None:
    keep_freed_memory()
    with threads(1):
        hybrid = {width: proxy("hybrid_ms_s", width=width, batch=32) for width in (32, 16)}
        rows = [
            row
            for question in WAYS
            for case in hybrid.values()
            for row in optimizers(case, question)
        ]
        for width in (32, 16):
            rows += batches("hybrid_ms_s", width=width, sizes=(32, 16, 64, 128, 256))
        for case in (full_size_cases()[0], hybrid[32]):
            for precision in PRECISIONS:
                rows += attention_kernels(case, precision)
    write_table("training_choices.csv", rows, test=__file__)


def test_compilation_is_measured() -> None:
    keep_freed_memory()
    case = proxy("hybrid_ms_s", width=16, batch=32)
    network = build(case.architecture)
    with threads(1):
        plain, compiled = (Trainer(case, "fp32", network=copy.deepcopy(network)) for _ in range(2))
        compiled.network.compile()
        started = time.perf_counter()
        compiled()
        taken = {"as it is": "0", "torch.compile": f"{time.perf_counter() - started:.0f}"}
        variants = {"as it is": plain, "torch.compile": compiled}
        rows = compared(case, "compile", variants, rounds=4 * ROUNDS)
    rows = [row | {"seconds_to_compile": taken[str(row["variant"])]} for row in rows]
    write_table("training_compile.csv", rows, test=__file__)
