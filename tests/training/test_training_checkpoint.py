"""A checkpoint: what is in it, and that a wrong one is refused before it does harm."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from test_training_course import COURSE, fresh, origin, with_batch_norm
from torch import nn

from spach_nas.config.training_settings import Augmentation, TeacherSettings
from spach_nas.training import (
    CheckpointError,
    Origin,
    TrainingState,
    network_weights,
    pack,
    train,
    unpack,
)
from training_tools import CPU, DATA, SETTINGS, architecture, state

OF = architecture("conv")
ORIGIN = origin(OF)


def trained(net: nn.Module, *, rung: int) -> TrainingState:
    return train(
        net,
        DATA,
        settings=SETTINGS,
        fidelity=COURSE[rung],
        seed=5,
        runtime=CPU,
        course=COURSE,
    ).state


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    net = fresh(OF)
    return pack(net, state=trained(net, rung=1), origin=ORIGIN)


def test_the_optimizer_is_in_it_by_the_names_of_the_parameters() -> None:
    net = fresh(with_batch_norm())
    parameters = dict(net.named_parameters())
    reached = trained(net, rung=1)
    held = load(pack(net, state=reached, origin=origin(with_batch_norm())))
    weights = {name: value for name, value in held.items() if not name.startswith("optimizer.")}
    assert set(weights) == set(net.state_dict())
    assert set(held) - set(weights) == {
        f"optimizer.{key}.{name}"
        for key in ("exp_avg", "exp_avg_sq", "step")
        for name in parameters
    }
    for name, parameter in parameters.items():
        assert held[f"optimizer.step.{name}"] == 1 + 3
        assert held[f"optimizer.exp_avg.{name}"].shape == parameter.shape
        assert (held[f"optimizer.exp_avg_sq.{name}"] >= 0).all()


def test_the_last_rung_of_a_course_has_no_optimizer() -> None:
    net = fresh(OF)
    assert set(load(pack(net, state=trained(net, rung=2), origin=ORIGIN))) == set(net.state_dict())


def test_the_weights_alone_are_a_plain_file(checkpoint: bytes) -> None:
    net = fresh(OF)
    unpack(checkpoint, network=net, origin=ORIGIN, epochs=4)
    plain = save(net.state_dict())
    assert network_weights(checkpoint) == network_weights(plain) == plain
    with pytest.raises(CheckpointError, match="is damaged"):
        network_weights(checkpoint[:-1])


def test_the_same_training_gives_the_same_bytes(checkpoint: bytes) -> None:
    net = fresh(OF)
    assert pack(net, state=trained(net, rung=1), origin=ORIGIN) == checkpoint


def refusal(
    data: bytes, *, of: Origin = ORIGIN, epochs: int = 4, net: nn.Module | None = None
) -> str:
    """The message of the refusal; the network has to stay as it was."""
    net = net or fresh(OF)
    before = state(net)
    with pytest.raises(CheckpointError) as caught:
        unpack(data, network=net, origin=of, epochs=epochs)
    assert state(net) == before
    return str(caught.value)


def test_what_was_cut_off_or_never_a_checkpoint_is_refused(checkpoint: bytes) -> None:
    header = 8 + int.from_bytes(checkpoint[:8], "little")
    for length in (0, 1, 7, 8, 9, header // 2, header, header + 1, len(checkpoint) - 1):
        assert refusal(checkpoint[:length]) == "is damaged"
    assert refusal(checkpoint + b"\0") == "is damaged"
    assert refusal(b"no such thing" * 100) == "is damaged"


def test_every_bit_counts(checkpoint: bytes) -> None:
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(checkpoint[:8], "little")
    places = [*rng.integers(0, header, 100), *rng.integers(header, len(checkpoint), 50)]
    for place in map(int, places):
        flipped = bytearray(checkpoint)
        flipped[place] ^= 1 << int(rng.integers(8))
        assert refusal(bytes(flipped)) in ("is damaged", "was not written by spach-nas")


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"spach_nas": "[1]"}, {"spach_nas": "{"}]
)
def test_the_file_of_another_program_is_refused(metadata: dict[str, str] | None) -> None:
    # It fits, so that nothing else would keep it from going on wrongly.
    message = refusal(save(fresh(OF).state_dict(), metadata=metadata))
    assert message in ("was not written by spach-nas", "is damaged")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"architecture": "0123456789ab"}, "architecture"),
        ({"seed": 6}, "seed"),
        ({"course": (*COURSE[:2], replace(COURSE[2], epochs=5))}, "course"),
        ({"course": (replace(COURSE[0], data_share=0.26), *COURSE[1:])}, "course"),
        ({"settings": replace(SETTINGS, learning_rate=1.1e-2)}, "protocol"),
        ({"settings": replace(SETTINGS, augmentation=Augmentation(flip=True))}, "protocol"),
        ({"images": 97}, "number of images"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(
    checkpoint: bytes, changes: dict[str, Any], key: str
) -> None:
    assert refusal(checkpoint, of=replace(ORIGIN, **changes)) == f"is of another {key}"


@pytest.mark.parametrize(
    "changes", [{"epochs": 7, "data_share": 0.1}, {"compile": True}, {"device": "auto"}]
)
def test_what_changes_no_figure_is_no_reason_to_begin_again(
    checkpoint: bytes, changes: dict[str, Any]
) -> None:
    # The rungs say how long and on how much; where it is trained is not part of the protocol.
    same = replace(ORIGIN, settings=replace(SETTINGS, **changes))
    assert unpack(checkpoint, network=fresh(OF), origin=same, epochs=4).epochs == 2


def test_a_protocol_without_new_settings_is_that_of_older_checkpoints() -> None:
    # Otherwise the courses of a study that goes on would be trained from their beginning.
    assert set(ORIGIN.as_dict()["protocol"]) == {
        "augmentation",
        "batch_size",
        "drop_path_rate",
        "label_smoothing",
        "learning_rate",
        "optimizer",
        "precision",
        "seed",
        "warmup_share",
        "weight_decay",
    }
    teacher = TeacherSettings(network="results/one")
    taught = replace(ORIGIN, settings=replace(SETTINGS, teacher=teacher))
    assert taught.as_dict()["protocol"]["teacher"]["network"] == "results/one"


def test_a_checkpoint_behind_the_end_of_the_run_is_refused(checkpoint: bytes) -> None:
    assert unpack(checkpoint, network=fresh(OF), origin=ORIGIN, epochs=2).epochs == 2
    assert refusal(checkpoint, epochs=1) == "is 2 epochs old already"


def test_a_course_does_not_go_on_without_its_optimizer() -> None:
    data = pack(fresh(OF), state=TrainingState(epochs=2), origin=ORIGIN)
    assert refusal(data) == "has no state of the optimizer"


def test_weights_of_other_shapes_are_refused_as_a_whole(checkpoint: bytes) -> None:
    # As when a mixer of a user's has changed under its old name.
    wider = replace(OF, stages=(replace(OF.stages[0], expansion_ratio=3),))
    assert refusal(checkpoint, net=fresh(wider)) == "has other weights than the network"
    other = fresh(architecture("attention"))
    assert refusal(checkpoint, net=other) == "has other weights than the network"


@pytest.mark.parametrize("name", ["exp_avg.head.weight", "step.head.weight", "exp_avg.nowhere"])
def test_an_optimizer_of_other_shapes_is_refused(name: str) -> None:
    net = fresh(OF)
    optimizer = {**trained(net, rung=0).optimizer, name: torch.zeros(2)}
    data = pack(net, state=TrainingState(epochs=1, optimizer=optimizer), origin=ORIGIN)
    assert refusal(data) == "has another optimizer's state"
