"""The parts of a training run: schedule, batches, prediction, device, settings."""

import math
import warnings

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from timm.scheduler import CosineLRScheduler
from torch import nn

from spach_nas.config.recipe import load_recipe
from spach_nas.config.training_settings import Augmentation, DataSettings, TrainingSettings
from spach_nas.data import ImageSet, Normalisation
from spach_nas.data.split_reader import from_memory
from spach_nas.errors import ConfigError
from spach_nas.training import choose_runtime, predict, score, score_images, threads
from spach_nas.training.batches import Moves, apply_moves, batch, draw_moves, load
from spach_nas.training.device import autocast
from spach_nas.training.learner import Place
from spach_nas.training.loaders import RecipeBatches
from spach_nas.training.schedule import Schedule, learning_rate, make_schedule

CPU = choose_runtime(device="cpu")
NORMALISATION = Normalisation(mean=(0.3, 0.5, 0.1), std=(0.2, 0.1, 0.4))


def image_set(count: int = 12, side: int = 6, channels: int = 3) -> ImageSet:
    rng = np.random.default_rng(7)
    return ImageSet(
        images=rng.integers(0, 256, (count, side, side + 1, channels), dtype=np.uint8),
        labels=rng.integers(0, 4, count),
        class_names=("a", "b", "c", "d"),
    )


def test_the_learning_rate_rises_in_a_line_and_falls_as_half_a_cosine() -> None:
    schedule = make_schedule(peak=0.3, steps=50, warmup_share=0.2)
    rates = [learning_rate(schedule, step) for step in range(50)]
    np.testing.assert_allclose(rates[:10], 0.3 * np.arange(1, 11) / 10)
    middles = (np.arange(40) + 0.5) / 40
    np.testing.assert_allclose(rates[10:], 0.15 * (1 + np.cos(np.pi * middles)))
    # The mean over the fall of a cosine is half its peak.
    assert math.fsum(rates[10:]) / 40 == pytest.approx(0.15)
    assert min(rates) > 0


def test_the_learning_rate_at_full_size_is_that_of_timm() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=0.3)
    theirs = CosineLRScheduler(
        optimizer, t_initial=40, lr_min=1e-3, warmup_t=7, warmup_lr_init=1e-4, t_in_epochs=False
    )
    schedule = Schedule(peak=0.3, steps=40, warmup_steps=7, first=1e-4, final=1e-3)
    for step in range(40):
        theirs.step_update(step)
        assert learning_rate(schedule, step) == optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup_share", [0.0, 0.5, 0.99])
def test_the_shortest_training_has_a_learning_rate(steps: int, warmup_share: float) -> None:
    schedule = make_schedule(peak=2.0, steps=steps, warmup_share=warmup_share)
    assert all(0 < learning_rate(schedule, step) <= 2.0 for step in range(steps))


def naive_move(image: np.ndarray, *, top: int, left: int, flip: bool, padding: int) -> np.ndarray:
    H, W, _ = image.shape
    moved = np.zeros_like(image)
    for row in range(H):
        for column in range(W):
            y, x = row + top - padding, (W - 1 - column if flip else column) + left - padding
            if 0 <= y < H and 0 <= x < W:
                moved[row, column] = image[y, x]
    return moved


@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_moves_equal_a_loop_over_pixels(padding: int, flip: bool) -> None:
    data = image_set()
    generator = torch.Generator().manual_seed(1)
    augmentation = Augmentation(crop_padding=padding, flip=flip)
    moves = draw_moves(len(data), augmentation, generator=generator)
    moved = apply_moves(torch.from_numpy(data.images), moves)
    for index, image in enumerate(data.images):
        expected = naive_move(
            image,
            top=int(moves.top[index]),
            left=int(moves.left[index]),
            flip=bool(moves.flip[index]),
            padding=padding,
        )
        np.testing.assert_array_equal(moved[index].numpy(), expected)


def test_moves_reach_every_place_and_mirror_half_of_the_images() -> None:
    generator = torch.Generator().manual_seed(0)
    moves = draw_moves(4000, Augmentation(crop_padding=2, flip=True), generator=generator)
    places = set(zip(moves.top.tolist(), moves.left.tolist(), strict=True))
    assert places == {(y, x) for y in range(5) for x in range(5)}
    assert abs(moves.flip.double().mean() - 0.5) < 4 * 0.5 / 4000**0.5
    still = draw_moves(100, Augmentation(crop_padding=0, flip=False), generator=generator)
    assert not still.flip.any() and not still.top.any() and not still.left.any()
    # The default of a search: images are not copied.
    images = torch.zeros(100, 3, 3, 1)
    assert not still.any and apply_moves(images, still) is images


def test_a_batch_is_normalised_and_channels_come_first() -> None:
    data = image_set()
    loaded = load(data, NORMALISATION, runtime=CPU)
    images, labels = batch(loaded, torch.tensor([5, 2, 5]))
    pixels = (data.images[[5, 2, 5]] / 255 - NORMALISATION.mean) / NORMALISATION.std
    np.testing.assert_allclose(images.numpy(), pixels.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(labels.numpy(), data.labels[[5, 2, 5]])
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_moves_of_a_batch_are_those_of_its_images() -> None:
    data = image_set(count=2)
    loaded = load(data, Normalisation(mean=(0.0,) * 3, std=(1 / 255,) * 3), runtime=CPU)
    zeros = torch.zeros(2, dtype=torch.int64)
    moves = Moves(top=zeros, left=zeros, flip=torch.tensor([False, True]), padding=0)
    images, _ = batch(loaded, torch.tensor([1, 0]), moves)
    still, mirrored = images.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(still, data.images[1], rtol=1e-5)
    np.testing.assert_allclose(mirrored, data.images[0][:, ::-1], rtol=1e-5)


def test_a_recipe_that_only_mirrors_changes_every_image() -> None:
    data = image_set(count=8)
    recipe = load_recipe(
        "short",
        changes=(
            "batch_size=4",
            "augmentation.shift=0",
            "augmentation.flip=1.0",
            "augmentation.erasing=0.0",
        ),
    )
    batches = RecipeBatches(
        from_memory(data, name="made up"),
        recipe,
        image_size=(data.images.shape[1], data.images.shape[2]),
        normalisation=Normalisation(mean=(0.0,) * 3, std=(1 / 255,) * 3),
        place=Place(),
        runtime=CPU,
        processes=0,
    )
    parts = [part.images for batch in batches(0, 0).batches for part in batch]
    seen = torch.cat(parts).permute(0, 2, 3, 1).round().byte().flatten(1).tolist()
    assert sorted(seen) == sorted(data.images[:, :, ::-1].reshape(8, -1).tolist())


def test_read_only_arrays_are_taken_without_a_copy_or_a_warning() -> None:
    data = image_set()
    data.images.flags.writeable = data.labels.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load(data, NORMALISATION, runtime=CPU)
    assert loaded.images.data_ptr() == data.images.ctypes.data


class Flat(nn.Module):
    """A linear map with dropout, which must be off in prediction."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.drop = nn.Dropout(0.5)
        self.linear = nn.Linear(6 * 7 * 3, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(self.drop(images.flatten(1)))


def test_prediction_covers_every_image_once_in_order() -> None:
    data = image_set(count=600)
    network = Flat().train()
    logits = predict(network, load(data, NORMALISATION, runtime=CPU), runtime=CPU)
    pixels = (data.images / 255 - NORMALISATION.mean) / NORMALISATION.std
    weight, bias = (p.detach().double().numpy() for p in network.linear.parameters())
    expected = pixels.transpose(0, 3, 1, 2).reshape(600, -1) @ weight.T + bias
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-4)
    assert logits.dtype == torch.float32

    exponents = np.exp(expected)
    chosen = exponents[np.arange(600), data.labels] / exponents.sum(1)
    scores = score(logits, torch.from_numpy(data.labels))
    assert scores["accuracy"] == np.mean(expected.argmax(1) == data.labels)
    assert scores["loss"] == pytest.approx(-np.log(chosen).mean(), abs=1e-5)
    assert score_images(network, data, normalisation=NORMALISATION, runtime=CPU) == scores


def test_the_threads_are_the_callers_again_afterwards() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before


def test_the_runtime_follows_the_settings() -> None:
    cuda = torch.cuda.is_available()
    assert choose_runtime().device.type == ("cuda" if cuda else "cpu")
    assert not CPU.bf16
    bf16 = choose_runtime(device="cpu", precision="bf16")
    with autocast(bf16):
        assert torch.ones(2, 2).matmul(torch.ones(2, 2)).dtype == torch.bfloat16
    with autocast(CPU):
        assert torch.ones(2, 2).matmul(torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without CUDA says")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="device: cuda; this machine has cpu"):
        choose_runtime(device="cuda")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs: 0; expected at least 1"),
        ({"data_share": 0.0}, "data_share: 0.0; expected more than 0 and at most 1"),
        ({"data_share": 1.5}, "data_share: 1.5; expected more than 0 and at most 1"),
        ({"batch_size": 0}, "batch_size: 0; expected at least 1"),
        ({"learning_rate": 0.0}, "learning_rate: 0.0; expected more than 0"),
        ({"learning_rate": math.nan}, "learning_rate: nan; expected a finite number"),
        ({"weight_decay": -1.0}, "weight_decay: -1.0; expected at least 0"),
        ({"warmup_share": 1.0}, "warmup_share: 1.0; expected at least 0 and less than 1"),
        ({"label_smoothing": -0.1}, "label_smoothing: -0.1; expected at least 0 and less than 1"),
        ({"drop_path_rate": 1.0}, "drop_path_rate: 1.0; expected at least 0 and less than 1"),
        ({"precision": "bf61"}, "precision: 'bf61'; expected auto, fp32 or bf16; did you mean"),
        ({"device": "gpu"}, "device: 'gpu'; expected auto, cpu, cuda or mps"),
    ],
)
def test_a_protocol_out_of_range_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingSettings(**values)  # type: ignore[arg-type]


def test_a_negative_padding_is_refused() -> None:
    with pytest.raises(ConfigError, match="crop_padding: -1; expected at least 0"):
        Augmentation(crop_padding=-1)


@pytest.mark.parametrize("kind", [DataSettings, TrainingSettings, Augmentation])
def test_an_unknown_key_is_refused(kind: type) -> None:
    with pytest.raises(ValidationError, match=r"learning_rat\n.*[Uu]nexpected"):
        TypeAdapter(kind).validate_python({"name": "fashion-mini", "learning_rat": 1})
