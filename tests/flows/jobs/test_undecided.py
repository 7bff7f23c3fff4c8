"""A real retrain about which the gate cannot know: it ends undecided, and its candidate waits for labels."""

import json
import subprocess
import sys

import pytest

from infra.jobs import jobs
from models import rollout_runs
from models.gate_needs import needs_from_json
from tests.flows.jobs.small_projects import environment, kedge, make_project, place_of

pytestmark = pytest.mark.slow


def test_a_retrain_with_too_few_judge_images_ends_undecided_and_says_which_labels_it_waits_for(tmp_path):
    folder = make_project(tmp_path / "cards")
    toml = (folder / "kedge.toml").read_text()
    kedge(folder, "train")
    (folder / "kedge.toml").write_text(toml.replace("overall_margin = 1.0", "overall_margin = 0.02"))

    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "retrain"], cwd=folder, env=environment(), text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip

    place = place_of(folder)
    version = place.registry.version(2)
    (need,) = needs_from_json(version.gate)
    assert done.returncode == 3, done.stdout
    assert f"Version 2 is undecided: it waits for {need.labels} more" in " ".join(done.stdout.split())
    assert version.state == "waiting"
    (job, _) = jobs(place.engine)
    assert (job.state, job.outcome["promoted"]) == ("undecided", False)
    assert job.outcome["words"].startswith(f"undecided: waits for {need.labels} more labels of any image")
    (run,) = rollout_runs.open_runs(place.engine, "classifier")
    assert (run.version, run.stage, run.job_id) == (2, "waiting", job.id)
    assert json.loads(kedge(folder, "rollout", "--json"))[0]["stage"] == "waiting"
    assert "undecided: waits for" in kedge(folder, "jobs", "show", job.id[-8:])
