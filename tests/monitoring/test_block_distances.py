from dataclasses import replace

import numpy as np
import pytest

from monitoring.blocks.distances import distances, origin_distances, reference_of
from monitoring.evidence_records import BLOCK_DETECTORS
from monitoring.watching.batch import Batch, batch_of
from tests.monitoring.birds import BIRDS, EMBEDDING, Birds, bird_profile


def batch(rows) -> Batch:
    return batch_of(rows, len(BIRDS), EMBEDDING)


@pytest.fixture(scope="module")
def plain(reference):
    return reference_of(reference)


def test_the_reference_is_at_no_distance_from_itself(reference, plain):
    found = distances(plain, reference.plain, reference.images)

    assert found == pytest.approx(dict.fromkeys(BLOCK_DETECTORS, 0.0), abs=1e-12)


def test_every_detector_sees_strange_traffic_farther_away_than_ordinary(plain):
    world = Birds(seed=4)
    ordinary = distances(plain, batch(world.traffic(200)[0]), 200)
    strange = distances(plain, batch(world.traffic(200, camera="C", strange=True)[0]), 200)

    assert set(ordinary) == set(BLOCK_DETECTORS)
    assert all(strange[name] > ordinary[name] + 0.1 for name in BLOCK_DETECTORS)


def test_exactly_so_many_predictions_are_measured_and_a_detector_with_fewer_is_left_out(plain):
    rows = Birds(seed=5).traffic(230)[0]
    broken = [replace(row, embedding=None) if place < 40 else row for place, row in enumerate(rows)]

    assert distances(plain, batch(rows), 200) == distances(plain, batch(rows[:200]), 200)
    assert set(distances(plain, batch(broken), 200)) == set(BLOCK_DETECTORS) - {"embedding"}
    assert distances(plain, batch([]), 200) == {}


def test_numbers_that_are_none_are_passed_over(plain):
    rows = Birds(seed=6).traffic(200)[0]
    bad = [replace(row, probabilities=(float("nan"),) * 3, statistics=(float("inf"),) * 7) for row in rows]

    assert set(distances(plain, batch(bad), 200)) == {"embedding", "mix"}


def test_the_mix_is_the_largest_shift_of_a_class_or_a_column(plain):
    rows = Birds(seed=7).traffic(200, camera="A")[0]
    even = [replace(row, metadata={"camera": "AB"[place % 2]}) for place, row in enumerate(rows)]

    # The reference has half of each camera: nothing but A is half of everything elsewhere.
    assert distances(plain, batch(rows), 200)["mix"] == pytest.approx(0.5)
    assert distances(plain, batch(even), 200)["mix"] < 0.15


def test_a_column_that_nobody_sends_does_not_hide_the_others(plain):
    rows = [replace(row, metadata={}) for row in Birds(seed=8).traffic(200)[0]]

    assert distances(plain, batch(rows), 200)["mix"] < 0.15


def test_more_classes_than_twenty_are_pooled():
    classes = tuple(f"bird-{place}" for place in range(30))
    chance = np.random.default_rng(0)
    shares = chance.dirichlet(np.ones(30), 300)
    rows = Batch(
        np.full((300, 9), np.nan), shares, np.zeros((300, EMBEDDING)), tuple(classes[one] for one in shares.argmax(1)),
        ({},) * 300,
    )  # fmt: skip
    many = reference_of(replace(bird_profile(), classes=classes, batch=rows, images=300, columns={}))

    assert len(many.class_columns) == 20
    assert len(many.outputs) == 2 + 20 + 1
    assert distances(many, rows, 300)["outputs"] == pytest.approx(0.0)


def test_the_distance_from_the_origin_lies_between_nought_and_one(plain):
    world = Birds(seed=9)
    far = origin_distances(plain, batch(world.traffic(200, camera="C", strange=True)[0]))

    assert set(far) == set(BLOCK_DETECTORS)
    assert all(0 <= value <= 1 for value in far.values())
    assert far["mix"] == 1.0
    assert origin_distances(plain, batch([])) == {}
