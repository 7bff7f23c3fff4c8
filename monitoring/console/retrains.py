"""Training jobs: the newest in full, the others as a list."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from infra.jobs import minutes_taken
from monitoring.console import words
from monitoring.console.rows import Row, Rows

TONES = {
    "done": "good",
    "running": "active",
    "queued": "active",
    "failed": "bad",
    "refused": "bad",
    "undecided": "warn",
    "declined": "warn",
    "cancelled": "warn",
}
_REASONS = {
    "harm": "Labels showed harm.",
    "drift": "Drift was seen.",
    "performance": "Accuracy fell below trigger.least_accuracy.",
    "bias": "A subgroup lay behind by more than trigger.most_subgroup_gap.",
    "labels": "There were enough new labels.",
    "schedule": "It was time, by trigger.cron.",
    "requested": "It was asked for from outside.",
    "manual": "A person asked for it.",
    "second reading": "A candidate had waited for labels, and is judged with those that came.",
    "classes": "A person asked for a class more.",
    "first": "The first training.",
}
_LISTED = 5


@dataclass(frozen=True)
class Retrain:
    """The newest job; `took` says how long it was worked on, by all who had it."""

    state: str
    tone: str
    reason: str
    asked_at: datetime
    took: str
    outcome: str
    error: str


@dataclass(frozen=True)
class Job:
    kind: str
    state: str
    tone: str
    asked_at: datetime
    reason: str


def newest(found: Rows, present: datetime) -> Retrain | None:
    """The newest job; None before the first."""
    if not found.jobs:
        return None
    job = found.jobs[0]
    took = ""
    minutes = minutes_taken(job["started_at"], job["finished_at"] or present, job["evidence"])
    if minutes is not None:
        took = f"{'took' if job['finished_at'] else 'for'} {words.duration(timedelta(minutes=minutes))}"
    return Retrain(
        state=job["state"],
        tone=TONES.get(job["state"], ""),
        reason=reason(job),
        asked_at=job["created_at"],
        took=took,
        outcome=outcome(job),
        error=job["error"] or "",
    )


def listed(found: Rows) -> tuple[Job, ...]:
    """The newest jobs, newest first."""
    return tuple(
        Job(job["kind"], job["state"], TONES.get(job["state"], ""), job["created_at"], reason(job))
        for job in found.jobs[:_LISTED]
    )


def reason(job: Row) -> str:
    """Why it was asked for, as sentences; a person's own words as they are."""
    given: str = job["reason"]
    several = given.split(", ")
    return " ".join(_REASONS[one] for one in several) if all(one in _REASONS for one in several) else given


def outcome(job: Row) -> str:
    """What came of it, in words; "" while nothing has."""
    said: Mapping[str, Any] = job["outcome"] if isinstance(job["outcome"], Mapping) else {}
    version, promoted = said.get("version"), said.get("promoted")
    if version is None or promoted is None:
        return ""
    if not promoted and said.get("rollout"):
        return f"v{version} went out in rollout {said['rollout']}"
    return f"v{version} was {'promoted' if promoted else 'not promoted'}"
