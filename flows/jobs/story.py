"""What there is to tell of a job, gathered from its row, its run directory and the ledger."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flows.workplace import Workplace
from infra.clock import now
from infra.jobs import STREAM, Job, minutes_taken
from infra.ledger import LedgerRow


@dataclass(frozen=True)
class JobStory:
    """
    A job as people and scripts read it.

    Attributes:
        seconds: Of work on it, by all who had it, to its end or until now; None before it began.
        words: How it goes, or what came of it, in a sentence.
        version: What it made or chose; None where nothing.
    """

    id: str
    kind: str
    state: str
    reason: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    attempts: int
    host: str
    version: int | None
    words: str
    run_dir: str | None


@dataclass(frozen=True)
class WholeStory:
    """
    One job with everything that is known of it.

    Attributes:
        evidence: What asked for it, as JSON.
        outcome: What came of it, as JSON; None before its end.
        progress: The newest line its training told; None before.
        ledger: Its rows, oldest first.
    """

    job: JobStory
    evidence: Mapping[str, Any] | None
    outcome: Mapping[str, Any] | None
    progress: Mapping[str, Any] | None
    ledger: tuple[LedgerRow, ...]


def story_of(job: Job) -> JobStory:
    """From the row alone."""
    minutes = minutes_taken(job.started_at, job.finished_at or now(), job.evidence)
    number = (job.outcome or {}).get("version")
    return JobStory(
        id=job.id,
        kind=job.kind,
        state=job.state,
        reason=job.reason,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        seconds=None if minutes is None else 60 * minutes,
        attempts=job.attempts or 0,
        host=job.host,
        version=None if number is None else int(number),
        words=_words(job),
        run_dir=job.run_dir,
    )


def whole_story(place: Workplace, job: Job) -> WholeStory:
    """With its training's newest line and its rows of the ledger."""
    rows = tuple(row for row in place.ledger.rows(STREAM) if row.facts.get("job") == job.id)
    return WholeStory(story_of(job), job.evidence, job.outcome, _progress(job), rows)


def _words(job: Job) -> str:
    outcome = job.outcome or {}
    if job.error:
        return job.error.splitlines()[0]
    if job.state == "running":
        silent = None if job.beat_at is None else now() - job.beat_at
        told = f"; no sign of life for {silent.total_seconds():.0f} s" if silent and silent > _QUIET else ""
        return ("to be cancelled" if job.cancel_asked_at else f"on {job.host}") + told
    if job.state == "queued":
        return "waits to be gone on with" if job.attempts else "waits for the runner of `kedge up`"
    if words := str(outcome.get("words", "")):
        return words
    if (version := outcome.get("version")) is None:
        return ""
    if outcome.get("promoted"):
        return f"version {version}, promoted"
    begun = outcome.get("rollout")
    return f"version {version}, rollout {begun} begun" if begun else f"version {version}, not promoted"


_QUIET = timedelta(seconds=30)


def _progress(job: Job) -> Mapping[str, Any] | None:
    path = Path(job.run_dir or "") / "progress.jsonl"
    if job.run_dir is None or not path.is_file():
        return None
    for line in reversed(path.read_text().splitlines()):
        try:
            told: dict[str, Any] = json.loads(line)
        except ValueError:
            continue  # half a line of a trainer that was killed
        if told.get("kind") == "epoch":
            return told
    return None
