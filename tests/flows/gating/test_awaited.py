"""What counts towards the labels that an undecided candidate waits for."""

from dataclasses import replace
from datetime import timedelta

import pytest

from flows.gating.awaited import awaited
from infra.clock import now
from models.gate_records import GateDecision
from models.prediction import Label
from monitoring.labelling.awaited import are_enough
from monitoring.labelling.waiting import most_labels
from tests.flows.gating.opinions import STRICT, open_project
from tests.flows.gating.test_gate_command import candidate_of, labelled, manifest


@pytest.fixture
def project(tmp_path, monkeypatch):
    def made(settings: str = ""):
        place = open_project(tmp_path / "project", STRICT + settings)
        manifest(tmp_path / "project", wrong=(0.05, 0.05, 0.0))
        monkeypatch.chdir(tmp_path / "project")
        _, version = candidate_of(place, tmp_path, reason="harm")
        return place, version

    return made


def recent(place, version):
    (found,) = [one for one in awaited(place, version) if (one.need.group, one.need.scope) == ("overall", "recent")]
    return found


@pytest.mark.parametrize("stratum", ["gate", "audit"])
def test_labels_that_were_asked_for_by_chance_count_whoever_asked(project, stratum):
    place, version = project()

    labelled(place, 7, stratum=stratum)

    assert GateDecision.from_json(version.gate).outcome == "undecided"
    assert recent(place, version).come == 7


def test_what_people_hand_in_counts_only_where_chance_drew_it(project):
    place, version = project()

    labelled(place, 7, stratum=None)

    assert recent(place, version).come == 0


def test_where_all_that_is_handed_in_is_drawn_by_chance_it_counts(project):
    place, version = project("[monitor]\nfeedback_is_random = true\n")

    labelled(place, 7, stratum=None)

    assert recent(place, version).come == 7
    # Nothing that came lately tells of the old world.
    assert all(one.come == 0 for one in awaited(place, version) if one.need.scope == "old")


def test_a_label_that_is_handed_in_again_is_no_new_one(project):
    place, version = project("[monitor]\nfeedback_is_random = true\n")
    labelled(place, 7, stratum=None)
    later = replace(version, labels_until=now())

    ids = place.log.labelled(columns=("id", "true_label")).rows()
    at = now() + timedelta(seconds=1)
    again = [Label(one, truth, at, "ann", sequence=100 + row) for row, (one, truth) in enumerate(ids)]
    place.log.append_labels("l", 2, list(enumerate(again)))

    assert recent(place, version).come == 7
    assert recent(place, later).come == 0


def test_what_people_cannot_label_in_time_is_not_waited_for(project):
    place, version = project()
    waits = awaited(place, version)
    hopeless = [replace(one.need, group="class=a", labels=5_000, different=None) for one in waits[:1]]
    come = [replace(one, come=one.need.labels) for one in waits if (one.need.different or one.need.labels) <= 280]

    most = most_labels(place.settings)
    assert come
    assert most == 280
    assert are_enough([*come, *(replace(waits[0], need=one) for one in hopeless)], most)
    assert not are_enough([replace(one, come=one.need.labels - 1) for one in come], most)
