import hashlib
from dataclasses import replace
from datetime import timedelta
from itertools import chain

import numpy as np
import pytest

from infra.clock import new_id
from models.prediction import Prediction
from models.preprocessing import decode_for, normalise, resize
from models.runtime import Runtime
from monitoring.blocks import following as block_following
from monitoring.image_stats import sample_of, statistics_of_all
from monitoring.prediction_log import image_key
from monitoring.reference.profile import save_profile
from monitoring.watch import tick
from tests.monitoring.block_world import FIRST, blocks_of, lane_of, words_of
from tests.monitoring.test_reference_build import card, profile_of
from tests.service.cards import CLASSES, write_candidate

DAYS = 7


class Cards:
    """Days of real pictures of cards, answered by a real network and kept in the object store."""

    def __init__(self, station, tmp_path):
        self.station, self.tmp = station, tmp_path
        self.chance = np.random.default_rng(1)
        # The first day has pictures of its own, the others share theirs.
        self.pictures = [[card(CLASSES[place % 3], self.chance) for place in range(205)] for _ in range(2)]
        for data in chain(*self.pictures):
            station.place.objects.put(image_key(hashlib.sha256(data).hexdigest()), data)

    def promote(self, version, sharpness):
        folder = write_candidate(self.tmp / f"cards-{version}", sharpness=sharpness)
        place = self.station.place
        place.registry.register(folder, reason="test", parent_version=None)
        place.registry.champions.promote(version, actor="test", reason="test")
        self.runtime, self.version = Runtime.open(folder), version
        save_profile(place.engine, place.objects, place.name, replace(profile_of(self.runtime, 250), version=version))

    def day(self, number):
        start = FIRST + timedelta(days=number, hours=1)
        pictures = self.pictures[number > 0]
        preprocessing = self.runtime.artifact.preprocessing
        pixels = [decode_for(data, preprocessing).pixels for data in pictures]
        out = self.runtime.run(normalise(np.stack([resize(one, preprocessing) for one in pixels]), preprocessing))
        statistics = statistics_of_all([sample_of(one, 40, 40) for one in pixels])
        rows = [
            Prediction(
                id=new_id(at := start + timedelta(minutes=place)), at=at, model_version=self.version,
                label=CLASSES[out.probabilities[place].argmax()], confidence=float(out.probabilities[place].max()),
                probabilities=tuple(map(float, out.probabilities[place])), embedding=out.embedding[place],
                statistics=tuple(map(float, statistics[place])), image_sha256=hashlib.sha256(data).hexdigest(),
                image_width=40, image_height=40, image_format="png", image_bytes=len(data), image_kept=True,
                metadata={"camera": "AB"[int(self.chance.integers(2))]},
            )
            for place, data in enumerate(pictures)
        ]  # fmt: skip
        self.station.arrive(rows)
        return rows


@pytest.fixture
def cards(open_station, tmp_path):
    station = open_station(champion=False, monitor__burn_in_blocks=5)
    cards = Cards(station, tmp_path)
    cards.promote(1, sharpness=8.0)
    return cards


@pytest.mark.slow
def test_at_a_promotion_the_pool_is_scored_anew_by_the_successor_and_ranks_go_on_at_once(cards):
    station = cards.station
    for number in range(DAYS):
        cards.day(number)
    tick(station.place)
    before = {block.number: block for block in blocks_of(station)}

    # Half as sure of itself: other probabilities for the same pictures.
    cards.promote(2, sharpness=4.0)
    tick(station.place)
    after = {block.number: block for block in blocks_of(station)}

    assert list(after) == list(before) == [1, 2, 3, 4, 5, 6]
    assert {block.model_version for block in after.values()} == {2}
    assert all(
        set(block.measured.distances[200]) == {"outputs", "embedding", "image statistics", "mix"}
        for block in after.values()
    )
    # Beside the successor's own profile its answers are as near as the predecessor's were beside its own.
    assert np.mean([block.measured.distances[200]["outputs"] for block in after.values()]) < 0.25
    assert not station.place.objects.exists(before[1].sample_key)
    assert station.place.objects.exists(after[1].sample_key)
    assert all(one.units == 0 for one in lane_of(station).values())

    cards.day(DAYS)
    cards.day(DAYS + 1)
    tick(station.place)

    assert words_of(station).startswith("watching: each block of 1 day is ranked among earlier ones, 7 so far")
    assert [one.units for one in lane_of(station).values()] == [1] * 4


@pytest.mark.slow
def test_pictures_that_are_not_kept_any_more_are_skipped_and_said(cards):
    station = cards.station
    first = cards.day(0)
    for number in range(1, DAYS):
        cards.day(number)
    tick(station.place)
    for row in first[:10]:
        station.place.objects.delete(image_key(row.image_sha256))
    cards.promote(2, sharpness=4.0)

    tick(station.place)

    blocks = blocks_of(station)
    # With 195 pictures left of 205 the first day has too few for the outputs, and enough for what needs none.
    assert set(blocks[0].measured.distances[200]) == {"image statistics"}
    assert len(blocks[1].measured.distances[200]) == 4
    assert blocks[0].measured.not_kept == 10
    assert "10 images of earlier blocks are not kept any more and were skipped" in words_of(station)


def test_scoring_anew_is_spread_over_looks_a_block_at_a_time(cards, monkeypatch):
    monkeypatch.setattr(block_following, "_LONGEST_S", 0.0)
    station = cards.station
    for number in range(3):
        cards.day(number)
    for _ in range(3):
        tick(station.place)
    cards.promote(2, sharpness=4.0)

    tick(station.place)
    assert [block.model_version for block in blocks_of(station)] == [2, 1]
    assert "earlier blocks still to be scored anew: 1" in words_of(station)

    tick(station.place)
    assert [block.model_version for block in blocks_of(station)] == [2, 2]
    assert "still to be scored" not in words_of(station)
