"""Trains a convolution network, places mixers in it, and compares what comes of it.

    python compare.py

The trainings are those of `spach-nas search conv.yaml` and `spach-nas search hybrids.yaml`, one
after the other in this process, so that their processor time is known. Rows of placement.csv that
exist are not made again; networks and scores of the changes are kept in `work/`.
"""

import csv
import itertools
import time
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load

from spach_nas.config.evaluation import EvaluationRequest
from spach_nas.config.search_yaml import load_config
from spach_nas.config.study_files import INITIAL
from spach_nas.config.training_settings import TeacherSettings
from spach_nas.cost import cost
from spach_nas.data import data_shape, load_train_and_validation
from spach_nas.evaluators.proxy import ProxyEvaluator
from spach_nas.feasible import FeasibleSet
from spach_nas.networks import build, morph
from spach_nas.search.kept_networks import keep_networks
from spach_nas.search.placement import placed
from spach_nas.space.scaling import scale
from spach_nas.study.intervals import wilson
from spach_nas.training import choose_runtime, network_weights, score_images, threads
from spach_nas.training.sealed_networks import open_network, seal_network

HERE = Path(__file__).parent
TABLE, WORK = HERE / "placement.csv", HERE / "work"
COLUMNS = (
    *("network", "mixers", "target_macs", "proxy_macs", "weights"),
    *("accuracy", "low", "high", "loss", "processor_seconds"),
)
CONV, CONFIG = load_config(HERE / "conv.yaml"), load_config(HERE / "hybrids.yaml")
SHAPE = data_shape(CONFIG.data)
SPLITS = load_train_and_validation(CONFIG.data, image_size=CONFIG.image_size)
RUNTIME = choose_runtime(device="cpu")
PLACED, RANDOM = 2, 2


def main() -> None:
    """All rows."""
    conv = FeasibleSet(CONV.space, CONV.limits).sample(0)
    kept = WORK / "prepared" / INITIAL
    if not kept.is_file():
        found = train("conv", conv, "trained", ProxyEvaluator(settings=CONV.training))
        network = build(scale(conv, CONV.proxy, SHAPE))
        network.load_state_dict(load(network_weights(found.weights)))
        WORK.mkdir(exist_ok=True)
        sealed = seal_network(network, normalisation=SPLITS.normalisation)
        keep_networks(WORK, {INITIAL: sealed})
    initial = kept.read_bytes()
    feasible = FeasibleSet(CONFIG.space, CONFIG.limits)
    started = time.process_time()
    encodings, _ = placed(
        CONFIG,
        folder=WORK,
        feasible=feasible,
        data=SHAPE,
        splits=SPLITS,
        tell=lambda text: print(text, flush=True),
        stopped=lambda: False,
    )
    if not exists("conv", "placement search"):
        seconds = time.process_time() - started
        add("conv", conv, "placement search", {}, seconds)
    # The search may propose the network as it is, which is no hybrid.
    found = [target for target in map(CONFIG.space.decode, encodings) if not only_conv(target)]
    targets = {f"placed {number + 1}": target for number, target in enumerate(found[:PLACED])}
    short = replace(CONFIG.training, epochs=1)
    taught = replace(short, teacher=TeacherSettings(network="conv", share=1))
    distilled = ProxyEvaluator(settings=taught, initial=initial, teacher=initial)
    for name, target in targets.items():
        if not exists(name, "at once"):
            network = morph(open_network(initial), scale(target, CONFIG.proxy, SHAPE))
            with threads(1):
                scores = score_images(
                    network, SPLITS.validation, normalisation=SPLITS.normalisation, runtime=RUNTIME
                )
            add(name, target, "at once", scores, 0)
        train(name, target, "distilled for an epoch", distilled)
    cold = ProxyEvaluator(settings=CONFIG.training)
    for name, target in targets.items():
        train(name, target, "cold", cold)
    drawn = (target for target in feasible.samples(20, 0) if target not in targets.values())
    for number, target in enumerate(itertools.islice(drawn, RANDOM)):
        train(f"random {number + 1}", target, "cold", cold)


def only_conv(target) -> bool:
    """Whether all blocks are convolution."""
    return all(set(stage.mixers) == {"conv"} for stage in target.stages)


def train(name, target, way, evaluator):
    """Train a network and write its row, unless it is there."""
    if exists(name, way):
        return None
    fidelity = replace(CONFIG.fidelity, epochs=evaluator.settings.epochs)
    proxy = scale(target, CONFIG.proxy, SHAPE)
    request = EvaluationRequest(
        trial=0, architecture=target, proxy=proxy, fidelity=fidelity, seed=0
    )
    started = time.process_time()
    found = evaluator(request, SPLITS)
    assert found.state == "complete", found.reason
    add(name, target, way, found.scores, time.process_time() - started)
    return found


def exists(name: str, way: str) -> bool:
    """Whether the table holds a row."""
    if not TABLE.is_file():
        return False
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return any(row["network"] == name and row["weights"] == way for row in rows)


def add(name, target, way, scores, seconds) -> None:
    """Write a row."""
    mixers = " | ".join(" ".join(stage.mixers) for stage in target.stages)
    row = [name, mixers, cost(target).macs, cost(scale(target, CONFIG.proxy, SHAPE)).macs, way]
    if scores:
        interval = wilson(scores["accuracy"], images=len(SPLITS.validation))
        row += [f"{value:.4f}" for value in (scores["accuracy"], *interval, scores["loss"])]
    else:
        row += [""] * 4
    fresh = not TABLE.is_file()
    with TABLE.open("a", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([COLUMNS] * fresh + [[*row, f"{seconds:.1f}"]])
    print(*row, f"{seconds:.1f}", flush=True)


if __name__ == "__main__":
    main()
