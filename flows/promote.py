"""Promotion and rollback: move the pointer, then wait until every serving worker answers with the new version."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from flows.serving_place import Serving
from infra.errors import UserError
from infra.workers import live_workers
from models import rollouts
from models.champions import Promotion
from models.registry import title_of

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


def promote(place: Serving, version: int, *, actor: str, reason: str, wait_s: float = 30.0) -> Rollout:
    """
    Make `version` the champion everywhere.

    Raises:
        UserError: there is no such version; or a worker refused it or did not take it within `wait_s`
            seconds, in which case the pointer is put back.
    """
    return _roll_out(place, lambda: place.registry.champions.promote(version, actor=actor, reason=reason), wait_s)


def roll_back(place: Serving, *, actor: str, reason: str, wait_s: float = 30.0) -> Rollout:
    """
    Return to the champion before; the same promises as `promote`.

    Raises:
        UserError: no version was champion before.
    """
    return _roll_out(place, lambda: place.registry.champions.rollback(actor=actor, reason=reason), wait_s)


def settle(
    place: Serving, promotion: Promotion, wait_s: float = 30.0, begun: float | None = None, *, keep: bool = False
) -> Rollout:
    """
    Wait until every worker follows a pointer that has moved, and end the trials of the version; may be repeated.

    Args:
        place: Where it moved.
        promotion: The move.
        wait_s: Seconds that the workers have.
        begun: Monotonic second of the move; None = now.
        keep: Where a worker does not follow, the pointer stays all the same: for a way back from harm.

    Raises:
        UserError: a worker refused the version or did not take it in time; unless kept, the pointer is put back.
    """
    started = time.monotonic() if begun is None else begun
    problem = _wait_for_workers(place, promotion.version, started + wait_s)
    if problem is not None and keep:
        title = title_of(place.settings.project.name, promotion.version)
        raise UserError(f"{title} is champion again, but not everywhere: {problem}")
    if problem is not None:
        _put_back(place, promotion, problem)
    # Nothing is compared with itself.
    name = place.settings.project.name
    rollouts.end_of_version(place.engine, name, promotion.version, actor="kedge", reason="became champion")
    workers = len(live_workers(place.engine, name))
    return Rollout(promotion, workers, time.monotonic() - started)


def _roll_out(place: Serving, move: Callable[[], Promotion], wait_s: float) -> Rollout:
    started = time.monotonic()
    return settle(place, move(), wait_s, started)


def _wait_for_workers(place: Serving, version: int, deadline: float) -> str | None:
    """None once all live workers answer with `version`; else what stands in the way."""
    while True:
        workers = live_workers(place.engine, place.settings.project.name)
        waiting = [worker for worker in workers if worker.version != version]
        if not waiting:
            return None
        # As service.live_model words it; with the words behind, version 1 is not found in version 12.
        refused = [worker for worker in waiting if (worker.error or "").startswith(f"version {version} was refused")]
        if refused:
            return f"worker {refused[0].pid} on {refused[0].host} refused it: {refused[0].error}"
        if time.monotonic() > deadline:
            pids = ", ".join(str(worker.pid) for worker in waiting)
            return f"worker(s) {pids} did not take it in time"
        time.sleep(_POLL_S)


def _put_back(place: Serving, promotion: Promotion, problem: str) -> None:
    name, version = place.settings.project.name, promotion.version
    before = place.registry.champions.put_back(promotion, actor="kedge", reason=f"put back: {problem}")
    champion = place.registry.champions.current()
    if before is None and champion != version:
        raise UserError(f"{name}:{version} was not promoted: {problem}; {name}:{champion} became champion meanwhile.")
    if before is None or champion == version:
        raise UserError(f"{name}:{version} is champion, but not everywhere: {problem}")
    raise UserError(
        f"{name}:{version} was not promoted, {name}:{champion} stays champion: {problem}. "
        "See the service's log; `kedge models` lists what can be promoted."
    )
