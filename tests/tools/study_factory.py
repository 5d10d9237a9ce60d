"""Synthetic but plausible records for tests of everything that reads a study."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from spach_nas.config.evaluation import Epoch, Fidelity
from spach_nas.cost.closed_form import Cost, cost
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.references import REFERENCES
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from spach_nas.study.records import Record
from spach_nas.study.timm_figures import TimmFigures

RULE = ProxyRule(image_size=(32, 32), patch_size=2, width_scale=0.125)
DATA = DataShape(in_channels=1, num_classes=10)
FIDELITY = Fidelity(epochs=6, image_size=(32, 32), data_share=0.5)
TIMM_FIGURES = TimmFigures(
    name="timm/a<b",
    image_size=224,
    params=5_000_000,
    macs=2_000_000_000,
    activations=7,
    latency=8.5,
    top1=80.4,
    top1_size=256,
    top1_model="a.b_in1k",
)
PAPER_MODELS = ("conv_ms_s", "trans_ms_s", "mlp_ms_s", "hybrid_ms_s")


def make_architecture(rng: random.Random) -> Architecture:
    """A multi-stage architecture as the shipped space has them."""
    width, ratio = rng.choice((64, 96, 128)), rng.choice((2.0, 3.0))
    depths = [rng.randint(lo, hi) for lo, hi in ((1, 4), (2, 6), (4, 16), (1, 4))]
    stages = []
    for i, depth in enumerate(depths):
        leading = "conv" if i == 0 else rng.choice(("conv", "conv", "attention", "mlp"))
        trailing = "conv" if i == 0 else rng.choice(("conv", "attention", "attention", "mlp"))
        last = rng.randint(0, depth)
        mixers = (leading,) * (depth - last) + (trailing,) * last
        stages.append(
            Stage(mixers=mixers, width=width * 2**i, heads=width // 32, expansion_ratio=ratio)
        )
    return Architecture(stem=rng.choice(("conv1", "conv4")), patch_size=4, stages=tuple(stages))


def make_record(
    trial: int,
    accuracy: float | None,
    *,
    macs: int | None = None,
    architecture: Architecture | None = None,
    reference: str | None = None,
    rung: int = 0,
    reason: str | None = None,
    epochs: int = 6,
    seed: int = 0,
) -> Record:
    """One record; `accuracy` None makes a failed one, `macs` overrides the target's."""
    architecture = architecture or REFERENCES["conv_ms_xxs"].architecture
    target = cost(architecture)
    if macs is not None:
        target = target._replace(macs=macs, macs_with_norms=macs)
    proxy = scale(architecture, RULE, DATA)
    seconds = 2.0 + 1e-7 * cost(proxy).macs
    return Record(
        trial=trial,
        arch_id=architecture.arch_id,
        proxy_id=proxy.arch_id,
        reference=reference,
        encoding=None,
        architecture=architecture,
        target_cost=target,
        proxy_cost=cost(proxy),
        evaluator="proxy",
        fidelity=replace(FIDELITY, epochs=epochs, rung=rung),
        seed=seed,
        objectives={} if accuracy is None else {"accuracy": accuracy, "macs": target.macs},
        curve=() if accuracy is None else _curve(accuracy, epochs=epochs, seconds=seconds),
        seconds=seconds,
        started=3.0 * trial,
        state="failed" if accuracy is None else "complete",
        reason=reason or ("the loss is not finite after epoch 1" if accuracy is None else None),
        version="0.1.0",
        machine="Linux x86_64, 2 cores",
        finished_at="2026-01-02T03:04:05+00:00",
    )


def make_study(
    trials: int = 40, *, failed: int = 2, seed: int = 0, references: Sequence[str] = PAPER_MODELS
) -> tuple[Record, ...]:
    """A finished study: the paper's models first, then sampled trials, some of which failed."""
    rng = random.Random(seed)
    chosen: list[tuple[Architecture, str | None]] = [
        (REFERENCES[name].architecture, name) for name in references
    ]
    chosen += [(make_architecture(rng), None) for _ in range(trials)]
    lost = set(rng.sample(range(len(references), len(chosen)), failed))
    return tuple(
        make_record(
            number,
            None if number in lost else _accuracy(architecture, rng=rng),
            architecture=architecture,
            reference=reference,
        )
        for number, (architecture, reference) in enumerate(chosen)
    )


def with_cost(record: Record, **fields: int) -> Record:
    """The record with another target cost."""
    plain: Cost = record.target_cost._replace(**fields)
    return replace(record, target_cost=plain)


def _accuracy(architecture: Architecture, *, rng: random.Random) -> float:
    late = architecture.stages[-2].mixers
    hybrid = 0.006 * ("attention" in late and "conv" in late)
    return round(
        0.80 + 0.055 * math.log10(cost(architecture).macs / 1e9) + hybrid + rng.gauss(0, 0.006), 5
    )


def _curve(accuracy: float, *, epochs: int, seconds: float) -> tuple[Epoch, ...]:
    shares = [1 - 0.35 * math.exp(-1.1 * epoch) for epoch in range(epochs - 1)] + [1.0]
    return tuple(
        Epoch(
            train_loss=1.9 * (1 - 0.8 * accuracy * share),
            loss=2.0 * (1 - 0.8 * accuracy * share),
            accuracy=round(accuracy * share, 5),
            seconds=seconds / epochs,
        )
        for share in shares
    )
