"""Times the paper's models and models of timm in turns, on one thread: `times.csv`.

    python measure.py eager 3

Every line is one measurement: the median of at least half a second of passes of batch size 1 at
224 px, in processor time. Lines that are there are not measured again.
"""

import csv
import sys
from pathlib import Path

from spach_nas.cost.closed_form import cost
from spach_nas.latency.timing import conditions, time_network
from spach_nas.networks.timm_networks import named_timm, timm_cost
from spach_nas.space.references import REFERENCES
from spach_nas.space.timm_reference import published

FILE = Path(__file__).with_name("times.csv")
COLUMNS = ("name", "runtime", "round", "latency_ms", "low_ms", "high_ms")
FACTS = Path(__file__).with_name("models.csv")
TIMM = (
    *("caformer_s18", "caformer_s36", "convformer_s18", "convnext_nano", "convnext_tiny"),
    *("convnext_small", "deit_small_patch16_224", "inception_next_tiny", "poolformer_s24"),
    *("regnety_032", "resmlp_24_224", "resnet50", "swin_tiny_patch4_window7_224"),
    *("efficientvit_b2", "efficientnet_b0", "regnety_016"),
)


def main(runtime: str, rounds: int) -> None:
    """Measure what is missing."""
    models = {name: one.architecture for name, one in REFERENCES.items() if one.top1}
    models |= {f"timm/{name}": named_timm(f"timm/{name}", image_size=(224, 224)) for name in TIMM}
    if not FACTS.exists():
        with FACTS.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("name", "params", "macs", "top1"))
            for name, model in models.items():
                paper = name in REFERENCES
                figures = cost(model) if paper else timm_cost(model)
                found = REFERENCES[name].top1 if paper else published(model.name).top1
                writer.writerow((name, figures.params, figures.macs, found))
    where = conditions(runtime=runtime, device="cpu")
    print(where, flush=True)
    known = set()
    if FILE.exists():
        with FILE.open(newline="", encoding="utf-8") as file:
            known = {(row["name"], row["runtime"], row["round"]) for row in csv.DictReader(file)}
    for number in range(rounds):
        for name, model in models.items():
            if (name, runtime, str(number)) in known:
                continue
            found = time_network(model, where, seconds=0.5)
            times = (f"{each / 1e6:.3f}" for each in (found.median, found.low, found.high))
            new = not FILE.exists()
            with FILE.open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                if new:
                    writer.writerow(COLUMNS)
                writer.writerow((name, runtime, number, *times))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
