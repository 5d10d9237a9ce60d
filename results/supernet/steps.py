"""A single-path step of the supernet of spach_bench beside a step of the same networks alone.

    python steps.py

Prints the mean processor time of each part over the same 40 architectures, on one thread.
"""

import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from compare import BENCH

from spach_nas.config.search_yaml import load_config
from spach_nas.data import data_shape
from spach_nas.feasible import FeasibleSet
from spach_nas.networks import build
from spach_nas.networks.supernet import Supernet
from spach_nas.space.scaling import scale
from spach_nas.training import choose_runtime, move
from spach_nas.training.optimizer import make_optimizer

STEPS = 40


def main() -> None:
    """Time and print."""
    torch.set_num_threads(1)
    config = load_config(BENCH / "search.yaml")
    data, runtime = data_shape(config.data), choose_runtime(device="cpu")
    feasible = FeasibleSet(config.space, config.limits)
    supernet = move(Supernet(config.space, config.proxy, data), runtime)
    optimizer = _optimizer(supernet)
    times: dict[str, list[float]] = defaultdict(list)
    images = torch.randn(config.training.batch_size, data.in_channels, *config.image_size)
    labels = torch.randint(0, data.num_classes, (len(images),))
    for number in range(-3, STEPS):

        def timed(name: str, part: Callable[[], object], number: int = number) -> object:
            started = time.process_time()
            result = part()
            if number >= 0:
                times[name].append(time.process_time() - started)
            return result

        def step(prefix: str, network, own, parameters, timed=timed) -> None:
            own.zero_grad(set_to_none=True)
            loss = timed(f"{prefix} forward", lambda: F.cross_entropy(network(images), labels))
            timed(f"{prefix} backward", loss.backward)
            if prefix == "supernet":
                timed(f"{prefix} clipping", lambda: torch.nn.utils.clip_grad_norm_(parameters, 1.0))
            timed(f"{prefix} optimizer", own.step)

        proxy = timed(
            "supernet draw",
            lambda number=number: scale(feasible.sample(number + 3), config.proxy, data),
        )
        subnet = timed("supernet subnet", lambda proxy=proxy: supernet.subnet(proxy).train())
        step("supernet", subnet, optimizer, list(supernet.parameters()))
        alone = move(build(proxy), runtime).train()
        own = _optimizer(alone)
        warm = torch.nn.functional.cross_entropy(alone(images), labels)
        warm.backward()
        own.step()
        step("alone", alone, own, list(alone.parameters()))
    means = {name: 1000 * float(np.mean(values)) for name, values in times.items()}
    for name, value in means.items():
        print(f"{name}: {value:.1f} ms")
    whole, single = (
        sum(value for name, value in means.items() if name.startswith(prefix))
        for prefix in ("supernet", "alone")
    )
    print(f"{whole:.0f} ms and {single:.0f} ms: {whole / single:.2f} times")


def _optimizer(network: torch.nn.Module) -> torch.optim.Optimizer:
    return make_optimizer(network, name="muon", learning_rate=5e-3, weight_decay=0.05)


if __name__ == "__main__":
    main()
