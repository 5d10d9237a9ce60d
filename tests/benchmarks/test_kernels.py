"""How far the same training differs by the kernels of the processor.

Off by default; `pytest -m benchmark tests/benchmarks/test_kernels.py` takes some three minutes and
writes `results/benchmarks/kernels.csv`. torch and oneDNN can be told to use the kernels of older
processors, which stand here for other machines.
"""

import json
import os
import subprocess
import sys

import pytest
from result_tables import write_table

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]
KERNELS = {
    "this processor's": {},
    "the same once more": {},
    "without vectors": {"ATEN_CPU_CAPABILITY": "default"},
    "SSE4.1 in oneDNN": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
}
TRAINING = """
import json
from spach_nas.config.evaluation import EvaluationRequest
from spach_nas.evaluators import ProxyEvaluator
from spach_nas.search.plan import plan_search
from spach_nas.space.references import get_reference
from spach_nas.space.scaling import scale

plan = plan_search("quickstart", begins=False)
evaluate = ProxyEvaluator(settings=plan.config.training, threads=1)
for name in plan.config.references:
    target = get_reference(name).architecture
    proxy = scale(target, plan.config.proxy, plan.preprocessing.data_shape)
    request = EvaluationRequest(
        trial=0, architecture=target, proxy=proxy, fidelity=plan.config.fidelity, seed=0
    )
    found = evaluate(request, plan.images)
    losses = [epoch.train_loss for epoch in found.curve]
    print(json.dumps([name, found.scores["accuracy"], found.scores["loss"], losses[-1]]))
"""


def trained(variables: dict[str, str]) -> dict[str, list[float]]:
    """Accuracy, loss and last training loss of each paper model of the quickstart."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINING],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: figures for name, *figures in rows}


def test_trainings_by_other_kernels_differ_in_their_last_digits() -> None:
    found = {name: trained(variables) for name, variables in KERNELS.items()}
    own, *_ = found.values()
    rows = [
        {"kernels": kernels, "network": name, "accuracy": accuracy}
        | {"loss": loss, "train_loss": train_loss}
        | {"loss_difference": abs(loss - own[name][1])}
        for kernels, networks in found.items()
        for name, (accuracy, loss, train_loss) in networks.items()
    ]
    write_table("kernels.csv", rows, test=__file__)
    assert found["the same once more"] == own
