"""
The event that starts a retrain at once.

It only makes things fast: the job's row is the truth, and the watcher calls again for a job that nobody took.
"""

import logging
import uuid

import httpx

from flows import prefect_environment
from infra.clock import now
from infra.settings import Settings

REQUESTED = "kedge.retrain.requested"
_log = logging.getLogger(__name__)
_PATIENCE_S = 5.0


def resource_of(settings: Settings, job_id: str) -> str:
    """The event's subject: the project is in it, since a team's Prefect serves several."""
    return f"kedge.{settings.project.name}.job.{job_id}"


def call_for_retrain(settings: Settings, job_id: str, attempt: int = 0) -> bool:
    """
    Tell Prefect that the job waits; False when Prefect was not reached, which is logged and no error.

    Over HTTP rather than by Prefect's own client: it is heard, or it is known that it was not.

    attempt: so many have died; repeated calls for one attempt start one run, and the next attempt another.
    """
    subject = f"{job_id}.{attempt}" if attempt else job_id
    event = {
        "id": str(uuid.uuid4()),
        "event": REQUESTED,
        "occurred": now().isoformat(),
        "resource": {"prefect.resource.id": resource_of(settings, subject), "kedge.job": job_id},
        "payload": {"job_id": job_id},
    }
    try:
        url = f"{prefect_environment.api_url(settings)}/events"
        httpx.post(url, json=[event], timeout=_PATIENCE_S).raise_for_status()
    except httpx.HTTPError as error:
        _log.warning("Prefect could not be told of job %s (%s); the watcher will call again", job_id, error)
        return False
    return True
