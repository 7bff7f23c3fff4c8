"""What counts towards the labels that an undecided candidate waits for."""

import pytest

from flows.gating.awaited import awaited
from models.gate_records import GateDecision
from tests.flows.gating.opinions import open_project
from tests.flows.gating.test_gate_command import candidate_of, labelled, manifest

SETTINGS = """\
[data]
manifest = "manifest.csv"
near_duplicate_distance = 0
[gate]
overall_margin = 0.04
class_margin = 0.06
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    def made(settings: str = ""):
        place = open_project(tmp_path / "project", SETTINGS + settings)
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
