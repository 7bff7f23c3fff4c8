import json

import numpy as np
import pytest

from models.evaluation import Judged
from models.scorecard import Scorecard, calibration_error, score

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


def test_honest_confidence_has_no_calibration_error():
    right = np.array([True] * 8 + [False] * 2)

    assert calibration_error(np.full(10, 0.8), right) == pytest.approx(0.0)
    assert calibration_error(np.full(10, 1.0), right) == pytest.approx(0.2)
