"""A search on a cluster of two machines, one of which is lost on the way."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster

import search_tools
from search_tools import evaluate, make_study
from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.data import DataSplits
from spach_nas.search.ray.runner import ray_session, run_study
from spach_nas.study.records import Record, read_records

TRIALS = 8


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Two nodes of one core on this machine; the second may be removed."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Workers do not see this folder, as on another machine.
    cloudpickle.register_pickle_by_value(search_tools)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    found.add_node(num_cpus=1)
    yield found
    found.shutdown()
    for module in (search_tools, sys.modules[__name__]):
        cloudpickle.unregister_pickle_by_value(module)


class Doomed:
    """Scores in closed form on the head; on any other node it never comes to an end."""

    def __init__(self, head: str, folder: Path) -> None:
        self.head = head
        self.folder = folder

    def __call__(
        self, request: EvaluationRequest, data: DataSplits, *, checkpoint: bytes | None
    ) -> Evaluation:
        assert int(np.sum(data)) == 28 * 28 and checkpoint is None  # type: ignore[call-overload]
        if ray.get_runtime_context().get_node_id() != self.head:
            (self.folder / str(request.trial)).touch()
            time.sleep(100)
        while not any(self.folder.iterdir()):
            time.sleep(0.05)
        return evaluate(request)


def remove_when_busy(cluster: Cluster, started: Path) -> None:
    """Pull the plug of the second node while it trains."""
    (node,) = cluster.worker_nodes
    while not any(started.iterdir()):
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)


def test_a_search_outlives_the_loss_of_a_node(cluster: Cluster, tmp_path: Path) -> None:
    started = tmp_path / "started"
    started.mkdir()
    study = make_study(
        tmp_path, search__trials=TRIALS, resources={"address": cluster.address, "cpus_per_trial": 1}
    )
    seen: list[Record] = []
    lost: list[str] = []
    lose = study.lose

    def note(request: EvaluationRequest, reason: str) -> None:
        lost.append(reason)
        lose(request, reason)

    study.lose = note  # type: ignore[method-assign]
    plug = threading.Thread(target=remove_when_busy, args=(cluster, started), daemon=True)
    with ray_session(study.config.resources):
        plug.start()
        images = np.ones((28, 28), dtype=np.uint8)
        run_study(
            study,
            Doomed(cluster.head_node.node_id, started),
            data={study.config.fidelity.image_size: images},  # type: ignore[dict-item]
            on_record=seen.append,
        )
        plug.join(timeout=10)
    assert len(lost) == len(list(started.iterdir())) == 1
    assert sorted(record.trial for record in seen) == list(range(TRIALS))
    assert {record.state for record in seen} == {"complete"}
    assert read_records(tmp_path / "study") == tuple(seen)
    assert cluster.head_node.any_processes_alive(), "a cluster that was joined is left as it was"
