import json
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import writing
from infra.errors import UserError
from infra.ledger import Ledger
from infra.settings_sections import DataSettings
from monitoring import history
from monitoring.forgetting.normals import forget_in_normals, rows_key
from monitoring.reference.profile import IDENTIFIER, Column, ReferenceProfile, load_profile
from monitoring.watch import tick
from monitoring.watching.accept import accept_as_normal, resolve
from monitoring.watching.new_normal import columns_now
from monitoring.watching.state import load_state
from tests.monitoring.block_world import FIRST, a_day, blocks_of, days, lane_of, words_of


def open_alarms(station):
    return [row for row in history.alarms(station.place.engine, station.place.name) if row["acted_on_at"] is None]


@pytest.fixture
def changed(open_station, birds):
    """Six ordinary days, then three on which every picture is strange: the gross lane has alarmed."""
    station = open_station(monitor__burn_in_blocks=5)
    days(station, birds, 0, 6)
    tick(station.place)
    days(station, birds, 6, 9, strange=True)
    tick(station.place)
    assert open_alarms(station)
    return station


def test_a_new_normal_is_fitted_from_what_came_since_the_change_and_begins_the_evidence_anew(changed, birds):
    place = changed.place
    before = load_profile(place.engine, place.objects, place.name, 1)
    last = load_state(place.engine, place.name)

    word = accept_as_normal(place, "the hall was painted", "ada")

    profile = load_profile(place.engine, place.objects, place.name, 1)
    # All but the handful that it took the gross lane to be sure.
    assert 615 <= word.rows <= 625
    assert profile.images == word.rows
    assert abs((word.since - FIRST).days - 6) == 0
    assert profile.judged_errors == before.judged_errors
    assert set(profile.columns["camera"].values) == {"A", "B"}
    assert ReferenceProfile.from_bytes(place.objects.get(word.profile_before)).images == before.images
    assert open_alarms(changed) == []
    state = load_state(place.engine, place.name)
    assert state.evidence.reset_reason == "ada accepted the present as normal: the hall was painted"
    assert all(one.units == 0 and one.alarmed_at is None for one in state.evidence.detectors)
    assert state.evidence.last_number["gross"] == last.evidence.last_number["gross"]
    row = Ledger(place.engine).rows("watch")[-1]
    assert (row.kind, row.actor, row.facts["reason"]) == ("accepted as normal", "ada", "the hall was painted")
    assert row.facts["rows"] == word.rows

    days(changed, birds, 9, 11, strange=True)
    quiet = tick(place)

    assert quiet.alarms == ()
    assert quiet.verdict.action == "nothing"
    # Of the blocks, those since the day of the change are measured beside the new profile.
    assert [block.number for block in blocks_of(changed) if block.measured.epoch == 2] == [8, 9, 10]
    assert words_of(changed).startswith("calibrating: 3 of 5 blocks")


def test_a_day_on_which_the_old_and_the_new_normal_meet_makes_no_block(open_station, birds):
    station = open_station(monitor__burn_in_blocks=5)
    days(station, birds, 0, 6)
    station.arrive(a_day(birds, 6, 100))
    afternoon = [replace(row, at=row.at + timedelta(hours=9)) for row in a_day(birds, 6, 600, strange=True)]
    station.arrive(afternoon)
    tick(station.place)

    word = accept_as_normal(station.place, "painted at noon", "ada")
    days(station, birds, 7, 9, strange=True)
    tick(station.place)

    assert word.since.date() == (FIRST + timedelta(days=6)).date()
    assert [block.started_at for block in blocks_of(station)][-1] == FIRST + timedelta(days=7)
    assert words_of(station).startswith("calibrating: 1 of 5 blocks")


class ObjectsOfABusyPlace:
    """A real store; whoever writes the rows of an accepted normal finds that a watcher has looked meanwhile."""

    def __init__(self, place):
        self.place = place

    def __getattr__(self, name):
        return getattr(self.place.objects, name)

    def put(self, key, data):
        self.place.objects.put(key, data)
        if key.endswith(".rows.json"):
            tick(self.place)


def test_a_word_that_came_in_the_moment_of_a_look_changes_nothing_and_leaves_no_profile_behind(changed):
    place = changed.place
    before = set(place.objects.list("models/"))

    with pytest.raises(UserError, match="The watcher looked in the same moment, and nothing was changed"):
        accept_as_normal(replace(place, objects=ObjectsOfABusyPlace(place)), "painted", "ada")

    assert set(place.objects.list("models/")) == before
    assert open_alarms(changed)


def test_a_column_that_named_sessions_names_them_still_when_few_have_come_since_the_change(reference):
    rows = tuple({"camera": "A", "session": f"s{place // 100}"} for place in range(600))
    profile = replace(reference, columns={**reference.columns, "session": Column(IDENTIFIER, {})})

    columns = columns_now(rows, profile, DataSettings(subgroups=("camera",)))

    assert columns["session"].kind == IDENTIFIER
    assert set(columns["camera"].values) == {"A", "B"}


def test_the_same_look_after_an_accepted_normal_counts_nothing_twice(changed):
    accept_as_normal(changed.place, "painted", "ada")
    tick(changed.place)
    before = load_state(changed.place.engine, changed.place.name)

    tick(changed.place)

    after = load_state(changed.place.engine, changed.place.name)
    assert (after.evidence, after.blocks) == (before.evidence, before.blocks)


def test_too_few_pictures_are_no_normal_and_the_message_says_how_many_are_missing(open_station, birds):
    station = open_station()
    days(station, birds, 0, 2)
    tick(station.place)

    with pytest.raises(UserError, match=r"Only 420 different, whole pictures .* 500 are needed .* Wait for 80 more"):
        accept_as_normal(station.place, "because", "ada")

    assert load_state(station.place.engine, station.place.name).sequence == 1


def test_a_stuck_camera_is_no_normal(open_station, birds):
    station = open_station()
    for number in range(4):
        station.arrive([replace(row, image_sha256="0" * 64) for row in a_day(birds, number)])
    tick(station.place)

    with pytest.raises(UserError, match="Broken pictures are no normal"):
        accept_as_normal(station.place, "because", "ada")


def test_nothing_can_be_accepted_without_a_reason_a_champion_a_profile_or_a_look(open_station, tmp_path):
    empty = open_station(champion=False)
    with pytest.raises(UserError, match="There is no champion yet"):
        accept_as_normal(empty.place, "because", "ada")
    empty.promote(1, tmp_path, None)
    with pytest.raises(UserError, match="no reference profile"):
        accept_as_normal(empty.place, "because", "ada")
    with pytest.raises(UserError, match="Say why"):
        accept_as_normal(empty.place, " ", "ada")


def test_an_input_that_was_mended_begins_anew_and_its_days_leave_the_pool(changed, birds):
    place = changed.place
    profile = load_profile(place.engine, place.objects, place.name, 1)

    word = resolve(place, "the lens was cleaned", "ben")

    assert (word.kind, word.rows) == ("resolved", 0)
    assert load_profile(place.engine, place.objects, place.name, 1).images == profile.images
    assert open_alarms(changed) == []
    assert [block.measured.epoch for block in blocks_of(changed)] == [1] * 6 + [-1] * 2
    days(changed, birds, 9, 11)
    assert tick(place).verdict.action == "nothing"
    assert all(one.alarmed_at is None for one in lane_of(changed).values())
    # The ninth day was still open when the lens was cleaned: its pictures make no block.
    assert [block.started_at for block in blocks_of(changed)][-2:] == [FIRST + timedelta(days=day) for day in (7, 9)]
    with pytest.raises(UserError, match="No alarm is open"):
        resolve(place, "again", "ben")
    assert Ledger(place.engine).verify("watch") is None


def test_a_distance_from_the_origin_is_told_and_asks_a_person_and_bets_nothing(open_station, birds, reference):
    station = open_station(monitor__largest_distance_from_origin=0.3)
    place = station.place
    place.objects.put("models/origin.npz", reference.to_bytes())
    with writing(place.engine) as connection:
        connection.execute(sa.update(schema.profiles).values(origin_key="models/origin.npz"))
    days(station, birds, 0, 2, strange=True)

    outcome = tick(place)

    facts = history.verdicts(place.engine, place.name)[-1]["evidence"]["distance_from_origin"]
    assert facts["beyond"] is True
    assert 0.3 < facts["distance"] <= 1
    assert facts["limit"] == 0.3
    assert Ledger(place.engine).rows("watch")[-1].facts["distance_from_origin"] == facts
    assert 'kedge watch --accept-as-normal "why"' in outcome.verdict.reasons[-1]
    assert all(one.units == 0 for one in lane_of(station).values())


def test_the_first_day_after_an_accepted_normal_is_ranked_once_the_pool_is_whole(changed, birds):
    accept_as_normal(changed.place, "painted", "ada")
    days(changed, birds, 9, 14, strange=True)

    tick(changed.place)

    assert blocks_of(changed)[-1].started_at == FIRST + timedelta(days=12)
    assert [one.units for one in lane_of(changed).values()] == [1] * 4


def test_a_forgotten_prediction_leaves_the_profile_that_was_accepted(changed):
    place = changed.place
    word = accept_as_normal(place, "painted", "ada")
    ids = json.loads(place.objects.get(rows_key(word.profile_key)))

    assert forget_in_normals(place.engine, place.objects, place.name, ids[5]) == 1

    profile = load_profile(place.engine, place.objects, place.name, 1)
    assert profile.images == len(profile.batch) == word.rows - 1
    assert json.loads(place.objects.get(rows_key(word.profile_key))) == ids[:5] + ids[6:]
    assert forget_in_normals(place.engine, place.objects, place.name, ids[5]) == 0


def test_after_a_word_volunteered_labels_do_not_raise_the_line_of_harm(open_station, birds):
    station = open_station(monitor__burn_in_blocks=5, monitor__feedback_is_random="false")
    rows, truths = birds.traffic(600)
    station.arrive([replace(row, at=now() - timedelta(minutes=5)) for row in rows])
    tick(station.place)
    first = load_state(station.place.engine, station.place.name).evidence.units_per_quarter["labelled harm"]
    strange = birds.traffic(200, strange=True)[0]
    station.arrive([replace(row, at=now() - timedelta(minutes=1)) for row in strange])
    tick(station.place)
    station.label(rows, truths)

    resolve(station.place, "the lens was cleaned", "ada")

    after = load_state(station.place.engine, station.place.name).evidence.units_per_quarter["labelled harm"]
    assert after == first
