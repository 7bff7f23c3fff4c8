"""Asking for a retrain: gathered before the look's transaction, decided and done within it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.jobs import queue_job_within
from infra.retrain_requests import ACCEPTED, DECLINED, RetrainRequest, answer_within, waiting_within
from monitoring.policies.constraints import OPEN_JOB
from monitoring.policies.decide import decide
from monitoring.policies.expression import HARM, REQUESTED
from monitoring.policies.memory import PolicyMemory
from monitoring.policies.moments import newest_moment, next_moment
from monitoring.policies.records import PolicyInput, TriggerDecision
from monitoring.policies.rows import jobs_within
from monitoring.policies.rules import PolicyRules

_KIND = "retrain"
NO_CHAMPION = "There is no champion to retrain from. `kedge train` makes the first model."


@dataclass(frozen=True)
class Question:
    """Whether a retrain starts, before anybody has looked at jobs and requests: those may change until the look is."""

    rules: PolicyRules
    given: PolicyInput
    memory: PolicyMemory


@dataclass(frozen=True)
class Decided:
    """
    The answer, within a transaction.

    Attributes:
        memory: As the next look will need it.
        requests: That wait, and are to be answered.
        open_job: Id of the job that is under way; "" for none.
        is_news: Whether it differs from the last look's, or answers somebody.
    """

    decision: TriggerDecision
    memory: PolicyMemory
    requests: tuple[RetrainRequest, ...]
    open_job: str
    is_news: bool


@dataclass(frozen=True)
class Acted:
    """What came of it: the job that was queued ("" for none), and requests as they were answered."""

    decision: TriggerDecision | None = None
    job_id: str = ""
    answered: tuple[RetrainRequest, ...] = ()


def with_moments(question: Question) -> Question:
    """The question with the clock read: a line that has just been set begins now, and nothing is caught up on."""
    cron, at, until = question.rules.cron, question.given.at, question.memory.moments_until
    if not cron:
        return replace(question, memory=replace(question.memory, moments_until=None))
    moment = None if until is None else newest_moment(cron, until, at)
    given = replace(question.given, moment=moment, next_moment=next_moment(cron, at))
    return replace(question, given=given, memory=replace(question.memory, moments_until=until or at))


def decide_within(connection: sa.Connection, name: str, question: Question) -> Decided:
    """Decide by the jobs and requests of this transaction; it only reads."""
    clocked = with_moments(question)
    jobs = jobs_within(connection, name, clocked.given.at)
    # Who asks while a candidate is judged once more is answered when that is over, and whatever it came to is known.
    requests = () if jobs.judging else waiting_within(connection, name)
    given = replace(clocked.given, requests=tuple(one.reason for one in requests), jobs=jobs)
    decision = decide(given, clocked.rules)
    considered = clocked.memory.moments_until if decision.keeps_moment else given.at
    memory = replace(clocked.memory, key=decision.key, moments_until=considered if clocked.rules.cron else None)
    is_news = bool(requests) or decision.key != question.memory.key
    return Decided(decision, memory, requests, jobs.open, is_news)


def act_within(connection: sa.Connection, name: str, decided: Decided, facts: Mapping[str, Any]) -> Acted:
    """
    Queue the job where one starts, and answer whoever asked.

    Args:
        connection: Of the look's transaction, in which the decision was made.
        name: The model's.
        decided: That decision.
        facts: What the look saw, for the job's row.
    """
    decision, job_id = decided.decision, ""
    if decision.starts:
        asked = [{"id": one.id, "by": one.asked_by, "reason": one.reason} for one in decided.requests]
        evidence = {**facts, "decision": decision.to_json(), "requests": asked}
        job_id = queue_job_within(connection, _KIND, decision.reason, evidence).id
        if HARM in decision.fired:
            _acted_on(connection, name)
    state, words, job = _answer(decided, job_id)
    answered = tuple(answer_within(connection, one, state, words, job) for one in decided.requests)
    return Acted(decision, job_id, answered)


def decline_all_within(connection: sa.Connection, name: str, words: str) -> tuple[RetrainRequest, ...]:
    """Answer everybody who waits, where nothing can be decided."""
    return tuple(answer_within(connection, one, DECLINED, words) for one in waiting_within(connection, name))


def _answer(decided: Decided, job_id: str) -> tuple[str, str, str | None]:
    """State, words and job of the answer to every request: they differ in nothing that counts."""
    decision = decided.decision
    if REQUESTED not in {one.name for one in decision.policies}:
        words = f"trigger.when is {decision.when!r} and does not name requested, so requests start nothing."
        return DECLINED, words, None
    if job_id:
        return ACCEPTED, decision.words, job_id
    if decided.open_job and decision.asks and _held_by_the_job(decision):
        return ACCEPTED, f"A retrain is under way already: job {decided.open_job}.", decided.open_job
    return DECLINED, decision.words, None


def _held_by_the_job(decision: TriggerDecision) -> bool:
    return OPEN_JOB in {one.name for one in decision.held_back}


def _acted_on(connection: sa.Connection, name: str) -> None:
    """The alarms behind a retrain for harm count as acted on."""
    alarms = schema.alarms
    open_alarms = (alarms.c.name == name) & alarms.c.acted_on_at.is_(None)
    connection.execute(alarms.update().where(open_alarms).values(acted_on_at=now()))


def job_facts(
    sequence: int, window: int | None, reasons: Sequence[str], labels: Mapping[str, Any], *, shift: str
) -> dict[str, Any]:
    """What a look saw, as the job's row keeps it beside the decision."""
    return {"verdict": sequence, "window": window, "reasons": list(reasons), "labels": dict(labels), "shift": shift}
