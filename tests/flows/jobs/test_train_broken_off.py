"""`kedge train`, killed once its version was registered: what the same command makes of it, also with other images."""

import json
import signal
import subprocess
import sys

import pytest

from flows.collecting.manifest import kept_manifest
from infra.jobs import jobs
from infra.ledger import Ledger
from monitoring.reference.profile import load_profile
from tests.flows.jobs.small_projects import DYING, environment, kedge, make_project, place_of

pytestmark = pytest.mark.slow
PATIENCE_S = 300

TRAIN = (
    DYING
    + """
import logging
from flows.first_model import train
from flows.telling import Logged
from flows.workplace import open_workplace
train(open_workplace(Path.cwd()), Logged(logging.getLogger()))
"""
)
AFTER_REGISTERING = "models.registry:Registry.register"
AFTER_THE_PROFILE = "flows.candidate:write_profile"


def broken_off(folder, deed):
    """A project whose first training died right after the deed."""
    make_project(folder)
    command = [sys.executable, "-c", TRAIN, deed]
    died = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    place = place_of(folder)
    assert [one.version for one in place.registry.versions()] == [1]
    assert place.registry.champions.current() is None
    return place


def with_fewer_images(folder):
    """Twenty images fewer than before, of every role."""
    rows = (folder / "manifest.csv").read_text().splitlines()
    (folder / "manifest.csv").write_text("\n".join(rows[:-20]))
    return len(rows) - 1 - 20


def profile_of(place, version):
    return load_profile(place.engine, place.objects, place.registry.name, version)


def test_with_the_same_images_the_version_is_completed_and_no_other_is_made(tmp_path):
    place = broken_off(tmp_path / "cards", AFTER_REGISTERING)
    assert profile_of(place, 1) is None

    said = kedge(place.settings.root, "train")

    assert "Version 1 is champion" in said
    assert [one.version for one in place.registry.versions()] == [1]
    assert profile_of(place, 1) is not None
    assert [job.state for job in jobs(place.engine)] == ["done"]


@pytest.mark.parametrize("deed", [AFTER_REGISTERING, AFTER_THE_PROFILE])
def test_with_other_images_a_version_of_its_own_is_made_and_the_old_one_never_answers(tmp_path, deed):
    place = broken_off(tmp_path / "cards", deed)
    images = with_fewer_images(place.settings.root)

    said = kedge(place.settings.root, "train")

    assert "images or settings have changed" in said
    champion = place.registry.champion()
    assert champion.version == 2
    assert profile_of(place, 2) is not None
    kept = kept_manifest(place, champion)
    assert len(kept.rows) + len(kept.judge) == images
    assert [(job.state, (job.outcome or {}).get("version")) for job in jobs(place.engine)] == [
        ("done", 2), ("cancelled", None),
    ]  # fmt: skip
    assert jobs(place.engine)[1].error.startswith("broken off after version 1 was registered")
    # One that nobody could watch must not come back from the archive either.
    assert place.registry.version(1).state == ("refused" if deed == AFTER_REGISTERING else "registered")
    assert json.dumps([row.facts.get("version") for row in Ledger(place.engine).rows("decisions")]).count("2") == 1
