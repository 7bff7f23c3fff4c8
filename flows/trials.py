"""Canary and shadow: put a version on trial and wait until every serving worker has it, end it, compare it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from flows.kept_labels import champion_classes
from flows.workplace import Workplace
from infra.errors import UserError
from infra.workers import Worker, live_workers
from models import rollouts
from models.registry import title_of
from models.rollouts import CANARY, Rollout
from monitoring.comparison import Comparison, compare_canary, compare_shadow
from monitoring.log.trials import answer_rows, shadow_rows

_POLL_S = 0.1


@dataclass(frozen=True)
class Trial:
    """
    What a start or an end came to.

    Attributes:
        workers: Serving workers that confirmed it; 0 means nobody is serving yet.
        seconds: From the pointer's change to the last confirmation.
    """

    rollout: Rollout
    workers: int
    seconds: float


class VersionRefused(UserError):
    """A serving worker refused the version itself; who merely did not answer in time says nothing of it."""


@dataclass(frozen=True)
class _Obstacle:
    """What keeps a worker from following; `refused`: it will not have the version, and waiting would not help."""

    words: str
    refused: bool = False


@dataclass(frozen=True)
class Compared:
    """A version on trial, and how it does beside the champion so far."""

    rollout: Rollout
    comparison: Comparison


def start(
    place: Workplace, alias: str, version: int, *, share: float, actor: str, reason: str, wait_s: float = 30.0
) -> Trial:
    """
    Put `version` on trial everywhere.

    Raises:
        VersionRefused: a worker refused it; the trial is ended.
        UserError: it cannot be tried; or a worker did not take it within `wait_s` seconds, and the trial is ended.
    """
    begun = time.monotonic()
    name = place.settings.project.name
    rollout = rollouts.start(place.engine, name, alias, version, share=share, actor=actor, reason=reason)
    problem = _wait(place, lambda worker: _lacking(worker, rollout), begun + wait_s)
    if problem is not None:
        _give_up(place, rollout, problem)
    return Trial(rollout, len(live_workers(place.engine, name)), time.monotonic() - begun)


def end(place: Workplace, alias: str, *, actor: str, reason: str, wait_s: float = 30.0) -> Trial | None:
    """
    Take what is on trial away everywhere; None where nothing was.

    Raises:
        UserError: a worker did not let go of it within `wait_s` seconds; the trial is ended all the same.
    """
    begun = time.monotonic()
    name = place.settings.project.name
    rollout = rollouts.end(place.engine, name, alias, actor=actor, reason=reason)
    if rollout is None:
        return None
    problem = _wait(place, lambda worker: _holding(worker, rollout), begun + wait_s)
    if problem is not None:
        raise UserError(
            f"The {alias} {title_of(name, rollout.version)} is ended, but {problem.words}. "
            "It lets go as soon as it reaches the database; the service's log says more."
        )
    return Trial(rollout, len(live_workers(place.engine, name)), time.monotonic() - begun)


def compare(place: Workplace) -> tuple[Compared, ...]:
    """Compare everything that is on trial with the champion, since each trial's start; none where nothing is."""
    champion = place.registry.champions.current()
    running = rollouts.running(place.engine, place.settings.project.name)
    if champion is None:
        return ()
    return tuple(Compared(rollout, _comparison(place, rollout, champion)) for rollout in running)


def _comparison(place: Workplace, rollout: Rollout, champion: int) -> Comparison:
    subgroups, classes = place.settings.data.subgroups, champion_classes(place) or ()
    if rollout.alias == CANARY:
        rows = answer_rows(place.log, (champion, rollout.version), rollout.since, classes)
        return compare_canary(rows, champion, rollout.version, subgroups)
    rows = shadow_rows(place.log, rollout.version, rollout.since, classes)
    return compare_shadow(rows, champion, rollout.version, subgroups)


def _wait(place: Workplace, obstacle_of: Callable[[Worker], _Obstacle | None], deadline: float) -> _Obstacle | None:
    """None once nothing stands in any live worker's way; else a refusal, or what lasted too long."""
    while True:
        workers = live_workers(place.engine, place.settings.project.name)
        obstacles = [obstacle for obstacle in map(obstacle_of, workers) if obstacle is not None]
        if not obstacles:
            return None
        refusals = [obstacle for obstacle in obstacles if obstacle.refused]
        if refusals or time.monotonic() > deadline:
            return (refusals or obstacles)[0]
        time.sleep(_POLL_S)


def _lacking(worker: Worker, rollout: Rollout) -> _Obstacle | None:
    if _on_trial(worker, rollout.alias) == rollout.version:
        return None
    # As service.live_model words it. What a worker said before the trial began is about another trial.
    error = worker.rollout_error or ""
    if error.startswith(f"version {rollout.version} was refused") and worker.seen_at >= rollout.since:
        return _Obstacle(f"{_title(worker)} refused it: {error}", refused=True)
    return _Obstacle(f"{_title(worker)} did not take it in time")


def _holding(worker: Worker, rollout: Rollout) -> _Obstacle | None:
    if _on_trial(worker, rollout.alias) != rollout.version:
        return None
    return _Obstacle(f"{_title(worker)} still holds it")


def _title(worker: Worker) -> str:
    return f"worker {worker.pid} on {worker.host}"


def _on_trial(worker: Worker, alias: str) -> int | None:
    return worker.canary_version if alias == CANARY else worker.shadow_version


def _give_up(place: Workplace, rollout: Rollout, problem: _Obstacle) -> None:
    """End the trial, unless somebody has started another meanwhile; tell why."""
    name = place.settings.project.name
    title = title_of(name, rollout.version)
    running = rollouts.running(place.engine, name)
    if (rollout.alias, rollout.sequence) in [(one.alias, one.sequence) for one in running]:
        rollouts.end(place.engine, name, rollout.alias, actor="kedge", reason=f"ended: {problem.words}")
    raise (VersionRefused if problem.refused else UserError)(
        f"{title} is not on trial as {rollout.alias}: {problem.words}. "
        "The champion answers as before; the service's log says more."
    )
