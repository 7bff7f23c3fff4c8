import dataclasses
import json

import numpy as np
import pytest

from models.evaluation import Judged
from models.intervals import wilson
from models.scorecard import Scorecard, score

CAMERAS = ("A", "A", "A", "B", "B")


def judged() -> Judged:
    """Cats 2 of 3 right, dogs 2 of 2; nobody has seen a cow."""
    predictions = np.array([0, 0, 1, 1, 1])
    probabilities = np.full((5, 3), 0.1, dtype=np.float32)
    probabilities[np.arange(5), predictions] = 0.8
    return Judged(
        fingerprint="these five",
        classes=("cat", "dog", "emu"),
        images=tuple("abcde"),
        labels=np.array([0, 0, 0, 1, 1]),
        predictions=predictions,
        probabilities=probabilities,
        embeddings=np.zeros((5, 2), dtype=np.float32),
        groups=tuple("abcde"),
        sources=("manifest",) * 5,
        metadata=tuple({"camera": camera} for camera in CAMERAS),
    )


def test_scores_are_those_counted_by_hand():
    card = score(judged())

    cat, dog, emu = card.per_class
    assert card.accuracy == pytest.approx(4 / 5)
    assert (cat.precision, cat.recall, cat.f1) == pytest.approx((1.0, 2 / 3, 0.8))
    assert (dog.precision, dog.recall) == pytest.approx((2 / 3, 1.0))
    assert (emu.images, emu.recall) == (0, None)
    assert card.confusion == ((2, 1, 0), (0, 2, 0), (0, 0, 0))
    assert card.macro_recall == pytest.approx((2 / 3 + 1) / 2)


def test_subgroups_are_scored_with_their_size_and_interval():
    a, b = score(judged(), ["camera"]).subgroups

    assert (a.column, a.value, a.images, a.accuracy) == ("camera", "A", 3, pytest.approx(2 / 3))
    assert b.accuracy == 1.0
    assert b.interval == pytest.approx((0.342, 1.0), abs=1e-3)


def test_a_scorecard_survives_json():
    card = score(judged(), ["camera"])

    assert Scorecard.from_json(json.loads(json.dumps(card.to_json()))) == card


def test_means_count_every_class_or_every_image_the_same():
    card = score(judged())

    assert card.macro_precision == pytest.approx((1 + 2 / 3) / 2)
    assert card.macro_f1 == pytest.approx((0.8 + 0.8) / 2)
    assert card.weighted_precision == pytest.approx((3 * 1 + 2 * 2 / 3) / 5)
    assert card.weighted_recall == pytest.approx(card.accuracy)
    assert card.weighted_f1 == pytest.approx(0.8)


def test_a_class_has_intervals_as_wide_as_its_images_are_few():
    cat, dog, emu = score(judged()).per_class

    assert cat.recall_interval == pytest.approx(wilson(2, 3))
    assert dog.precision_interval == pytest.approx(wilson(2, 3))
    assert (emu.precision_interval, emu.recall_interval, emu.f1_interval) == (None, None, None)
    assert cat.f1_interval[0] < 0.8 < cat.f1_interval[1]


def test_a_class_that_is_never_answered_has_no_precision_to_be_sure_of():
    one = judged()
    never = dataclasses.replace(one, predictions=np.ones(5, dtype=np.int64))

    cat = score(never).per_class[0]

    assert (cat.precision, cat.precision_interval, cat.recall) == (0.0, None, 0.0)


def test_the_label_counts_as_found_among_the_most_probable_answers():
    probabilities = np.array(
        [[0.4, 0.3, 0.2, 0.1], [0.3, 0.4, 0.2, 0.1], [0.3, 0.2, 0.1, 0.4], [0.25] * 4], dtype=np.float32
    )
    one = dataclasses.replace(
        judged(), classes=tuple("abcd"), labels=np.array([0, 0, 2, 3]), predictions=probabilities.argmax(axis=1),
        probabilities=probabilities, images=tuple("wxyz"), groups=tuple("wxyz"), metadata=({},) * 4,
    )  # fmt: skip

    first, third = score(one).top

    assert (first.answers, first.share) == (1, 0.25)
    # The third image's label comes fourth, and so does the last one's: of equals the first class counts.
    assert (third.answers, third.share) == (3, 0.5)


def test_calibration_is_told_before_and_after_the_temperature():
    before = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
    hotter = before**0.5 / (before**0.5).sum(axis=1, keepdims=True)
    one = dataclasses.replace(
        judged(), classes=("a", "b"), labels=np.array([0, 0, 0, 1]), predictions=np.zeros(4, dtype=np.int64),
        probabilities=hotter.astype(np.float32), images=tuple("wxyz"), groups=tuple("wxyz"), metadata=({},) * 4,
    )  # fmt: skip

    card = score(one, temperature=2.0)

    assert card.calibration_error_before == pytest.approx(0.9 - 0.75, abs=1e-4)
    assert card.calibration_error == pytest.approx(0.0, abs=1e-4)
    assert (card.temperature, sum(one.images for one in card.bins_before)) == (2.0, 4)


def test_a_scorecard_from_before_there_were_intervals_still_loads():
    now = json.loads(json.dumps(score(judged(), ["camera"]).to_json()))
    old_fields = (
        "images", "fingerprint", "accuracy", "interval", "macro_precision", "macro_recall", "macro_f1", "per_class",
        "confusion", "calibration_error", "subgroups",
    )  # fmt: skip
    old = {name: now[name] for name in old_fields}
    old["per_class"] = [
        {name: one[name] for name in ("label", "images", "precision", "recall", "f1")} for one in now["per_class"]
    ]
    old["subgroups"] = [
        {name: one[name] for name in ("column", "value", "images", "accuracy", "interval", "macro_recall")}
        for one in now["subgroups"]
    ]

    card = Scorecard.from_json(old)

    assert (card.accuracy, card.per_class[0].recall) == pytest.approx((0.8, 2 / 3))
    assert (card.top, card.bins, card.weighted_f1, card.per_class[0].recall_interval) == ((), (), None, None)
