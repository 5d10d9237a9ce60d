"""Candidates that begin with the weights of a trained network."""

from dataclasses import replace
from pathlib import Path

import pytest

from network_tools import randomised
from search_tools import DATA as SHAPE
from search_tools import evaluate, make_study
from spach_nas.config.evaluation import EvaluationRequest, Fidelity, Relative
from spach_nas.evaluators import ProxyEvaluator
from spach_nas.networks import changes
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import scale
from spach_nas.training import Origin, TrainingState, pack, score_images
from spach_nas.training.sealed_networks import open_network, seal_network
from training_tools import CPU, DATA, SETTINGS, architecture

CONV = architecture("conv", "conv")
HYBRID = architecture("conv", "attention")
# Steps so short that the function stays what it was.
STILL = replace(SETTINGS, learning_rate=1e-12)


def request(
    proxy: Architecture, *, epochs: int = 1, relative: Relative | None = None
) -> EvaluationRequest:
    return EvaluationRequest(
        trial=7,
        architecture=proxy,
        proxy=proxy,
        fidelity=Fidelity(epochs=epochs, image_size=(12, 12), data_share=1.0),
        seed=4,
        parent=None if relative is None else Path("somewhere"),
        relative=relative,
    )


def checkpoint(proxy: Architecture) -> bytes:
    fidelity = Fidelity(epochs=1, image_size=(12, 12), data_share=1.0)
    origin = Origin(
        architecture=proxy.arch_id, seed=0, course=(fidelity,), settings=STILL, images=96
    )
    return pack(randomised(proxy), state=TrainingState(epochs=1), origin=origin)


def test_a_sealed_network_is_the_same_when_it_is_opened() -> None:
    network = randomised(HYBRID)
    opened = open_network(seal_network(network))
    assert opened.architecture == HYBRID
    for name, value in network.state_dict().items():
        assert value.equal(opened.state_dict()[name]), name


def test_a_candidate_begins_with_the_function_of_the_initial_network() -> None:
    network = randomised(CONV)
    expected = score_images(network, DATA.validation, normalisation=DATA.normalisation, runtime=CPU)
    begin = ProxyEvaluator(settings=STILL, initial=seal_network(network))
    evaluation = begin(request(HYBRID), DATA)
    assert evaluation.scores == pytest.approx(expected, rel=1e-4)
    assert evaluation.remark == (
        "begins with the weights of the initial network, 0 of 1 changes approximate"
    )
    new = ProxyEvaluator(settings=STILL)(request(HYBRID), DATA)
    assert new.scores["loss"] != pytest.approx(expected["loss"], rel=1e-2)


def test_a_candidate_begins_with_the_function_of_its_relative() -> None:
    expected = score_images(
        randomised(CONV), DATA.validation, normalisation=DATA.normalisation, runtime=CPU
    )
    begin = ProxyEvaluator(settings=STILL)
    asked = request(HYBRID, relative=Relative(trial=3, proxy=CONV))
    evaluation = begin(asked, DATA, checkpoint=checkpoint(CONV))
    assert evaluation.scores == pytest.approx(expected, rel=1e-4)
    assert evaluation.remark is not None and "the weights of trial 3, 0 of 1" in evaluation.remark


def test_a_damaged_relative_is_told_and_left() -> None:
    asked = request(HYBRID, relative=Relative(trial=3, proxy=CONV))
    evaluation = ProxyEvaluator(settings=STILL)(asked, DATA, checkpoint=checkpoint(CONV)[:-30])
    assert evaluation.state == "complete"
    assert evaluation.remark == "trained from the start: its checkpoint is damaged"


SPACE = {
    "image_size": 32,
    "in_channels": 1,
    "num_classes": 10,
    "patch_size": 4,
    "expansion_ratio": 2,
    "heads": 2,
    "stages": [
        {"depth": 1, "width": [8, 16], "mixers": "conv"},
        {
            "depth": [1, 2, 3],
            "width": 16,
            "mixers": {"leading": "conv", "trailing": ["conv", "attention", "mlp"]},
        },
    ],
}


def test_the_nearest_trained_proxy_lends_its_weights(tmp_path: Path) -> None:
    study = make_study(
        tmp_path, space=SPACE, evaluator="inherit", limits={}, search__sampler="random"
    )
    trained: dict[int, Architecture] = {}
    while isinstance(asked := study.next(), EvaluationRequest):
        if not trained:
            assert asked.relative is None and asked.parent is None
        else:
            assert asked.relative is not None and asked.parent is not None
            lender = trained[asked.relative.trial]
            assert scale(lender, study.config.proxy, SHAPE) == asked.relative.proxy
            assert asked.parent.is_file()

            def rough(other: Architecture, to: Architecture = asked.proxy) -> int:
                steps = changes(scale(other, study.config.proxy, SHAPE), to)
                return sum(not step.exact for step in steps)

            assert rough(lender) == min(map(rough, trained.values()))
        trained[asked.trial] = asked.architecture
        study.tell(asked, evaluate(replace(asked, parent=None)))
        kept = {path.stem.split("-")[0] for path in (study.folder / "checkpoints").iterdir()}
        trained = {
            trial: item
            for trial, item in trained.items()
            if scale(item, study.config.proxy, SHAPE).arch_id in kept
        }
    assert len(study.records) == 12
    assert all(record.evaluator == "inherit" for record in study.records)
