"""Trains the exact front of the table once more and scores it on the test split.

    python front.py

Writes `front.csv`, the cheapest first: `table` is the mean accuracy over the seeds of the table,
by which an architecture is on the front; `validation`, `test` and `test_loss` are of a new training
with the table's first seed. The test split chose nothing, and was met here alone.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from spach_nas.config.evaluation import EvaluationRequest
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.search_yaml import load_config
from spach_nas.data import load_test, load_train_and_validation
from spach_nas.evaluators import ProxyEvaluator
from spach_nas.export import load_weights
from spach_nas.networks import build
from spach_nas.replay import Entry, read_benchmark
from spach_nas.space.scaling import DataShape, scale
from spach_nas.training import choose_runtime, move, network_weights, score_images, threads

HERE = Path(__file__).parent


def main() -> None:
    """Write and print all rows."""
    front = sorted(read_benchmark([HERE]).front, key=lambda entry: entry.target_cost.macs)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        rows = pd.DataFrame(pool.map(row, front))
    rows.to_csv(HERE / "front.csv", index=False, float_format="%.6g", lineterminator="\n")
    print(rows.to_string(index=False))


def row(entry: Entry) -> dict[str, object]:
    """One member of the front, trained again."""
    target = entry.architecture
    return {
        "arch_id": target.arch_id,
        "reference": entry.reference or "",
        "layout": str(target),
        "stem": target.stem,
        "width": target.stages[0].width,
        "target_macs": entry.target_cost.macs,
        "target_params": entry.target_cost.params,
        "seeds": len(entry.curves),
        "table": entry.value(OBJECTIVES["accuracy"]),
        **train_again(entry),
    }


def train_again(entry: Entry) -> dict[str, float]:
    """Accuracy on the validation part, accuracy and loss on the test split."""
    config = load_config(HERE / "search.yaml")
    side = config.fidelity.image_size
    data = load_train_and_validation(config.data, image_size=side)
    proxy = scale(entry.architecture, config.proxy, DataShape(in_channels=1, num_classes=10))
    evaluation = ProxyEvaluator(settings=config.training)(
        EvaluationRequest(
            trial=0,
            architecture=entry.architecture,
            proxy=proxy,
            fidelity=config.fidelity,
            seed=min(entry.curves),
        ),
        data,
    )
    assert evaluation.weights is not None, evaluation.reason
    network = build(proxy)
    load_weights(network, network_weights(evaluation.weights), where=entry.architecture.arch_id)
    runtime = choose_runtime(device=config.training.device, precision=config.training.precision)
    with threads(1):
        test = score_images(
            move(network, runtime),
            load_test(config.data, image_size=side),
            normalisation=data.normalisation,
            runtime=runtime,
        )
    return {
        "validation": evaluation.scores["accuracy"],
        "test": test["accuracy"],
        "test_loss": test["loss"],
    }


if __name__ == "__main__":
    main()
