"""A person's word through the command: what it takes, and what the person reads."""

import json
from functools import partial

import pytest

from flows.watching import watch_place
from flows.workplace import open_workplace
from monitoring import history
from monitoring.watch import tick
from monitoring.watching.state import load_state
from tests.monitoring.birds import Birds, Station, bird_profile
from tests.monitoring.block_world import days

TOML = """
[data]
source = "camera"
[monitor]
burn_in_blocks = 5
"""


@pytest.fixture
def station(tmp_path, monkeypatch):
    """Three days of birds, all of them strange; the gross lane has alarmed."""
    (tmp_path / "kedge.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    station = Station(watch_place(open_workplace(tmp_path)))
    station.promote(1, tmp_path, bird_profile())
    days(station, Birds(), 0, 3, strange=True)
    tick(station.place)
    return station


@pytest.fixture
def watch(kedge):
    """`kedge watch` in the current folder: its exit code, standard output and standard error."""
    return partial(kedge, "watch")


def alarms(station):
    return history.alarms(station.place.engine, station.place.name)


def looks(station):
    return load_state(station.place.engine, station.place.name).sequence


def test_an_empty_reason_is_refused_and_no_look_is_taken_instead(station, watch):
    before = looks(station), alarms(station)

    for option in ("--accept-as-normal", "--resolved"):
        code, out, err = watch(option, "")
        assert (code, out) == (1, "")
        assert "Say why, for the ledger" in err

    assert (looks(station), alarms(station)) == before


def test_who_accepts_reads_what_is_normal_now_and_what_was_acted_on(station, watch):
    raised = sorted(f"{row['lane']}/{row['detector']}" for row in alarms(station))

    code, out, _ = watch("--accept-as-normal", "the hall was painted")

    assert code == 0
    normal, acted, before = out.splitlines()
    assert normal.startswith("The present is the new normal: a profile of 6")
    assert normal.endswith(" UTC, 0 of them labelled.")
    assert acted.startswith("Acted on: ")
    assert acted.endswith(". The evidence begins anew.")
    assert all(name in acted for name in raised)
    assert before == "The profile of before stays at models/classifier/1/reference.npz."
    assert all(row["acted_on_at"] for row in alarms(station))


def test_the_same_word_as_json(station, watch):
    code, out, _ = watch("--resolved", "the lens was cleaned", "--json")

    word = json.loads(out)
    assert code == 0
    assert (word["kind"], word["version"], word["rows"]) == ("resolved", 1, 0)
    assert word["profile_key"] == word["profile_before"]
    assert word["alarms"]
