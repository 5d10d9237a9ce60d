r"""Asks whether a protocol of three minutes a network ranks the paper's models on real images.

    spach-nas train ../fashion_mnist/networks/best.yaml --data fashion-mnist \
        --recipe ../fashion_mnist/recipe.yaml --set data.validation=0.3 --out teacher
    python protocols.py short [deep often] [--seeds 2]

Trains the nine published models as proxies on all of Fashion-MNIST, with a teacher, and says how
their accuracies rank them against those on ImageNet: Kendall's tau over all and within three bands
of MACs, beside what MACs and params say, with 95 % bootstrap intervals over the models. One row for
each training goes to `scores.csv`; one that is there already is not repeated. All three protocols
were written down before any of them was run:

short   The trainings of `../spach_bench`, which rank mixers no better than chance, with nothing but
        the teacher added, and two epochs in place of three to pay for it. It says more of an image
        than its label, so that less is left to chance.
deep    All blocks of the models in place of 0.6 of them, for half of the steps: at 0.6, the layout
        of a hybrid is rounded, and its late blocks of attention are the first to go.
often   A quarter of the images, eight times, moved and mirrored. In two epochs it counts how fast a
        network learns; ImageNet's accuracies are those of networks that have seen images 300 times.

The teacher is `best` because it holds all three mixers: one of convolution alone could teach what
convolution finds easy.
"""

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path

from spach_nas.config.search_yaml import SearchConfig, parse_config
from spach_nas.data import data_shape, load_train_and_validation
from spach_nas.evaluators.proxy import ProxyEvaluator
from spach_nas.export.named_networks import load_teacher
from spach_nas.machine import describe_machine
from spach_nas.replay.rediscovery_verdict import paper_agreements
from spach_nas.space.references import REFERENCES, reference_target
from spach_nas.study.requests import make_request

HERE = Path(__file__).parent
TABLE = HERE / "scores.csv"
COLUMNS = ("protocol", "seed", "model", "accuracy", "loss", "cpu_seconds", "machine")
MODELS = tuple(name for name, one in REFERENCES.items() if one.top1)
PROXY = {"image_size": 32, "patch_size": 2, "width_scale": 0.125}
TEACHER = {"network": str(HERE / "teacher" / "bundle"), "temperature": 2.0, "share": 0.5}
TRAINING = {"batch_size": 64, "optimizer": "muon", "learning_rate": 5e-3, "teacher": TEACHER}
MOVED = {"crop_padding": 2, "flip": True}
PROTOCOLS: Mapping[str, Mapping[str, object]] = {
    "short": {"proxy": PROXY | {"depth_scale": 0.6}, "training": TRAINING | {"epochs": 2}},
    "deep": {"proxy": PROXY, "training": TRAINING | {"epochs": 1}},
    "often": {
        "proxy": PROXY | {"depth_scale": 0.6},
        "training": TRAINING | {"epochs": 8, "data_share": 0.25, "augmentation": MOVED},
    },
}


def main() -> None:
    """Train what is asked for and not in the table yet, then say how it ranks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("protocols", nargs="+", choices=PROTOCOLS)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    print("| protocol | seeds | figure | tau with ImageNet | within bands of MACs |")
    print("|---|---|---|---|---|")
    for name in given.protocols:
        for seed in range(given.seeds):
            train_models(name, seed=seed)
        config = search_of(name, seed=0)
        own = [row for row in rows() if row["protocol"] == name]
        scores = {
            model: [float(row["accuracy"]) for row in own if row["model"] == model]
            for model in MODELS
        }
        for one in paper_agreements(scores, config.space.shape):
            seeds = len({row["seed"] for row in own})
            print(f"| {name} | {seeds} | {one.name} | {one.tau} | {one.within} |")


def search_of(name: str, *, seed: int) -> SearchConfig:
    """The search that would train its candidates by this protocol."""
    protocol = dict(PROTOCOLS[name])
    training = dict(protocol["training"]) | {"seed": seed}  # type: ignore[call-overload]
    plain = {
        "study": f"real_images_{name}",
        "space": "spach_bench",
        "data": {"name": "fashion-mnist", "validation": 0.3},
        **protocol,
        "training": training,
        "search": {"trials": 1},
    }
    config = parse_config(plain, where=name, folder=HERE)
    return config.for_data(data_shape(config.data))


def train_models(name: str, *, seed: int) -> None:
    """Train the models that the table lacks."""
    known = {(row["protocol"], row["seed"], row["model"]) for row in rows()}
    lacking = [model for model in MODELS if (name, str(seed), model) not in known]
    if not lacking:
        return
    config = search_of(name, seed=seed)
    shape, settings = data_shape(config.data), config.training
    splits = load_train_and_validation(config.data, image_size=config.image_size)
    assert settings.teacher is not None
    teacher = load_teacher(settings.teacher, data=shape, key="teacher")
    evaluator = ProxyEvaluator(settings=settings, teacher=teacher)
    for number, model in enumerate(lacking):
        target = reference_target(model, config.space.shape)
        request = make_request(config, target, trial=number, rung=0, data=shape)
        found = evaluator(request, splits)
        assert found.state == "complete", found.reason
        spent = sum(epoch.cpu_seconds or epoch.seconds for epoch in found.curve)
        write(
            {
                "protocol": name,
                "seed": seed,
                "model": model,
                "accuracy": f"{found.scores['accuracy']:.4f}",
                "loss": f"{found.scores['loss']:.4f}",
                "cpu_seconds": f"{spent:.1f}",
                "machine": describe_machine(),
            }
        )


def rows() -> list[dict[str, str]]:
    """What is in the table."""
    if not TABLE.is_file():
        return []
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(row: Mapping[str, object]) -> None:
    """Add a row to the table."""
    new = not TABLE.is_file()
    with TABLE.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
