"""The same facts for machines: `/api/state.json`, raw numbers instead of sentences."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from infra.jobs import OPEN
from infra.settings import Settings
from infra.workers import ALIVE
from monitoring.console.happenings import open_alarms
from monitoring.console.rows import Row, Rows
from monitoring.watching.silence import silence

_LAST_WINDOWS = 20


def state(found: Rows, settings: Settings, present: datetime, listening_since: datetime) -> dict[str, Any]:
    """A JSON document, but for its times, which are still times."""
    silent = silence(found.heartbeats.get("watch"), listening_since, present, settings.monitor.silent_after_s)
    return {
        "project": settings.project.name,
        "at": present,
        "champion": _champion(found),
        "verdict": _verdict(found),
        "windows": [_window(row) for row in found.windows[-_LAST_WINDOWS:]],
        "open_alarms": [dict(row) for row in open_alarms(found)],
        "jobs": [_job(row) for row in found.jobs],
        "open_jobs": sum(1 for row in found.jobs if row["state"] in OPEN),
        "workers": [
            {key: row[key] for key in ("host", "pid", "version", "error", "seen_at")}
            for row in found.workers
            if present - row["seen_at"] <= ALIVE
        ],
        "heartbeats": dict(found.heartbeats),
        "watcher_silent": silent is not None,
        "predictions": found.predictions,
    }


def _champion(found: Rows) -> Mapping[str, Any] | None:
    if found.pointer is None:
        return None
    promotion = found.promotions[-1] if found.promotions else {}
    return {
        "name": found.pointer["name"],
        "version": found.pointer["version"],
        "since": found.pointer["changed_at"],
        "previous_version": found.pointer["previous_version"],
        "promoted_by": promotion.get("actor"),
        "reason": promotion.get("reason"),
    }


def _verdict(found: Rows) -> Mapping[str, Any] | None:
    if not found.verdicts:
        return None
    row = found.verdicts[-1]
    kept = {key: row[key] for key in ("action", "at", "reasons", "window_sequence", "evidence")}
    return {**kept, "since": found.verdict_since}


def _window(row: Row) -> Mapping[str, Any]:
    kept = ("sequence", "model_version", "started_at", "ended_at", "predictions", "summary", "report_key")
    return {key: row[key] for key in kept}


def _job(row: Row) -> Mapping[str, Any]:
    kept = ("id", "kind", "state", "reason", "created_at", "started_at", "finished_at", "outcome", "error")
    return {key: row[key] for key in kept}
