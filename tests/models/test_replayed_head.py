"""A head fitted anew to logged embeddings."""

import numpy as np
import pytest

from models.replayed_head import LinearHead, fit_linear_head
from models.temperature import best_temperature

CENTRES = 4.0 * np.eye(3, 8)


def clouds(images, seed):
    chance = np.random.default_rng(seed)
    labels = chance.integers(3, size=images)
    return (CENTRES[labels] + chance.standard_normal((images, 8))).astype(np.float32), labels.astype(np.int64)


def test_it_tells_apart_what_its_images_show():
    head = fit_linear_head(*clouds(200, 1), *clouds(60, 2), 3)

    features, labels = clouds(500, 3)
    found = head.probabilities(features)

    assert found.sum(axis=1) == pytest.approx(np.ones(500))
    assert (found.argmax(axis=1) == labels).mean() > 0.97


def test_without_images_to_select_by_those_that_train_do():
    features, labels = clouds(200, 1)

    head = fit_linear_head(features, labels, features[:0], labels[:0], 3)

    assert (head.probabilities(features).argmax(axis=1) == labels).mean() > 0.97


def test_its_confidence_is_as_honest_as_export_would_make_it():
    """Clouds that overlap, few of them: a plain fit would be too sure of itself, or not sure enough."""
    features, labels = clouds(60, 1)
    select, select_labels = clouds(400, 2)

    head = fit_linear_head(0.4 * features, labels, 0.4 * select, select_labels, 3)

    logits = 0.4 * select @ head.weight.T + head.bias
    assert best_temperature(logits, select_labels) == pytest.approx(1.0, abs=0.01)


def test_one_class_alone_makes_no_head():
    features, labels = clouds(50, 1)

    assert fit_linear_head(features[labels == 0], labels[labels == 0], features, labels, 3) is None


def test_large_logits_overflow_nothing():
    head = LinearHead(1e4 * np.eye(3), np.zeros(3))

    assert head.probabilities(np.eye(3)) == pytest.approx(np.eye(3))
