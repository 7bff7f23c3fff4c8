"""Each step of a decision in words, from its rows; what ought to be there and is not, is said."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from infra.jobs import minutes_taken
from infra.ledger import LedgerRow
from monitoring.decisions import records
from monitoring.decisions.moves import ROLLED_BACK
from monitoring.decisions.records import ACTIVE, BAD, GOOD, PLAIN, WARN, Proof, Step, proof_of
from monitoring.decisions.rows import DecisionRows, Row, verdict_named
from monitoring.decisions.timeline import decision_of

_STATES = {
    "queued": ACTIVE,
    "running": ACTIVE,
    "done": GOOD,
    "refused": WARN,
    "undecided": WARN,
    "failed": BAD,
    "cancelled": WARN,
}
_RESULTS = {
    "passed": "passed",
    "failed": "failed",
    "undecided": "undecided",
    "noted": "of groups too small to decide",
}
_STAGES = {"done": GOOD, "stopped": WARN, "rolled_back": BAD, "expired": WARN}
_REASONS = {
    "harm": "harm was shown",
    "drift": "drift was seen",
    "performance": "accuracy fell",
    "bias": "a subgroup is behind",
    "labels": "enough labels came",
    "schedule": "it was time",
    "requested": "it was asked for from outside",
    "manual": "a person asked for it",
    "classes": "a person asked for a class more",
    "first": "there was no champion",
}
# What the watcher starts names its verdict; what people start does not.
_BY_VERDICT = frozenset({"harm", "drift", "performance", "bias", "labels"})
# An alarm is marked as acted on in the transaction that asks for the job.
_SAME_TIME = timedelta(seconds=5)
_MOST_LINES = 8
_WEIGHED = {"forecast": "Forecast", "regimes": "Earlier versions"}
_GATE = "gate"  # kind of the ledger's row


def trigger(found: DecisionRows, job: Row) -> Step:
    """What set a job off: its reason, the verdict behind it, and what the trigger said."""
    evidence: Mapping[str, Any] = job["evidence"] if isinstance(job["evidence"], Mapping) else {}
    lines, missing = [], []
    decision = _trigger_decision(evidence)
    if decision is not None:
        lines += [str(decision["words"])] if decision.get("words") else []
        lines += [str(one.get("words", "")) for one in decision["policies"] if _fires(one)]
        expected = decision.get("expected")
        lines += [str(expected["words"])] if isinstance(expected, Mapping) and expected.get("words") else []
    named = verdict_named(job)
    verdict = (found.verdicts or {}).get(named) if named is not None else None
    if verdict is not None:
        lines.append(f"Verdict {named} about version {verdict['model_version']}: {_plain(verdict['action'])}.")
    lines += [str(reason) for reason in (verdict["reasons"] if verdict else evidence.get("reasons") or ())]
    lines += [f"Alarm: {row['lane']}, {row['detector']}." for row in _alarms(found, job)]
    if named is not None and verdict is None:
        missing.append(f"verdict {named}, which the job names, is not in its table")
    elif named is None and _reasons(job) & _BY_VERDICT:
        missing.append("the job names no verdict")
    asked: list[LedgerRow] = []
    for request in (row for row in found.requests if row["job_id"] == job["id"]):
        lines.append(f"Asked for by {request['asked_by']}: {request['reason']}")
        asked += _of_request(found, request)
    asked += [row for row in found.noted("jobs", ["asked"]) if row.facts.get("job") == job["id"]]
    if not any(row.stream == "jobs" for row in asked):
        missing.append("the ledger has no row of the job being asked for")
    seen = [row for row in found.noted("watch") if row.facts.get("retrain_job") == job["id"]]
    return Step(
        records.TRIGGER, job["created_at"], _asked_because(job), PLAIN, _each_once(lines), _proofs([*seen, *asked]),
        tuple(missing),
    )  # fmt: skip


def request_declined(found: DecisionRows, request: Row) -> Step:
    """A request from outside that no job came of."""
    rows = _of_request(found, request)
    title = f"A request by {request['asked_by']} is {request['state']}"
    lines = (f"Because: {request['reason']}", str(request["words"] or ""))
    tone = ACTIVE if request["state"] == "waiting" else PLAIN
    return Step(records.TRIGGER, request["at"], title, tone, _each_once(lines), _proofs(rows))


def work(found: DecisionRows, job: Row) -> Step:
    """The job itself: how it ended, how long it took, and what came of it."""
    rows = [row for row in found.noted("jobs") if row.facts.get("job") == job["id"] and row.kind != "asked"]
    outcome: Mapping[str, Any] = job["outcome"] if isinstance(job["outcome"], Mapping) else {}
    lines = []
    minutes = minutes_taken(job["started_at"], job["finished_at"], job["evidence"])
    if minutes is not None and job["finished_at"]:
        ended = "until" if job["started_at"] else "and was closed at"
        lines.append(f"It took {_length(timedelta(minutes=minutes))}, {ended} {job['finished_at']:%H:%M:%S}.")
    if (job["attempts"] or 1) > 1:
        lines.append(f"It was begun {job['attempts']} times.")
    lines += [f"It went on: {row.facts['why']}" for row in rows if row.facts.get("why")]
    if isinstance(outcome.get("train_images"), int):
        lines.append(
            f"{outcome['train_images']} images trained, {outcome.get('fresh_images', 0)} of them from production."
        )
    # What was weighed before anything was trained: a forecast, earlier versions.
    weighed = [row for row in found.noted("decisions") if row.facts.get("job") == job["id"] and row.kind != _GATE]
    lines += [f"{_WEIGHED.get(row.kind, row.kind)}: {row.facts['words']}" for row in weighed if row.facts.get("words")]
    lines += [str(outcome["words"])] if outcome.get("words") else []
    lines += [str(job["error"])] if job["error"] else []
    missing: tuple[str, ...] = ()
    if job["finished_at"] and not any(row.kind == job["state"] for row in rows):
        missing = ("the ledger has no row of its end",)
    title = f"{'Training' if job['kind'] == 'train' else 'Retraining'} {_state(job['state'])}"
    at = job["started_at"] or job["finished_at"]
    return Step(
        records.JOB, at, title, _STATES.get(job["state"], PLAIN), _each_once(lines), _proofs([*weighed, *rows]), missing
    )


def gate(found: DecisionRows, number: int, job: Row) -> Step:
    """What the gate said of the version that a job came to."""
    recalled = [
        row for row in found.noted("decisions", ["regimes"])
        if (row.facts.get("job"), row.facts.get("version")) == (job["id"], number) and row.facts.get("outcome")
    ]  # fmt: skip
    return _recalled(number, recalled[-1]) if recalled else _judged(found, number, job["created_at"])


def _recalled(number: int, row: LedgerRow) -> Step:
    """An earlier version that was judged anew: its own row still says what was found when it was made."""
    outcome = str(row.facts["outcome"])
    title = f"The gate says {outcome} of version {number}, an earlier one"
    tone = GOOD if outcome == "promote" else WARN
    return Step(records.GATE, row.at, title, tone, _each_once([str(row.facts.get("words", ""))]), _proofs([row]))


def _judged(found: DecisionRows, number: int, since: datetime) -> Step:
    version = found.version(number)
    rows = [row for row in found.noted("decisions", [_GATE]) if row.facts.get("version") == number and row.at >= since]
    decision: Mapping[str, Any] = version["gate"] if version and isinstance(version["gate"], Mapping) else {}
    missing: tuple[str, ...] = () if decision else (f"version {number} has no decision of the gate",)
    if not rows:
        missing = (*missing, "the ledger has no row of the gate")
    said = decision_of(version)
    lines = [f"{row.at:%Y-%m-%d %H:%M}: {row.facts.get('outcome')}." for row in rows] if len(rows) > 1 else []
    checks = [one for one in decision.get("checks") or () if isinstance(one, Mapping)]
    if checks:
        lines.append(_counted(checks, number))
    lines += [
        str(one["words"]) for one in decision.get("objections") or () if isinstance(one, Mapping) and one.get("words")
    ]
    at = rows[-1].at if rows else None if version is None else version["created_at"]
    title = f"The gate says {said or 'nothing'} of version {number}"
    tone = PLAIN if not said else GOOD if said.startswith("promote") else WARN
    proofs = _proofs([*_readings(found, version), *rows])
    return Step(records.GATE, at, title, tone, _each_once(lines), proofs, missing)


def _readings(found: DecisionRows, version: Row | None) -> list[LedgerRow]:
    """Each time that the judge images were read for this version."""
    graph = None if version is None else version["onnx_sha256"]
    return [row for row in found.noted("judge-readings") if graph and row.facts.get("onnx_sha256") == graph]


def rollout(found: DecisionRows, run: Row) -> Step:
    """A rollout, stage by stage."""
    rows = [row for row in found.noted("rollouts") if row.facts.get("rollout") == run["sequence"]]
    lines = [
        f"{row.at:%H:%M:%S} {_plain(row.facts.get('stage', row.kind))}: {row.facts.get('words', '')}" for row in rows
    ]
    if not lines:
        lines = [str(run["words"])]
    missing = () if rows else ("the ledger has no row of the rollout",)
    title = f"Rollout {run['sequence']} of version {run['version']}: {_plain(run['stage'])}"
    tone = _STAGES.get(run["stage"], ACTIVE)
    return Step(records.ROLLOUT, run["started_at"], title, tone, _each_once(lines), _proofs(rows), missing)


def promotion(move: Row, row: LedgerRow | None) -> Step:
    """A change of champion."""
    return _moved(records.PROMOTION, move, row, GOOD if row is None or row.kind == "promoted" else WARN)


def went_back(move: Row, row: LedgerRow | None) -> Step:
    """A change of champion that undid the one before it."""
    return _moved(records.AFTERWARDS, move, row, BAD if row is not None and row.kind == ROLLED_BACK else WARN)


def _moved(part: str, move: Row, row: LedgerRow | None, tone: str) -> Step:
    how = "moved" if row is None else row.kind
    what = (
        f"Version {move['version']} was promoted"
        if how == "promoted"
        else f"The champion was {how} to version {move['version']}"
    )
    before = "" if move["previous_version"] is None else f"; the way back leads to version {move['previous_version']}"
    return Step(
        part,
        move["changed_at"],
        f"{what} by {move['actor']}",
        tone,
        (f"Because: {move['reason']}{before}.",),
        () if row is None else (proof_of(row),),
        ("the ledger has no row of this change",) if row is None else (),
    )


def _of_request(found: DecisionRows, request: Row) -> list[LedgerRow]:
    return [row for row in found.noted("retrain requests") if row.facts.get("request") == request["id"]]


def _trigger_decision(evidence: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the trigger decided, wherever it lies in the evidence; older jobs have none."""
    for one in (evidence, *evidence.values()):
        if isinstance(one, Mapping) and isinstance(one.get("policies"), list):
            return one
    return None


def _fires(policy: Any) -> bool:
    return isinstance(policy, Mapping) and bool(policy.get("fires"))


def _alarms(found: DecisionRows, job: Row) -> list[Row]:
    """Alarms that were marked as acted on when the job was asked for."""
    return [row for row in found.alarms if abs(row["acted_on_at"] - job["created_at"]) < _SAME_TIME]


def _reasons(job: Row) -> set[str]:
    return {word.strip() for word in str(job["reason"]).split(",")}


def _asked_because(job: Row) -> str:
    what = "A retrain" if job["kind"] == "retrain" else "A training"
    known = [_REASONS[word] for word in sorted(_reasons(job)) if word in _REASONS]
    return f"{what}, because {' and '.join(known)}" if known else f"{what}: {job['reason']}"


def _state(state: str) -> str:
    said = {
        "refused": "done, and refused by the gate",
        "undecided": "done, and the gate is undecided",
        "declined": "declined before it was begun",
    }
    return said.get(state, state)


def _plain(word: Any) -> str:
    return str(word).replace("_", " ")


def _length(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"  # noqa: PLR2004 - as one says it


def _counted(checks: Sequence[Mapping[str, Any]], number: int) -> str:
    """How many checks came out which way."""
    counts = Counter(one.get("result") for one in checks)
    words = ", ".join(f"{counts[result]} {said}" for result, said in _RESULTS.items() if counts[result])
    return f"Checks: {words}; `kedge gate {number}` shows them."


def _each_once(lines: Iterable[str]) -> tuple[str, ...]:
    """Without emptiness and what another line says already; of very many the first, and how many more."""
    told: list[str] = []
    for line in lines:
        if line and line not in told and not any(line.endswith(".") and line in before for before in told):
            told.append(line)
    if len(told) > _MOST_LINES + 1:
        return (*told[:_MOST_LINES], f"… and {len(told) - _MOST_LINES} more.")
    return tuple(told)


def _proofs(rows: Sequence[LedgerRow]) -> tuple[Proof, ...]:
    return tuple(proof_of(row) for row in rows)
