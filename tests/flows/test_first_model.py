"""What `kedge train` makes of a job that was broken off once its version was registered; nothing is trained here."""

import shutil

import pytest

from flows import first_model
from flows.collecting.preparing import prepared
from flows.orders import FIRST, Order
from infra.errors import UserError
from infra.job_claims import hand_back
from infra.jobs import claim_job, find_job, jobs, open_jobs, queue_job
from tests.flows.card_project import KNOWS, Heard, project
from tests.service.cards import write_candidate


class Begun(Exception):
    """Where training would begin."""


@pytest.fixture
def place(tmp_path):
    return project(tmp_path)


@pytest.fixture
def broken_off(place):
    """The job of a training that had filled its run directory and registered version 1, when it was stopped."""
    job = claim_job(place.engine, queue_job(place.engine, "train", "first").id)
    run_dir = place.settings.storage.home / "runs" / job.id
    prepared(place, Order(FIRST, "first", run_dir, job_id=job.id), None, Heard())
    made = write_candidate(place.settings.root / "made", sharpness=KNOWS)
    place.registry.register(made, reason="first", parent_version=None, gate={}, job_id=job.id)
    hand_back(place.engine, job, "stopped")
    return job


def goes_on_with(place, monkeypatch):
    """The job with which training would go on, and what was said before."""

    def begin(*_args):
        raise Begun

    monkeypatch.setattr(first_model, "make_candidate", begin)
    heard = Heard()
    with pytest.raises(Begun):
        first_model.train(place, heard)
    return jobs(place.engine, last=1)[0].id, heard.words


def test_with_the_same_images_and_settings_the_job_goes_on(place, broken_off, monkeypatch):
    job, said = goes_on_with(place, monkeypatch)

    assert job == broken_off.id
    assert not [words for words in said if "anew" in words]
    assert place.registry.version(1).state == "registered"


def test_with_other_images_it_is_closed_and_its_unwatchable_version_is_refused(place, broken_off, monkeypatch):
    manifest = place.settings.root / "manifest.csv"
    manifest.write_text("\n".join(manifest.read_text().splitlines()[:-9]))

    job, said = goes_on_with(place, monkeypatch)

    assert job != broken_off.id
    old = find_job(place.engine, broken_off.id)
    why = "broken off after version 1 was registered; images or settings have changed since"
    assert (old.state, old.error) == ("cancelled", f"{why}, so that it cannot be completed and is refused")
    assert f"Job {old.id} was {old.error}. Training begins anew." in said
    assert place.registry.version(1).state == "refused"
    row = place.ledger.rows("models")[-1]
    assert (row.kind, row.facts["version"], row.actor) == ("withdrawn", 1, "kedge train")
    assert place.registry.version_of_job(job) is None
    assert open_jobs(place.engine) == ()


@pytest.mark.parametrize("deed", ["is_as_begun", "load_profile"])
@pytest.mark.parametrize("end", [UserError("the manifest lacks a column"), KeyboardInterrupt()])
def test_what_fails_or_is_stopped_before_the_training_leaves_the_job_waiting_and_counts_no_attempt(
    place, broken_off, monkeypatch, deed, end
):
    manifest = place.settings.root / "manifest.csv"
    manifest.write_text("\n".join(manifest.read_text().splitlines()[:-9]))

    def stop(*_args):
        raise end

    monkeypatch.setattr(first_model, deed, stop)

    for _ in range(2):
        with pytest.raises(type(end)):
            first_model.train(place, Heard())

    job = find_job(place.engine, broken_off.id)
    assert (job.state, job.attempts) == ("queued", 0)


def test_where_its_run_directory_was_tidied_away_the_words_say_that(place, broken_off, monkeypatch):
    shutil.rmtree(place.settings.storage.home / "runs" / broken_off.id)

    job, _ = goes_on_with(place, monkeypatch)

    assert job != broken_off.id
    why = "broken off after version 1 was registered; its run directory is gone"
    told = f"{why}, so that it cannot be completed and is refused"
    assert find_job(place.engine, broken_off.id).error == told
