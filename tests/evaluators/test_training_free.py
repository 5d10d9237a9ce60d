"""Training-free scores, against closed forms and naive float64 oracles."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spach_nas.config.evaluation import EvaluationRequest, Fidelity
from spach_nas.config.evaluator_registry import ScoreName
from spach_nas.config.training_settings import TrainingSettings
from spach_nas.cost.closed_form import cost
from spach_nas.data import DataSplits, ImageSet
from spach_nas.data.images import measure_normalisation
from spach_nas.evaluators import training_free
from spach_nas.evaluators.training_free import (
    SCORES,
    Probe,
    TrainingFree,
    expressivity,
    gradient_norm,
    naswot,
    prepare_probe,
    progressivity,
    synflow,
    trainability,
    zico,
)
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.training import choose_runtime

CPU = choose_runtime(device="cpu", precision="fp32")


def tiny(mixer: str, *, depth: int = 2, stem: str = "conv1") -> Architecture:
    stage = Stage(mixers=(mixer,) * depth, width=8, heads=2, expansion_ratio=2.0)
    return Architecture(
        stem=stem, patch_size=4, stages=(stage,), image_size=(8, 8), in_channels=1, num_classes=3
    )


def _images() -> DataSplits:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
    part = ImageSet(images=pixels, labels=np.arange(12) % 3, class_names=("a", "b", "c"))
    return DataSplits(train=part, validation=part, normalisation=measure_normalisation(pixels))


DATA = _images()


class Mlp(nn.Module):
    """Two layers on (B, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(5, 7, bias=False)
        self.fc2 = nn.Linear(7, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.relu(self.fc1(x)))
        return out


@pytest.fixture
def probe() -> Probe:
    torch.manual_seed(1)
    return Probe(network=Mlp(), images=torch.randn(8, 5), labels=torch.arange(8) % 3)


def _logits(probe: Probe) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Input, hidden, gate and softmax in float64."""
    first, second = (p.detach().double() for p in probe.network.parameters())
    x = probe.images.double()
    hidden = x @ first.T
    shares = (hidden.clamp(min=0) @ second.T).softmax(1)
    return x, hidden, second, shares


def _naive_gradients(probe: Probe, rows: slice) -> list[Tensor]:
    """Of the mean cross-entropy, by hand."""
    x, hidden, second, shares = _logits(probe)
    error = (shares - F.one_hot(probe.labels, 3))[rows] / len(x[rows])
    back = (error @ second) * (hidden[rows] > 0)
    return [back.T @ x[rows], error.T @ hidden[rows].clamp(min=0)]


def test_synflow_is_the_product_of_absolute_weights(probe: Probe) -> None:
    first, second = (p.detach().double().abs() for p in probe.network.parameters())
    total = float((second @ first).sum())
    before = {name: value.clone() for name, value in probe.network.state_dict().items()}
    # Each of two layers without bias has the whole flow: sum of w dR/dw = R (Euler).
    assert synflow(probe) == pytest.approx(math.log(2 * total))
    after = probe.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_synflow_takes_attention_as_the_mean_of_its_values() -> None:
    probe = prepare_probe(tiny("attention", depth=1), DATA, images=2, seed=0, runtime=CPU)
    before = synflow(probe)
    for name, value in probe.network.named_parameters():
        if name.endswith("qkv.weight"):
            value.data[:16] *= 1e9  # queries and keys of a width of 8
    assert synflow(probe) == before
    for name, value in probe.network.named_parameters():
        if name.endswith("qkv.weight"):
            value.data[16:] *= 2.0
    assert synflow(probe) > before


def test_synflow_of_a_deep_network_does_not_overflow() -> None:
    flows = []
    for depth in (60, 120, 180):
        probe = prepare_probe(tiny("mlp", depth=depth), DATA, images=2, seed=0, runtime=CPU)
        for name, value in probe.network.named_parameters():
            if name.endswith("mlp.fc2.weight"):
                value.data.fill_(50.0)  # each block multiplies by hundreds
        flows.append(synflow(probe))
    assert flows[2] > math.log(1e300)
    # Linear in the depth, also where the features are scaled down.
    assert flows[2] - flows[1] == pytest.approx(flows[1] - flows[0], rel=0.05)


def test_naswot_counts_the_gates_in_which_images_agree(probe: Probe) -> None:
    _, hidden, _, _ = _logits(probe)
    gates = (hidden > 0).tolist()
    agree = [[sum(a == b for a, b in zip(p, q, strict=True)) for q in gates] for p in gates]
    expected = np.linalg.slogdet(np.array(agree, float)).logabsdet
    assert naswot(probe) == pytest.approx(expected, abs=1e-4)


def test_the_gradient_norm_is_that_by_hand(probe: Probe) -> None:
    expected = sum(float(part.norm()) for part in _naive_gradients(probe, slice(None)))
    assert gradient_norm(probe) == pytest.approx(expected, rel=1e-5)


def test_zico_is_that_of_four_batches_by_hand(probe: Probe) -> None:
    parts = [_naive_gradients(probe, slice(i, i + 2)) for i in range(0, 8, 2)]
    expected = 0.0
    for layer in zip(*parts, strict=True):
        sizes = np.array([part.abs().numpy() for part in layer])
        spread = sizes.std(0)
        expected += math.log((sizes.mean(0)[spread > 0] / spread[spread > 0]).sum())
    assert zico(probe) == pytest.approx(expected, rel=1e-4)


def test_the_entropies_are_those_of_a_naive_covariance() -> None:
    probe = prepare_probe(tiny("conv", depth=3), DATA, images=6, seed=0, runtime=CPU)
    network, x = probe.network, probe.images
    with torch.no_grad():
        features = network.get_submodule("norm")(network.get_submodule("stem")(x))
        entropies = []
        for number in range(3):
            features = network.get_submodule(f"stages.0.blocks.{number}")(features)
            rows = features.reshape(-1, 8).double().numpy()
            centred = rows - rows.mean(0)
            values = np.linalg.svd(centred, compute_uv=False) ** 2
            shares = values / values.sum()
            entropies.append(-sum(s * math.log(s) for s in shares if s > 0))
    assert expressivity(probe) == pytest.approx(sum(entropies), rel=1e-6)
    steps = [entropies[1] - entropies[0], entropies[2] - entropies[1]]
    assert progressivity(probe) == pytest.approx(min(steps), abs=1e-6)


def test_trainability_is_best_where_blocks_pass_gradients_on() -> None:
    probe = prepare_probe(tiny("conv"), DATA, images=6, seed=0, runtime=CPU)
    for name, value in probe.network.named_parameters():
        if "blocks" in name:
            nn.init.zeros_(value)
    # E[g g^T] of signs is near the identity, and never quite it.
    as_is = trainability(probe)
    assert -1 < as_is < 0
    for name, value in probe.network.named_parameters():
        if name.endswith("dwconv.weight"):
            value.data[:, 0, 1, 1] = 2.0  # each block multiplies by 3
    largest = 3 * _largest_of_signs(probe)
    assert trainability(probe) == pytest.approx(sum(2 - s - 1 / s for s in largest) / 2, rel=1e-4)


def _largest_of_signs(probe: Probe) -> np.ndarray:
    generator = torch.Generator().manual_seed(probe.seed)
    found = []
    for _ in range(2):
        signs = torch.randint(0, 2, (6, 2, 2, 8), generator=generator).double() * 2 - 1
        rows = signs.reshape(-1, 8).numpy()
        found.append(np.linalg.svd(rows.T @ rows / len(rows), compute_uv=False)[0])
    return np.array(found)


@pytest.mark.parametrize("score", SCORES)
def test_scores_tell_mixers_apart_and_repeat(score: str) -> None:
    found = {}
    for mixer in ("conv", "attention", "mlp"):
        proxy = tiny(mixer, stem="conv4")
        probe = prepare_probe(proxy, DATA, images=8, seed=3, runtime=CPU)
        found[mixer] = SCORES[score](probe)
        assert math.isfinite(found[mixer])
        again = prepare_probe(proxy, DATA, images=8, seed=3, runtime=CPU)
        assert SCORES[score](again) == found[mixer]
        # No score changes what the next one sees.
        assert all(
            torch.equal(a, b)
            for (name, a), b in zip(
                probe.network.state_dict().items(), again.network.state_dict().values(), strict=True
            )
            if "running" not in name
        )
    assert len(set(found.values())) == 3


def test_the_evaluator_gives_its_score_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = tiny("attention")
    request = EvaluationRequest(
        trial=0,
        architecture=proxy,
        proxy=proxy,
        fidelity=Fidelity(epochs=0, image_size=(8, 8), data_share=1.0),
        seed=0,
    )
    evaluator = TrainingFree(score="macs", images=4, settings=TrainingSettings(device="cpu"))
    found = evaluator(request, DATA)
    assert found.state == "complete"
    assert found.scores == {"score": float(cost(proxy).macs)}
    assert found.weights is None
    infinite = {**SCORES, "macs": lambda _: -math.inf}
    monkeypatch.setattr(training_free, "SCORES", infinite)
    assert evaluator(request, DATA).reason == "macs is -inf, not finite"
    assert replace(evaluator, score="zico")(request, DATA).state == "complete"

    def lost(_: Probe) -> float:
        raise torch.AcceleratorError("lost")

    monkeypatch.setattr(training_free, "SCORES", {**SCORES, "macs": lost})
    with pytest.raises(torch.AcceleratorError):
        evaluator(request, DATA)


def test_the_settings_know_every_score() -> None:
    assert set(ScoreName.__args__) == set(SCORES)  # type: ignore[attr-defined]
