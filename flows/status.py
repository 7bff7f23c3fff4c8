"""`kedge status`: how the project stands, from its rows, whether or not anything is running."""

import json
import logging
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from flows.kept_labels import LabelCounts, count_labels
from flows.workplace import Workplace
from infra import schema
from infra.clock import now
from infra.database import reading
from infra.jobs import Job, jobs
from infra.workers import Worker, live_workers
from models import rollout_runs, rollouts
from models.registry import ModelVersion
from models.rollouts import Rollout

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChampionState:
    name: str
    version: int
    since: datetime
    promoted_by: str
    reason: str


@dataclass(frozen=True)
class VersionState:
    """`scores` holds the headline scores on the judge images: images, accuracy, macro_precision, macro_recall."""

    version: int
    state: str
    created_at: datetime
    reason: str
    scores: dict[str, float] | None


@dataclass(frozen=True)
class WindowState:
    sequence: int
    model_version: int
    ended_at: datetime
    counts: dict[str, Any]
    evidence: list[dict[str, Any]]
    verdict: dict[str, Any] | None
    report: str | None


@dataclass(frozen=True)
class RetrainState:
    id: str
    kind: str
    state: str
    reason: str
    created_at: datetime
    finished_at: datetime | None
    outcome: dict[str, Any] | None
    error: str | None


@dataclass(frozen=True)
class WorkerState:
    pid: int
    host: str
    version: int | None
    error: str | None
    canary_version: int | None
    shadow_version: int | None
    rollout_error: str | None


@dataclass(frozen=True)
class RolloutState:
    """A version on its way to the callers; `words` say how it stands, or what it waits for."""

    version: int
    stage: str
    since: datetime
    words: str


@dataclass(frozen=True)
class ServiceState:
    up: bool
    workers: tuple[WorkerState, ...]


@dataclass(frozen=True)
class Status:
    """
    One look at a project.

    Attributes:
        verdict: The newest; that of `last_window` is what was said when it closed.
        decision: The newest about a retrain, as JSON: what asks, what holds back, what it would win and cost; None
            before the first.
        rollouts: Of versions that are on their way to the callers, or wait for labels.
        trials: The canary and the shadow, where there are any.
        labels: None where the tables cannot be read.
        watcher_silent_s: None before the first look of the watcher.
    """

    at: datetime
    champion: ChampionState | None
    versions: tuple[VersionState, ...]
    verdict: dict[str, Any] | None
    decision: dict[str, Any] | None
    last_window: WindowState | None
    last_retrain: RetrainState | None
    service: ServiceState
    rollouts: tuple[RolloutState, ...]
    trials: tuple[Rollout, ...]
    labels: LabelCounts | None
    watcher_silent_s: float | None


def status(place: Workplace) -> Status:
    """Gather the status from the rows of `place`."""
    name = place.settings.project.name
    newest = _newest_verdict(place)
    return Status(
        at=now(),
        champion=_champion(place),
        versions=tuple(_version(version) for version in place.registry.versions()),
        verdict=None if newest is None else _verdict(newest),
        decision=None if newest is None else newest.evidence.get("decision"),
        last_window=_last_window(place),
        last_retrain=_last_retrain(place),
        service=_service(live_workers(place.engine, name)),
        rollouts=_rollouts(place),
        trials=rollouts.running(place.engine, name),
        labels=_labels(place),
        watcher_silent_s=_watcher_silent_s(place),
    )


def to_json(record: Any) -> str:
    """Any of our records as indented JSON; times as ISO 8601."""
    plain = asdict(record) if hasattr(record, "__dataclass_fields__") else record
    return json.dumps(plain, indent=2, default=_plain)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _champion(place: Workplace) -> ChampionState | None:
    champion = place.registry.champion()
    if champion is None:
        return None
    latest = place.registry.champions.history()[-1]
    return ChampionState(champion.name, champion.version, latest.changed_at, latest.actor, latest.reason)


def _version(version: ModelVersion) -> VersionState:
    card = version.scorecard
    scores = None
    if card is not None:
        scores = {key: card[key] for key in ("images", "accuracy", "macro_precision", "macro_recall") if key in card}
    return VersionState(version.version, version.state, version.created_at, version.reason, scores)


def _rollouts(place: Workplace) -> tuple[RolloutState, ...]:
    runs = rollout_runs.open_runs(place.engine, place.settings.project.name)
    return tuple(RolloutState(run.version, run.stage, run.stage_since, run.words) for run in runs)


def _last_window(place: Workplace) -> WindowState | None:
    windows, verdicts = schema.windows, schema.verdicts
    name = place.settings.project.name
    with reading(place.engine) as connection:
        window = connection.execute(
            sa.select(windows).where(windows.c.name == name).order_by(windows.c.sequence.desc()).limit(1)
        ).first()
        if window is None:
            return None
        # The verdict of the look that closed the window; later ones may be about another champion.
        verdict = connection.execute(
            sa.select(verdicts)
            .where(verdicts.c.name == name, verdicts.c.window_sequence == window.sequence)
            .order_by(verdicts.c.sequence)
            .limit(1)
        ).first()
    return WindowState(
        sequence=window.sequence,
        model_version=window.model_version,
        ended_at=window.ended_at,
        counts={"predictions": window.predictions, "labelled": window.summary.get("labelled")},
        evidence=window.summary.get("evidence", []),
        verdict=None if verdict is None else _verdict(verdict),
        report=window.report_key,
    )


def _newest_verdict(place: Workplace) -> Any:
    table = schema.verdicts
    query = sa.select(table).where(table.c.name == place.settings.project.name).order_by(table.c.sequence.desc())
    with reading(place.engine) as connection:
        return connection.execute(query.limit(1)).first()


def _verdict(row: Any) -> dict[str, Any]:
    return {"action": row.action, "at": row.at, "reasons": row.reasons, "model_version": row.model_version}


def _last_retrain(place: Workplace) -> RetrainState | None:
    newest: tuple[Job, ...] = jobs(place.engine, last=1)
    if not newest:
        return None
    job = newest[0]
    outcome = None if job.outcome is None else dict(job.outcome)
    return RetrainState(job.id, job.kind, job.state, job.reason, job.created_at, job.finished_at, outcome, job.error)


def _service(workers: tuple[Worker, ...]) -> ServiceState:
    names = [field.name for field in fields(WorkerState)]
    states = tuple(WorkerState(**{name: getattr(worker, name) for name in names}) for worker in workers)
    return ServiceState(up=bool(states), workers=states)


def _labels(place: Workplace) -> LabelCounts | None:
    try:
        return count_labels(place)
    except Exception as error:  # noqa: BLE001 - a store that is away must not hide what the database knows
        logger.warning("the labels could not be counted: %s", error)
        return None


def _watcher_silent_s(place: Workplace) -> float | None:
    table = schema.heartbeats
    with reading(place.engine) as connection:
        beat = connection.execute(sa.select(table.c.at).where(table.c.process == "watch")).scalar()
    return None if beat is None else (now() - beat).total_seconds()
