"""The retrain flow: one job, at its event or on a schedule. What it does is in `retraining`, which knows no Prefect."""

import logging

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows import prefect_environment
from infra import logs
from infra.settings import load


@flow(name="retrain", retries=0)
def retrain(job_id: str = "") -> str:
    """Do the job; without an id, as the cron schedule starts it, a new one. The answer is how the job ended."""
    # Here, and not above: the runner imports this module too, and stays small.
    from flows.retraining import run_job
    from flows.telling import Logged

    settings = load()
    logs.configure("retrain", settings.storage.home)
    prefect_environment.quieten()
    # Prefect is told to be silent but for warnings; what this run says of its epochs is to be read beside it.
    logging.getLogger("prefect.flow_runs").setLevel(logging.INFO)
    teller = Logged(get_run_logger())
    outcome = run_job(settings, job_id or None, "requested" if job_id else "schedule", teller)
    create_markdown_artifact(key="retrain", markdown=f"# {outcome.state}\n\n{outcome.words}\n\njob `{outcome.job_id}`")
    return str(outcome)
