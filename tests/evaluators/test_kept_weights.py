"""Which weights a study keeps: those that something needs, no more and no fewer, at any moment."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from effort import with_slow
from search_tools import evaluate, make_study
from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.study.folder import kept_checkpoints
from spach_nas.study.records import Record
from spach_nas.study.study import Signal, Study

CHANGES = {
    "one course": {"rungs": {"levels": [{"epochs": 1}, {"epochs": 2}], "reduction": 2}},
    "two courses": {
        "rungs": {"levels": [{"epochs": 1, "image_size": 16}, {"epochs": 2}], "reduction": 2}
    },
    "by accuracy": {
        "rungs": {"levels": [{"epochs": 1}], "reduction": 5, "rank": "accuracy"},
    },
    "no rungs": {},
}


def needed(study: Study, kept: set[tuple[str, int]]) -> set[tuple[str, int]]:
    """Naively: asked again of all that is kept."""
    parents = {
        (pending.proxy.arch_id, pending.fidelity.rung - 1)
        for pending in (*study.running, *(item.request for item in study._lost))
    }
    return {key for key in kept if key in parents or study._knowledge.needs(key)}


def scored(request: EvaluationRequest, score: float) -> Evaluation:
    """Any score: late ones overtake early ones, in all objectives."""
    found = evaluate(request)
    curve = tuple(replace(epoch, accuracy=score) for epoch in found.curve)
    return replace(found, curve=curve, scores={**found.scores, "accuracy": score}, seconds=1.0)


@pytest.mark.parametrize("name", with_slow(CHANGES, "two courses"))
def test_weights_are_kept_while_something_needs_them(tmp_path: Path, name: str) -> None:
    # Half as deep, so that several targets share a proxy.
    study = make_study(
        tmp_path,
        **CHANGES[name],
        training__epochs=4,
        proxy={"patch_size": 4, "depth_scale": 0.5},
        search__trials=80,
        search__startup_trials=10,
    )
    source, running, saved = random.Random(name), list[EvaluationRequest](), list[Record]()
    kept: set[tuple[str, int]] = set()
    compared = 0
    while True:
        asks = len(running) < 5 and (not running or source.random() < 0.7)
        request = study.next() if asks else Signal.WAIT
        if isinstance(request, EvaluationRequest):
            running.append(request)
            continue
        if not running:
            break
        # Those on higher rungs take long: meanwhile others overtake them.
        waits = [20.0**-item.fidelity.rung for item in running]
        request = running.pop(source.choices(range(len(running)), waits)[0])
        if source.random() < (0.5 if request.fidelity.rung else 0.1):
            study.lose(request, "the worker was lost")
            continue
        failed = source.random() < 0.1 and saved
        evaluation = scored(request, (source.random() + compared / 20) / 10)
        if failed:
            evaluation = Evaluation(state="failed", reason="not finite")
        record = study.tell(request, evaluation)
        if record.state == "complete":
            saved.append(record)
            kept.add((record.proxy_id, record.fidelity.rung))
        kept = needed(study, kept)
        assert kept_checkpoints(study.folder) == kept
        compared += 1
    assert compared > 50 or name == "no rungs"
    assert 0 < len(kept_checkpoints(study.folder)) < len(saved)
    study.close()
