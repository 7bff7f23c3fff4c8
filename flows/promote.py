"""Promotion and rollback: move the pointer, then wait until every serving worker answers with the new version."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from flows.workplace import Workplace
from infra.errors import UserError
from infra.workers import live_workers
from models.registry import Promotion

_POLL_S = 0.1


@dataclass(frozen=True)
class Rollout:
    """
    What a change of champion came to.

    Attributes:
        workers: Serving workers that confirmed the version; 0 means nobody is serving yet.
        seconds: From the pointer's change to the last confirmation.
    """

    promotion: Promotion
    workers: int
    seconds: float


def promote(place: Workplace, version: int, *, actor: str, reason: str, wait_s: float = 30.0) -> Rollout:
    """
    Make `version` the champion everywhere.

    Raises:
        UserError: there is no such version; or a worker refused it or did not take it within `wait_s`
            seconds, in which case the pointer is put back.
    """
    return _roll_out(place, lambda: place.registry.promote(version, actor=actor, reason=reason), wait_s)


def roll_back(place: Workplace, *, actor: str, reason: str, wait_s: float = 30.0) -> Rollout:
    """
    Return to the champion before; the same promises as `promote`.

    Raises:
        UserError: no version was champion before.
    """
    return _roll_out(place, lambda: place.registry.rollback(actor=actor, reason=reason), wait_s)


def _roll_out(place: Workplace, move: Callable[[], Promotion], wait_s: float) -> Rollout:
    before = place.registry.champion_version()
    started = time.monotonic()
    promotion = move()
    problem = _wait_for_workers(place, promotion.version, started + wait_s)
    if problem is not None:
        _put_back(place, before, promotion, problem)
    workers = len(live_workers(place.engine, place.settings.project.name))
    return Rollout(promotion, workers, time.monotonic() - started)


def _wait_for_workers(place: Workplace, version: int, deadline: float) -> str | None:
    """None once all live workers answer with `version`; else what stands in the way."""
    while True:
        workers = live_workers(place.engine, place.settings.project.name)
        waiting = [worker for worker in workers if worker.version != version]
        if not waiting:
            return None
        refused = [worker for worker in waiting if worker.error and f"version {version}" in worker.error]
        if refused:
            return f"worker {refused[0].pid} on {refused[0].host} refused it: {refused[0].error}"
        if time.monotonic() > deadline:
            pids = ", ".join(str(worker.pid) for worker in waiting)
            return f"worker(s) {pids} did not take it in time"
        time.sleep(_POLL_S)


def _put_back(place: Workplace, before: int | None, promotion: Promotion, problem: str) -> None:
    name = place.settings.project.name
    if before is None or before == promotion.version:
        raise UserError(f"{name}:{promotion.version} is champion, but not everywhere: {problem}")
    place.registry.promote(before, actor="kedge", reason=f"put back: {problem}")
    raise UserError(
        f"{name}:{promotion.version} was not promoted, {name}:{before} stays champion: {problem}. "
        "See the service's log; `kedge models` lists what can be promoted."
    )
