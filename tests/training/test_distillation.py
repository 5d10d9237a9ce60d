"""What a student learns from a teacher, and which teachers are refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save, save_file
from timm.task import LogitDistillationTask

from bundles import write_bundle
from network_tools import randomised
from spach_nas.config.evaluation import EvaluationRequest, Fidelity
from spach_nas.config.training_settings import TeacherSettings
from spach_nas.data import Normalisation
from spach_nas.errors import ConfigError
from spach_nas.evaluators import ProxyEvaluator
from spach_nas.export.named_networks import load_teacher
from spach_nas.space.scaling import DataShape
from spach_nas.training.distillation import Teacher
from spach_nas.training.learner import Part, make_learner
from spach_nas.training.sealed_networks import open_teacher, seal_network
from training_tools import CPU, DATA, SETTINGS, architecture

SHAPE = DataShape(in_channels=1, num_classes=3)
STUDENT = Normalisation(mean=(0.3,), std=(0.2,))
TIMM = "test_vit"


def teacher(sealed: bytes, *, temperature: float = 3.0, share: float = 0.4) -> Teacher:
    return open_teacher(sealed, student=STUDENT, temperature=temperature, share=share, runtime=CPU)


def gradients(network: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def test_the_loss_and_its_gradients_are_those_of_timm() -> None:
    wise, student = randomised(architecture("mlp")), randomised(architecture("conv")).eval()
    wise.pretrained_cfg = {"mean": (0.5,), "std": (0.7,)}
    student.pretrained_cfg = {"mean": STUDENT.mean, "std": STUDENT.std}
    task = LogitDistillationTask(
        student,
        teacher_model=wise.eval(),
        criterion=torch.nn.CrossEntropyLoss(),
        distill_loss_weight=0.4,
        task_loss_weight=0.6,
        temperature=3.0,
        verbose=False,
    )
    images = torch.randn(5, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 2, 1, 1, 0])
    expected = task(images, labels)["loss"]
    expected.backward()
    theirs = [grad.clone() for grad in gradients(student)]

    student.zero_grad()
    sealed = seal_network(wise, normalisation=Normalisation(mean=(0.5,), std=(0.7,)))
    learner = make_learner(
        student, optimizer=SETTINGS.optimizer_settings, runtime=CPU, teacher=teacher(sealed)
    )
    loss = learner.add_gradients([Part(images=images, labels=labels)])
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-5)
    for ours, other in zip(gradients(student), theirs, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_a_teacher_of_another_size_sees_resized_images() -> None:
    large = replace(architecture("conv"), image_size=(24, 24))
    sealed = seal_network(randomised(large))
    found = teacher(sealed, share=1.0)
    logits, images = torch.randn(2, 3), torch.randn(2, 1, 12, 12)
    seen = torch.nn.functional.interpolate(images, (24, 24), mode="bilinear", antialias=True)
    expected = randomised(large).eval()(seen)
    loss = found.loss(logits, images, labels_loss=torch.tensor(7.0))
    target = (expected / 3).softmax(1)
    naive = 9 * (target * (target.log() - (logits / 3).log_softmax(1))).sum() / 2
    assert float(loss) == pytest.approx(float(naive), rel=1e-4)


def test_a_proxy_learns_from_its_teacher() -> None:
    proxy = architecture("conv")
    request = EvaluationRequest(
        trial=0,
        architecture=proxy,
        proxy=proxy,
        fidelity=Fidelity(epochs=1, image_size=(12, 12), data_share=1.0),
        seed=0,
    )
    wise = randomised(architecture("mlp"))
    settings = replace(SETTINGS, teacher=TeacherSettings(network="somewhere", share=1.0))
    sealed = seal_network(wise, normalisation=DATA.normalisation)
    taught, alone = (
        ProxyEvaluator(settings=given, teacher=known)(request, DATA)
        for given, known in ((settings, sealed), (SETTINGS, None))
    )
    assert taught.state == "complete"
    assert taught.curve[0].train_loss != pytest.approx(alone.curve[0].train_loss, rel=1e-3)


def test_a_model_of_timm_teaches_with_its_weights(tmp_path: Path) -> None:
    network = timm.create_model(TIMM, num_classes=3, in_chans=1)
    path = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), path)
    settings = TeacherSettings(network=f"timm/{TIMM}", weights=str(path))
    found = teacher(load_teacher(settings, data=SHAPE, key="teacher"))
    for name, value in network.state_dict().items():
        assert value.equal(found.network.state_dict()[name]), name
    assert found.image_size == (160, 160)


BAD = [
    (
        {"network": "nowhere"},
        "teacher.network: nowhere: is not a folder; expected that of",
    ),
    (
        {"network": "timm/test_vitt"},
        "teacher.network: timm/test_vitt: no such model of timm; did you mean 'test_vit'?",
    ),
    ({"network": f"timm/{TIMM}"}, "teacher.weights: is missing; expected a file with the weights"),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=[line[1][:30] for line in BAD])
def test_what_is_no_teacher_is_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_teacher(TeacherSettings(**given), data=SHAPE, key="teacher")
    assert str(refused.value).startswith(message)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model(TIMM, num_classes=5, in_chans=1).state_dict(), path)
    settings = TeacherSettings(network=f"timm/{TIMM}", weights=str(path))
    with pytest.raises(ConfigError, match=r"2 of \d+ tensors do not fit, such as head\."):
        load_teacher(settings, data=SHAPE, key="teacher")


def test_a_teacher_of_other_classes_or_without_weights_is_refused(tmp_path: Path) -> None:
    other = replace(architecture("conv"), num_classes=4)
    weights = save(randomised(other).state_dict())
    four = write_bundle(tmp_path / "four", architecture=other, weights=weights)
    empty = write_bundle(tmp_path / "empty", architecture=architecture("conv"))
    for folder, message in (
        (four, "takes and gives 1 channel and 4 classes; expected 1 channel and 3 classes"),
        (empty, "has no trained weights"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_teacher(TeacherSettings(network=str(folder)), data=SHAPE, key="teacher")


def test_weights_belong_to_a_model_of_timm() -> None:
    with pytest.raises(ConfigError, match=r"weights: a.pth; expected none, since best has its own"):
        TeacherSettings(network="best", weights="a.pth")
