"""Image sets in memory: size, statistics, memory; splits and nested shares."""

import numpy as np
import pytest
from PIL import Image

from spach_nas.data import images as images_module
from spach_nas.data.held_out import nested_share, split_validation
from spach_nas.data.images import all_to_size, few_scored, measure_normalisation, to_size
from spach_nas.errors import DataError


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_smaller_images_are_padded_with_zeros_around_their_centre() -> None:
    images = noise(3, 28, 27, 1)
    padded = all_to_size(images, (32, 30), name="set")
    np.testing.assert_array_equal(padded, np.pad(images, [(0, 0), (2, 2), (1, 2), (0, 0)]))
    np.testing.assert_array_equal(padded[1], to_size(images[1], (32, 30)))


def test_an_image_of_the_size_is_unchanged() -> None:
    image = noise(16, 12, 3)
    np.testing.assert_array_equal(to_size(image, (16, 12)), image)


@pytest.mark.parametrize("channels", [1, 3])
def test_larger_images_are_shrunk_by_the_side_that_just_covers_and_cut_at_the_centre(
    channels: int,
) -> None:
    image = noise(40, 90, channels)
    # Height 40 -> 20 covers, so the width becomes 45, of which columns 12 to 36 stay.
    pil = Image.fromarray(image[..., 0] if channels == 1 else image)
    shrunk = np.asarray(pil.resize((45, 20), Image.Resampling.BICUBIC)).reshape(20, 45, channels)
    np.testing.assert_array_equal(to_size(image, (20, 24)), shrunk[:, 10:34])
    np.testing.assert_array_equal(
        all_to_size(image[None], (20, 24), name="set")[0], shrunk[:, 10:34]
    )


def test_a_side_that_exceeds_is_cut_and_one_that_falls_short_is_padded() -> None:
    image = noise(10, 30, 3)
    expected = np.pad(image[:, 7:23], [(3, 3), (0, 0), (0, 0)])
    np.testing.assert_array_equal(to_size(image, (16, 16)), expected)


def test_order_survives_the_threads() -> None:
    images = noise(50, 9, 8, 3)
    resized = all_to_size(images, (4, 4), name="set")
    np.testing.assert_array_equal(resized, [to_size(image, (4, 4)) for image in images])


def test_normalisation_gives_every_channel_mean_0_and_deviation_1() -> None:
    images = noise(20, 5, 7, 3)
    images[..., 1] //= 3
    normalisation = measure_normalisation(images)
    pixels = images / 255.0
    np.testing.assert_allclose(normalisation.mean, pixels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(normalisation.std, pixels.std((0, 1, 2)), rtol=1e-12)


def test_a_channel_without_contrast_has_a_deviation_that_can_divide() -> None:
    assert measure_normalisation(np.full((2, 4, 4, 1), 9, dtype=np.uint8)).std[0] > 0


def test_images_that_exceed_the_memory_are_refused_before_they_are_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images_module, "available_memory", lambda: 1000)
    with pytest.raises(DataError, match=r"set: 5 images of 16 x 16 x 1 need .* GB .* are free"):
        all_to_size(noise(5, 12, 12, 1), (16, 16), name="set")
    with pytest.raises(DataError, match="set: 4 images"):
        all_to_size(noise(4, 20, 20, 1), (16, 16), name="set")


LABELS = np.repeat(np.array([0, 1, 2]), [50, 31, 7])[np.random.default_rng(1).permutation(88)]


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_the_parts_are_disjoint_complete_and_stratified(share: float) -> None:
    train, validation = split_validation(LABELS, share, seed=3)
    assert sorted([*train, *validation]) == list(range(len(LABELS)))
    for label, size in enumerate([50, 31, 7]):
        held_out = int((LABELS[validation] == label).sum())
        assert abs(held_out - share * size) <= 1
        assert 1 <= held_out <= size - 1


def test_the_seed_of_the_split_decides_it() -> None:
    first, again, other = (split_validation(LABELS, 0.3, seed=seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


def test_other_classes_do_not_move_the_images_of_a_class() -> None:
    alone = split_validation(LABELS, 0.3, seed=2)[1]
    beside = split_validation(np.concatenate([LABELS, np.full(40, 3)]), 0.3, seed=2)[1]
    np.testing.assert_array_equal(beside[beside < len(LABELS)], alone)


def test_a_class_of_one_image_cannot_be_split() -> None:
    with pytest.raises(DataError, match="class 4 has 1 image; expected at least 2"):
        split_validation(np.array([0, 0, 4]), 0.5, seed=0)


def test_a_smaller_share_is_a_stratified_part_of_every_larger_one() -> None:
    before: set[int] = set()
    for share in (0.01, 0.1, 0.25, 0.5, 0.9, 1.0):
        chosen = set(nested_share(LABELS, share).tolist())
        assert before <= chosen
        for label, size in enumerate([50, 31, 7]):
            count = sum(LABELS[i] == label for i in chosen)
            assert count == max(1, int(share * size + 0.5))
        before = chosen
    assert before == set(range(len(LABELS)))


@pytest.mark.parametrize(("images", "points"), [(24, 20), (100, 10), (299, 6)])
def test_few_validation_images_are_warned_of_with_their_interval(images: int, points: int) -> None:
    # Half the width of the normal 95 % interval of a share of one half: 98 / sqrt(n) points.
    assert points == round(98 / images**0.5)
    words = few_scored(images)
    assert words is not None and f"only {images} images" in words and f"+- {points} points" in words


def test_some_hundreds_of_validation_images_are_enough() -> None:
    assert few_scored(300) is few_scored(1600) is None
