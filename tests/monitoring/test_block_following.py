from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import writing
from infra.ledger import Ledger
from monitoring import history
from monitoring.blocks.cutting import Block, Measured
from monitoring.blocks.distances import distances, reference_of
from monitoring.blocks.following import follow_blocks
from monitoring.blocks.judging import BlockState, judge
from monitoring.blocks.rescoring import unanswered
from monitoring.blocks.rows import forget_in_blocks
from monitoring.blocks.sample import BlockSample, sample_key
from monitoring.evidence import begin
from monitoring.evidence_records import EvidenceSettings
from monitoring.watch import tick
from monitoring.watching.counting import count
from monitoring.watching.gathering import gather
from monitoring.watching.state import load_state
from tests.monitoring.birds import BIRDS, bird_profile
from tests.monitoring.block_world import FIRST, a_day, blocks_of, days, lane_of, words_of


def test_a_day_becomes_a_block_once_the_next_one_has_begun(open_station, birds):
    station = open_station()
    days(station, birds, 0, 2)
    tick(station.place)

    (block,) = blocks_of(station)

    assert (block.number, block.started_at, block.ended_at) == (1, FIRST, FIRST + timedelta(days=1))
    assert block.predictions == 210
    assert set(block.measured.distances) == {200}
    assert set(block.measured.distances[200]) == {"outputs", "embedding", "image statistics", "mix"}
    assert set(block.measured.atypical) == {"image statistics", "embedding", "output uncertainty", "metadata"}
    assert words_of(station) == "calibrating: 1 of 14 blocks of 1 day; gross change and labelled harm are watched"


def test_a_look_that_is_repeated_closes_no_block_twice(open_station, birds):
    station = open_station(monitor__burn_in_blocks=5)
    days(station, birds, 0, 9)
    tick(station.place)
    before = (blocks_of(station), lane_of(station), load_state(station.place.engine, station.place.name).blocks)

    tick(station.place)

    assert (blocks_of(station), lane_of(station), load_state(station.place.engine, station.place.name).blocks) == before
    assert [one.units for one in before[1].values()] == [3] * 4


def test_a_look_that_was_broken_off_after_its_samples_were_written_is_simply_repeated(open_station, birds, tmp_path):
    station = open_station(monitor__burn_in_blocks=5)
    days(station, birds, 0, 9)
    place = station.place
    champion, profile = place.registry.champion(), bird_profile()
    before = load_state(place.engine, place.name)
    gathered = gather(place, champion, profile, before)
    broken_off = follow_blocks(place, champion, profile, before, count(gathered, place.settings, now()), now())

    tick(place)

    assert list(broken_off.changes.written) == blocks_of(station)
    assert lane_of(station) == {
        one.name: one for one in broken_off.counted.state.evidence.detectors if one.lane == "blocks"
    }


@pytest.mark.slow
def test_days_that_arrive_one_by_one_come_to_the_same_as_all_at_once(open_station, birds, tmp_path):
    one_by_one, at_once = (open_station(folder=tmp_path / name, monitor__burn_in_blocks=5) for name in "ab")
    # What burn-in has shown to be benign is known on the sixth day, whatever comes after it.
    rows = [a_day(birds, number) for number in range(6)]
    rows += [
        [strange if place % 4 == 0 else row for place, (row, strange) in enumerate(zip(usual, odd, strict=True))]
        for usual, odd in ((a_day(birds, number), a_day(birds, number, lighter=9.0)) for number in (6, 7, 8))
    ]
    for day in rows:
        one_by_one.arrive(day)
        at_once.arrive(day)
        tick(one_by_one.place)

    tick(at_once.place)

    assert words_of(at_once).startswith("watching: each block of 1 day is ranked among earlier ones, 8 so far")
    assert lane_of(one_by_one) == lane_of(at_once)
    assert [block.measured for block in blocks_of(one_by_one)] == [block.measured for block in blocks_of(at_once)]
    tolerated = [
        {one.name: one.null for one in load_state(station.place.engine, station.place.name).evidence.detectors}
        for station in (one_by_one, at_once)
    ]
    assert tolerated[0] == tolerated[1]


@pytest.mark.slow
def test_pictures_that_are_a_little_lighter_every_day_from_now_on_raise_the_alarm_of_their_detector(
    open_station, birds
):
    station = open_station()
    days(station, birds, 0, 15)
    assert tick(station.place).alarms == ()
    days(station, birds, 15, 24, lighter=1.0)

    outcome = tick(station.place)

    alarms = [alarm for alarm in outcome.alarms if alarm.lane == "blocks"]
    assert {alarm.detector for alarm in alarms} == {"image statistics"}
    assert alarms[0].facts["changed_since"] == (FIRST + timedelta(days=15)).isoformat()
    assert 19 <= alarms[0].facts["alarmed_at"] <= 23
    assert history.alarms(station.place.engine, station.place.name)[-1]["lane"] == "blocks"
    look = Ledger(station.place.engine).rows("watch")[-1]
    assert look.facts["blocks"] == list(range(15, 24))


def test_late_predictions_are_left_out_and_said(open_station, birds):
    station = open_station()
    days(station, birds, 0, 2)
    tick(station.place)
    station.arrive(a_day(birds, 0, 30), spool="worker-1")
    days(station, birds, 2, 3)

    tick(station.place)

    assert [block.predictions for block in blocks_of(station)] == [210, 210]
    assert words_of(station).endswith("30 predictions came after their block was closed and are left out")


def test_a_clock_that_runs_ahead_ends_no_block(open_station, birds):
    station = open_station()
    days(station, birds, 0, 1)
    ahead = [replace(row, at=now() + timedelta(days=400)) for row in a_day(birds, 1, 5)]
    station.arrive(ahead)

    outcome = tick(station.place)

    assert outcome.verdict is not None
    assert blocks_of(station) == []


def test_rows_without_usable_numbers_leave_their_detectors_unmeasured_and_the_watch_going(open_station, birds):
    station = open_station()
    bad = [replace(row, probabilities=(float("nan"),) * 3, embedding=None) for row in a_day(birds, 0)]
    station.arrive(bad)
    days(station, birds, 1, 2)

    outcome = tick(station.place)

    assert outcome.verdict is not None
    assert set(blocks_of(station)[0].measured.distances[200]) == {"image statistics", "mix"}


def test_after_burn_in_the_gross_lane_tolerates_twice_the_largest_benign_share(open_station, birds):
    station = open_station(monitor__burn_in_blocks=5)
    for number in range(6):
        # One picture in seven is strange on every day: benign here, and below the first tolerance.
        usual, strange = a_day(birds, number), a_day(birds, number, lighter=9.0)
        station.arrive([strange[place] if place % 7 == 0 else row for place, row in enumerate(usual)])
    tick(station.place)

    evidence = load_state(station.place.engine, station.place.name).evidence
    nulls = {one.name: one.null for one in evidence.detectors if one.lane == "gross"}
    largest = max(block.measured.atypical["image statistics"] for block in blocks_of(station))

    assert largest == pytest.approx(30 / 210, abs=0.05)
    assert nulls["image statistics"] == pytest.approx(2 * largest + 0.05)
    assert nulls["embedding"] == 0.20


def test_blocks_of_one_hour_have_a_longer_burn_in(open_station, birds):
    station = open_station(monitor__block="1 hour")
    days(station, birds, 0, 2)

    tick(station.place)

    assert words_of(station).startswith("calibrating: 1 of 48 blocks")


def test_another_length_of_block_begins_a_new_pool_from_what_the_log_holds(open_station, birds):
    station = open_station(monitor__burn_in_blocks=5)
    days(station, birds, 0, 8)
    tick(station.place)
    longer = open_station(champion=False, monitor__burn_in_blocks=5, monitor__block="2 days")

    tick(longer.place)

    assert words_of(longer).startswith("calibrating: 4 of 5 blocks")
    assert [block.number for block in blocks_of(longer) if block.measured.epoch == 2] == [8, 9, 10, 11]


def test_a_successor_that_cannot_be_run_keeps_only_what_needs_no_model(open_station, birds, tmp_path):
    station = open_station(monitor__burn_in_blocks=5)
    days(station, birds, 0, 8)
    tick(station.place)
    station.promote(2, tmp_path, bird_profile(2))

    outcome = tick(station.place)

    assert outcome.verdict is not None
    assert {tuple(block.measured.distances[200]) for block in blocks_of(station)} == {("image statistics",)}
    assert {block.model_version for block in blocks_of(station)} == {2}
    assert "the champion could not be run on earlier images" in words_of(station)
    assert "still calibrating: outputs (0), embedding (0), mix (0)" in words_of(station)


def test_blocks_that_resemble_the_one_before_are_merged_in_pairs(open_station, birds):
    station = open_station(monitor__burn_in_blocks=12)
    for number in range(13):
        # Brightness comes in spells that last longer than a day.
        days(station, birds, number, number + 1, lighter=1.5 * (number >= 6))
    tick(station.place)
    days(station, birds, 13, 14, lighter=0)

    tick(station.place)

    state = load_state(station.place.engine, station.place.name)
    assert state.blocks.units == 2
    assert "resembles the one before (image statistics: correlation" in words_of(station)
    assert "so a block is now 2 days" in words_of(station)
    assert words_of(station).startswith("calibrating: 6 of 12 blocks")
    assert [block.predictions for block in blocks_of(station)] == [420] * 6
    assert all(one.units == 0 for one in lane_of(station).values())


@pytest.mark.slow
def test_blocks_that_resemble_the_one_before_are_noticed_though_a_look_closes_many_of_them(open_station, birds):
    station = open_station(monitor__burn_in_blocks=12)
    for number in range(15):
        days(station, birds, number, number + 1, lighter=1.5 * (6 <= number < 13))

    # Fourteen blocks are closed at once; twelve of them are what is looked at.
    tick(station.place)

    assert load_state(station.place.engine, station.place.name).blocks.units == 2
    assert "so a block is now 2 days" in words_of(station)


def test_a_lane_that_has_alarmed_keeps_its_alarm_however_alike_its_blocks_are():
    blocks = [
        Block(number, FIRST, FIRST, 210, 1, Measured(1, {200: {"outputs": 0.1 + 0.1 * (number > 6)}}), "")
        for number in range(1, 13)
    ]
    lane = BlockState(version=1, epoch=1, seconds=86_400)
    fresh = begin(model_version=1, reason="first look", judged_errors={}, settings=EvidenceSettings(burn_in_blocks=12))
    alarmed = tuple(
        replace(one, alarmed_at=3) if one.lane == "blocks" and one.name == "mix" else one for one in fresh.detectors
    )

    quiet = judge(fresh, lane, blocks, EvidenceSettings(burn_in_blocks=12))
    stands = judge(replace(fresh, detectors=alarmed), lane, blocks, EvidenceSettings(burn_in_blocks=12))

    assert quiet.doubles
    assert not stands.doubles


def test_a_day_that_the_successor_could_not_answer_can_be_merged_with_one_of_its_own(open_station, birds):
    station = open_station()
    days(station, birds, 0, 2)
    tick(station.place)
    sample = BlockSample.from_bytes(station.place.objects.get(blocks_of(station)[0].sample_key))
    successor = bird_profile(2)

    merged = unanswered(sample, successor).sample.merged(replace(sample, version=2), 1_000)

    assert len(merged) == 420
    found = distances(reference_of(successor), merged.batch(successor), 200)
    assert set(found) == {"outputs", "embedding", "image statistics", "mix"}


def test_a_class_list_that_changed_stops_nothing(open_station, birds, tmp_path):
    station = open_station(monitor__burn_in_blocks=5)
    days(station, birds, 0, 7)
    tick(station.place)
    known = bird_profile(2)
    wider = np.hstack([known.batch.probabilities, np.zeros((len(known.batch), 1))])
    profile = replace(known, classes=(*BIRDS, "swan"), batch=replace(known.batch, probabilities=wider))
    station.promote(2, tmp_path, profile)
    birds.version = 2
    days(station, birds, 7, 9)

    outcome = tick(station.place)

    assert outcome.verdict is not None
    assert "outputs" not in blocks_of(station)[-1].measured.distances[200]
    assert "embedding" in blocks_of(station)[-1].measured.distances[200]


def test_a_forgotten_prediction_leaves_the_sample_of_its_block(open_station, birds):
    station = open_station()
    rows = a_day(birds, 0)
    station.arrive(rows)
    days(station, birds, 1, 2)
    tick(station.place)
    (block,) = blocks_of(station)
    place = station.place

    assert forget_in_blocks(place.objects, place.name, rows[3].id) == 1

    sample = BlockSample.from_bytes(place.objects.get(block.sample_key))
    assert len(sample) == 209
    assert rows[3].id not in sample.ids
    assert forget_in_blocks(place.objects, place.name, rows[3].id) == 0


def test_a_forgotten_prediction_leaves_a_sample_that_a_killed_look_has_left_behind(open_station, birds):
    station = open_station()
    rows = a_day(birds, 0)
    station.arrive(rows)
    days(station, birds, 1, 2)
    tick(station.place)
    place, (block,) = station.place, blocks_of(station)
    left_behind = sample_key(place.name, 1, 77)
    place.objects.put(left_behind, place.objects.get(block.sample_key))

    assert forget_in_blocks(place.objects, place.name, rows[3].id) == 2

    assert rows[3].id not in BlockSample.from_bytes(place.objects.get(left_behind)).ids


def test_a_block_lane_that_fails_leaves_the_other_lanes_and_says_so(open_station, birds):
    station = open_station(monitor__block="1 day", monitor__burn_in_blocks=5)
    days(station, birds, 0, 6)
    tick(station.place)
    with writing(station.place.engine) as connection:
        connection.execute(sa.update(schema.blocks).values(distances={"nonsense": 1}))
    days(station, birds, 6, 7, strange=True)

    outcome = tick(station.place)

    assert {alarm.lane for alarm in outcome.alarms} == {"gross"}
    said = history.verdicts(station.place.engine, station.place.name)[-1]["evidence"]["block_lane"]
    assert said.startswith("not followed (")
