"""Who serves, since when and why; and every version beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from infra.workers import ALIVE
from monitoring.console import words
from monitoring.console.rows import Row, Rows

_TONES = {"champion": "good", "registered": "active", "refused": "bad", "waiting": "warn"}
_LISTED = 6


@dataclass(frozen=True)
class Champion:
    """`previous` is the version that a rollback returns to; `serving` says how many workers answer with this one."""

    name: str
    version: int
    since: datetime
    actor: str
    reason: str
    previous: int | None
    accuracy: str
    serving: str
    serving_tone: str
    errors: tuple[str, ...]
    card_href: str


@dataclass(frozen=True)
class Version:
    version: int
    state: str
    tone: str
    accuracy: str
    reason: str
    card_href: str


def champion(found: Rows, present: datetime) -> Champion | None:
    """The version that the pointer names; None before the first promotion."""
    if found.pointer is None:
        return None
    version = next((row for row in found.versions if row["version"] == found.pointer["version"]), None)
    promotion = found.promotions[-1] if found.promotions else None
    alive = [worker for worker in found.workers if present - worker["seen_at"] <= ALIVE]
    current = sum(1 for worker in alive if worker["version"] == found.pointer["version"])
    serving, tone = f"{words.plural(len(alive), 'worker')} up", "good"
    if not alive:
        serving, tone = "no worker is up", "warn"
    elif current < len(alive):
        serving, tone = f"{current} of {words.plural(len(alive), 'worker')} on this version", "warn"
    judged = _scores(version).get("accuracy")
    images = _scores(version).get("images")
    return Champion(
        name=found.pointer["name"],
        version=found.pointer["version"],
        since=found.pointer["changed_at"],
        actor=promotion["actor"] if promotion else "unknown",
        reason=promotion["reason"] if promotion else "",
        previous=found.pointer["previous_version"],
        accuracy=f"{words.percent(judged)} right of {words.count(images)} held-out images" if judged and images else "",
        serving=serving,
        serving_tone=tone,
        errors=tuple(f"Worker {worker['pid']}: {worker['error']}" for worker in alive if worker["error"]),
        card_href=report_href(version["card_key"]) if version else "",
    )


def versions(found: Rows) -> tuple[Version, ...]:
    """The newest versions, refused ones too, newest first."""
    return tuple(
        Version(
            version=row["version"],
            state=row["state"],
            tone=_TONES.get(row["state"], ""),
            accuracy=words.percent(_scores(row).get("accuracy")),
            reason=row["reason"],
            card_href=report_href(row["card_key"]),
        )
        for row in reversed(found.versions[-_LISTED:])
    )


def report_href(key: str | None) -> str:
    """Where a stored page is served; "" without one."""
    return f"reports/{quote(key)}" if key else ""


def _scores(version: Row | None) -> Mapping[str, float]:
    card = (version or {}).get("scorecard")
    found = card if isinstance(card, Mapping) else {}
    return {key: found[key] for key in ("accuracy", "images") if isinstance(found.get(key), int | float)}
