"""Telling people: a line in the log, and a web hook where one is set."""

import logging
from collections.abc import Mapping
from typing import Any

import httpx

from infra.clock import now
from infra.settings import Settings

_log = logging.getLogger(__name__)
_PATIENCE_S = 5.0


def notify(settings: Settings, kind: str, words: str, facts: Mapping[str, Any] | None = None) -> bool:
    """
    Log `words`, and post them to `notify.webhook`; True when they reached it, or none is set.

    The body is `{"project", "kind", "text", "at", "facts"}`; chat services show its `text` as it is.
    Whatever goes wrong is logged: the caller has something more important to do.
    """
    _log.warning("%s: %s", kind, words)
    if not settings.notify.webhook:
        return True
    body = {
        "project": settings.project.name,
        "kind": kind,
        "text": words,
        "at": now().isoformat(),
        "facts": dict(facts or {}),
    }
    try:
        # Not through a proxy of the environment: a web hook is often inside the house.
        httpx.post(settings.notify.webhook, json=body, timeout=_PATIENCE_S, trust_env=False).raise_for_status()
    except Exception:  # noqa: BLE001 - logged; the caller has something more important to do
        _log.exception("The web hook in notify.webhook did not take '%s'", kind)
        return False
    return True
