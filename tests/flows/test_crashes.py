"""A few cells of the crash table under a real `kedge up`; `make bench-decisions` fills them all."""

import pytest

from flows.jobs.cancel import cancel_job
from tests.benchmarks.decisions_crash_stage import FLOW, JUDGING, RUNNER, SERVER, TRAINER, TRAINING, stage, until
from tests.benchmarks.decisions_crashes import crash
from tests.flows.jobs.small_projects import little

pytestmark = [pytest.mark.slow, pytest.mark.survival]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    with stage(tmp_path_factory.mktemp("stage") / "cards") as set_up:
        yield set_up


@pytest.mark.parametrize(
    ("victim", "phase"), [(FLOW, TRAINING), (TRAINER, TRAINING), (RUNNER, JUDGING), (SERVER, TRAINING)]
)
def test_whoever_is_killed_the_job_goes_on_and_makes_and_promotes_one_version(here, victim, phase):
    told = crash(here, victim, phase)

    assert (told["state"], told["versions"], told["promotions"]) == ("done", 1, 1), told
    assert little(told["epochs_lost"], told["seconds_lost"]), told
    assert told["orphans"] == 0


@pytest.mark.parametrize("way", ["kedge jobs cancel", "Prefect"])
def test_a_cancelled_job_frees_the_processor_and_is_not_begun_again(here, way):
    job = here.ask_in_quiet()
    until(lambda: here.reached(job, TRAINING))
    trainer = here.victim(job, TRAINER)

    if way == "Prefect":
        here.cancel_in_prefect(job)
    else:
        assert "is cancelled after" in cancel_job(here.place, here.now(job), "ada", within_s=60.0)

    until(lambda: not trainer.is_running() and here.now(job).state == "cancelled")
    # Two looks later nobody has taken it again.
    seen = here.looks()
    until(lambda: here.looks() >= seen + 2, every_s=0.5)
    assert here.now(job).state == "cancelled"
    assert here.made(job) == 0


def test_prefects_pages_show_the_progress_the_curves_and_the_gates_report(here):
    job = here.ask_in_quiet()

    until(lambda: not here.now(job).is_open, every_s=0.5)

    until(lambda: {"retrain-progress", "learning-curves", "gate-report", "verdict"} <= here.artifacts(), every_s=0.5)
