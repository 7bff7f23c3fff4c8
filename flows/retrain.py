"""The retrain flow: one job, at its event. What it does is in `retraining`, which knows no Prefect."""

import logging
from typing import Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run as this_run

from flows import prefect_environment
from infra import logs
from infra.settings import load


def cancelled(flow: Any, flow_run: Any, state: Any) -> None:
    """Prefect's hook: a run that a person cancels there takes its job along; else the next look would begin it anew."""
    from flows.jobs.cancel import cancel_of_run

    cancel_of_run(load(), str((flow_run.parameters or {}).get("job_id", "")))


def crashed(flow: Any, flow_run: Any, state: Any) -> None:
    """Prefect's hook: a run whose process died is called for again at once."""
    from flows.jobs.again import call_for_the_dead

    call_for_the_dead(load())


@flow(name="retrain", retries=0, on_cancellation=[cancelled], on_crashed=[crashed])
def retrain(job_id: str = "") -> str:
    """Do the job; without an id, as a person starts it in Prefect, a new one. The answer is how the job ended."""
    # Here, and not above: the runner imports this module too, and stays small.
    from flows.jobs.prefect_pages import PagesOfRun
    from flows.retraining import run_job
    from flows.telling import Logged

    settings = load()
    logs.configure("retrain", settings.storage.home)
    prefect_environment.quieten()
    # Prefect is told to be silent but for warnings; what this run says of its epochs is to be read beside it.
    logging.getLogger("prefect.flow_runs").setLevel(logging.INFO)
    pages = PagesOfRun(settings, str(this_run.get_id() or ""))
    outcome = run_job(settings, job_id or None, "manual", pages.teller(Logged(get_run_logger())))
    pages.end(outcome)
    return str(outcome)
