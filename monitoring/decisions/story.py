"""
The decisions as stories: trigger, job, gate, rollout, promotion, and what came after; pure.

Every change of champion is told in exactly one story: that of the job whose version it made champion, that of the
rollout that a person began, that of the change it undid, or one of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from infra.ledger import LedgerRow
from models.rollout_runs import WAITING
from monitoring.decisions import steps
from monitoring.decisions.moves import BACKWARDS, PROMOTED, ROLLED_BACK, STREAM, noted_moves
from monitoring.decisions.records import ACTIVE, BAD, GOOD, PLAIN, WARN, Step, Story
from monitoring.decisions.rows import CHAMPION, DecisionRows, Row
from monitoring.decisions.timeline import version_of


@dataclass
class _Moves:
    """The changes of champion, and which of them are told already."""

    rows: tuple[Row, ...]
    noted: Mapping[int, LedgerRow]
    told: set[int] = field(default_factory=set)

    def kind(self, move: Row) -> str:
        row = self.noted.get(move["sequence"])
        return PROMOTED if row is None else row.kind

    def take_promotion(self, version: int, since: datetime, until: datetime | None = None) -> Row | None:
        """The first promotion of the version in that time which nobody has told yet."""
        for move in self.rows:
            fits = move["version"] == version and self.kind(move) == PROMOTED and move["changed_at"] >= since
            if fits and move["sequence"] not in self.told and (until is None or move["changed_at"] < until):
                self.told.add(move["sequence"])
                return move
        return None

    def take_way_back(self, promotion: Row) -> Row | None:
        """The very next change, where it undid this one."""
        for move in self.rows:
            if move["sequence"] == promotion["sequence"] + 1 and self.kind(move) in BACKWARDS:
                self.told.add(move["sequence"])
                return move
        return None

    def row(self, move: Row) -> LedgerRow | None:
        return self.noted.get(move["sequence"])


def stories(found: DecisionRows) -> tuple[Story, ...]:
    """Every decision, the newest first."""
    rows = found.of_alias(CHAMPION)
    moves = _Moves(rows, noted_moves(rows, found.noted(STREAM)))
    told = [_of_job(found, job, moves) for job in found.jobs]
    told += [_of_rollout(found, run, moves) for run in _by_hand(found)]
    told += [_of_move(move, moves) for move in moves.rows if move["sequence"] not in moves.told]
    told += [_of_request(found, one) for one in found.requests if one["job_id"] is None]
    return tuple(sorted(told, key=lambda story: story.at, reverse=True))


def story_of(found: DecisionRows, job_id: str) -> Story | None:
    """The story of one job; None where there is no such job."""
    return next((story for story in stories(found) if job_id and story.job_id == job_id), None)


def _of_job(found: DecisionRows, job: Row, moves: _Moves) -> Story:
    version = version_of(found, job)
    told = [steps.trigger(found, job), steps.work(found, job)]
    runs = [run for run in found.rollouts if run["job_id"] == job["id"]]
    ended = ""
    if version is not None:
        told.append(steps.gate(found, version, job))
        told += [steps.rollout(found, run) for run in runs]
        ended = _tell_promotion(told, moves, version, job["created_at"], _next_of(found, job, version))
    what = "Retrain" if job["kind"] == "retrain" else "Training"
    what = "First training" if job["reason"] == "first" else f"{what} for {job['reason']}"
    came, tone = _came_to(job, version, ended, told)
    if not ended and any(run["stage"] == WAITING for run in runs):
        came, tone = f"version {version} waits for labels", ACTIVE
    return Story(job["created_at"], what, came, tone, version, job["id"], tuple(told))


def _tell_promotion(told: list[Step], moves: _Moves, version: int, since: datetime, until: datetime | None) -> str:
    """Add what became of the version; gives the kind of the last change, "" where it never was champion by this."""
    promotion = moves.take_promotion(version, since, until)
    if promotion is None:
        return ""
    told.append(steps.promotion(promotion, moves.row(promotion)))
    back = moves.take_way_back(promotion)
    if back is None:
        return PROMOTED
    told.append(steps.went_back(back, moves.row(back)))
    return moves.kind(back)


def _next_of(found: DecisionRows, job: Row, version: int) -> datetime | None:
    """When the next job was asked for that came to the same version: later promotions are its story."""
    later = [one for one in found.jobs if one["created_at"] > job["created_at"] and version_of(found, one) == version]
    return later[0]["created_at"] if later else None


def _came_to(job: Row, version: int | None, ended: str, told: list[Step]) -> tuple[str, str]:
    if ended == PROMOTED:
        return f"version {version} was promoted", GOOD
    if ended:
        return f"version {version} was promoted, then {ended}", BAD if ended == ROLLED_BACK else WARN
    if job["state"] in ("queued", "running"):
        return str(job["state"]), ACTIVE
    if version is None:
        return str(job["state"]), BAD if job["state"] == "failed" else PLAIN
    if told[-1].tone == ACTIVE:
        return f"version {version} is being rolled out", ACTIVE
    outcome = "refused" if job["state"] == "refused" else "not promoted"
    return f"version {version} was {outcome}", WARN


def _by_hand(found: DecisionRows) -> list[Row]:
    known = {job["id"] for job in found.jobs}
    return [run for run in found.rollouts if run["job_id"] not in known]


def _of_rollout(found: DecisionRows, run: Row, moves: _Moves) -> Story:
    told = [steps.rollout(found, run)]
    ended = _tell_promotion(told, moves, run["version"], run["started_at"], run["ended_at"])
    came = ended or str(run["stage"]).replace("_", " ")
    tone = {"": told[0].tone, PROMOTED: GOOD, ROLLED_BACK: BAD}.get(ended, WARN)
    return Story(
        run["started_at"],
        f"Rollout of version {run['version']}",
        came,
        tone,
        run["version"],
        run["job_id"] or "",
        tuple(told),
    )


def _of_move(move: Row, moves: _Moves) -> Story:
    step = steps.promotion(move, moves.row(move))
    title = f"Version {move['version']} {moves.kind(move)} by {move['actor']}"
    return Story(move["changed_at"], title, "", step.tone, move["version"], "", (step,))


def _of_request(found: DecisionRows, request: Row) -> Story:
    step = steps.request_declined(found, request)
    return Story(request["at"], step.title, "", step.tone, None, "", (step,))
