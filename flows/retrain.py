"""The retrain flow: one job, at its event or on a schedule. What it does is in `retraining`, which knows no Prefect."""

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows import prefect_environment
from infra import logs
from infra.settings import load


@flow(name="retrain", retries=0)
def retrain(job_id: str = "") -> str:
    """Do the job; without an id, as the cron schedule starts it, a new one. The answer is how the job ended."""
    # Here, and not above: the runner imports this module too, and stays small.
    from flows.retraining import run_job

    settings = load()
    logs.configure("retrain", settings.storage.home)
    prefect_environment.quieten()
    outcome = run_job(settings, job_id or None, "requested" if job_id else "schedule")
    create_markdown_artifact(key="retrain", markdown=f"# {outcome.state}\n\n{outcome.words}\n\njob `{outcome.job_id}`")
    return str(outcome)
