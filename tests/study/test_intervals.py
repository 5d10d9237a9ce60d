"""Intervals against scipy's, and the words that carry them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from spach_nas.config.objectives import OBJECTIVES
from spach_nas.study.intervals import (
    Interval,
    image_interval,
    score_words,
    surely_better,
    wilson,
    with_images,
)
from spach_nas.study.records import Record
from study_factory import make_record

ACCURACY, LOSS = OBJECTIVES["accuracy"], OBJECTIVES["loss"]


def of(accuracy: float, *, images: int | None = 1600, trial: int = 0) -> Record:
    return replace(make_record(trial, accuracy), validation_images=images)


@given(st.integers(1, 3000), st.floats(0, 1))
def test_an_interval_is_that_of_wilson(images: int, share: float) -> None:
    right = round(share * images)
    expected = binomtest(right, images).proportion_ci(method="wilson")
    found = wilson(right / images, images=images)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert found.low <= right / images <= found.high


def test_a_score_without_counted_images_has_no_interval() -> None:
    assert image_interval(of(0.8, images=None), ACCURACY) is None
    assert image_interval(of(0.8), LOSS) is None
    assert image_interval(of(0.8), ACCURACY) == wilson(0.8, images=1600)


def test_a_difference_is_sure_only_beyond_both_intervals_together() -> None:
    # Newcombe's interval of 0.83 - 0.80 of 1,600 images each reaches to just above zero.
    assert surely_better(of(0.83), of(0.80), ACCURACY)
    assert not surely_better(of(0.825), of(0.80), ACCURACY)
    assert not surely_better(of(0.80), of(0.83), ACCURACY)
    # With ten times the images it is sure.
    assert surely_better(of(0.825, images=16000), of(0.80, images=16000), ACCURACY)
    assert surely_better(of(0.83), of(0.80, images=None), ACCURACY) is None


@pytest.mark.parametrize(
    ("share", "images", "words"),
    [
        (0.83, 1600, "83.0 \N{PLUS-MINUS SIGN} 1.8 %"),
        # Python rounds a half to even, a browser up: one number, one text.
        (0.8325, 12000, "83.3 \N{PLUS-MINUS SIGN} 0.7 %"),
        (0.99, 60_000, "99.00 \N{PLUS-MINUS SIGN} 0.08 %"),
    ],
)
def test_words_have_as_many_digits_as_the_interval_allows(
    share: float, images: int, words: str
) -> None:
    assert score_words(ACCURACY, share, wilson(share, images=images)) == words


def test_words_of_other_scores_and_of_nothing() -> None:
    assert score_words(ACCURACY, 0.83125) == "83.13%"
    assert score_words(LOSS, 0.53117, None) == "0.5312"
    assert score_words(ACCURACY, None) == ""
    assert Interval(0.2, 0.3).half == pytest.approx(0.05)


def test_older_records_learn_their_images_only_where_every_accuracy_is_a_share_of_them() -> None:
    old = [of(1324 / 1600, images=None), of(0.81, images=None, trial=1)]
    assert {record.validation_images for record in with_images(old, 1600)} == {1600}
    other = [*old, of(1 / 3, images=None, trial=2)]
    assert with_images(other, 1600) == tuple(other)
    assert with_images(old, None) == tuple(old)
    assert with_images([of(0.5, images=10), *old], 1600)[0].validation_images == 10
