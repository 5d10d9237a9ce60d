"""Which weights a study keeps: those that something needs, no more and no fewer, at any moment."""

import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from effort import with_slow
from search_tools import evaluate, make_study
from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.study.driver import Signal, StudyDriver
from spach_nas.study.folder import kept_checkpoints
from spach_nas.study.records import Record

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


def needed(
    study: StudyDriver, kept: set[tuple[str, int]], *, asked: Iterable[EvaluationRequest]
) -> set[tuple[str, int]]:
    """Naively: asked again of all that is kept."""
    parents = {(request.proxy.arch_id, request.fidelity.rung - 1) for request in asked}
    return {key for key in kept if key in parents or study.needs(key)}


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
    # Without a record yet; those that were lost are asked again.
    asked: dict[tuple[int, int], EvaluationRequest] = {}
    compared = 0
    while True:
        asks = len(running) < 5 and (not running or source.random() < 0.7)
        request = study.next() if asks else Signal.WAIT
        if isinstance(request, EvaluationRequest):
            running.append(request)
            asked[request.trial, request.fidelity.rung] = request
            continue
        if not running:
            break
        # Those on higher rungs take long: meanwhile others overtake them.
        waits = [20.0**-item.fidelity.rung for item in running]
        request = running.pop(source.choices(range(len(running)), waits)[0])
        if source.random() < (0.5 if request.fidelity.rung else 0.1):
            count = len(study.records)
            study.lose(request, "the worker was lost")
            if len(study.records) > count:  # it has failed
                del asked[request.trial, request.fidelity.rung]
            continue
        failed = source.random() < 0.1 and saved
        evaluation = scored(request, (source.random() + compared / 20) / 10)
        if failed:
            evaluation = Evaluation(state="failed", reason="not finite")
        record = study.tell(request, evaluation)
        del asked[request.trial, request.fidelity.rung]
        if record.state == "complete":
            saved.append(record)
            kept.add((record.proxy_id, record.fidelity.rung))
        kept = needed(study, kept, asked=asked.values())
        assert kept_checkpoints(study.folder) == kept
        compared += 1
    assert compared > 50 or name == "no rungs"
    assert 0 < len(kept_checkpoints(study.folder)) < len(saved)
    study.close()
