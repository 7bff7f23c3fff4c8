"""
The time line of champions, from the rows of the pointer's history: a pure function.

A reign lasts until the next row's moment, whatever that row says: at every moment there is exactly one champion, and
a gap cannot be told. What speaks against the rows themselves is said beside.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

from infra.ledger import LedgerRow
from monitoring.decisions.moves import STREAM, noted_moves
from monitoring.decisions.records import Proof, Reign, Timeline, Trial, proof_of
from monitoring.decisions.rows import CANARY, CHAMPION, SHADOW, DecisionRows, Row

_MOVED = "moved"  # by nobody knows what: no row of the ledger tells


def timeline(found: DecisionRows) -> Timeline:
    """Every champion, until when, by whom and why, with what was tried beside it."""
    moves = found.of_alias(CHAMPION)
    noted = noted_moves(moves, found.noted(STREAM))
    starts = _starts(moves)
    ends: list[datetime | None] = [*starts[1:], None]
    trials = sorted((one for alias in (CANARY, SHADOW) for one in _trials(found, alias)), key=lambda one: one.since)
    reigns = []
    for place, move in enumerate(moves):
        row = noted.get(move["sequence"])
        until = ends[place]
        within = (one for one in trials if starts[place] <= one.since and (until is None or one.since < until))
        reigns.append(
            Reign(
                sequence=move["sequence"],
                version=move["version"],
                since=starts[place],
                until=until,
                how=_MOVED if row is None else row.kind,
                actor=move["actor"],
                reason=move["reason"],
                job_id=job_of(found, move["version"], starts[place]),
                decision=decision_of(found.version(move["version"])),
                trials=tuple(within),
                proofs=() if row is None else (proof_of(row),),
            )
        )
    before = tuple(one for one in trials if not starts or one.since < starts[0])
    return Timeline(tuple(reigns), before, tuple(_problems(found, moves, noted)))


def job_of(found: DecisionRows, version: int, by: datetime) -> str:
    """The newest job that came to this version and was asked for by then; "" where none is known."""
    jobs = [job for job in found.jobs if job["created_at"] <= by and version_of(found, job) == version]
    return jobs[-1]["id"] if jobs else ""


def version_of(found: DecisionRows, job: Row) -> int | None:
    """What a job came to: as its outcome says, or, before its end, as the ledger says."""
    if job["state"] == "declined":
        return None
    outcome = job["outcome"]
    if isinstance(outcome, Mapping) and isinstance(outcome.get("version"), int):
        return int(outcome["version"])
    named = [
        row.facts.get("version") for row in found.noted("models", ["registered"]) if row.facts.get("job") == job["id"]
    ]
    return named[0] if named and isinstance(named[0], int) else None


def decision_of(version: Row | None) -> str:
    """The gate's outcome about a version in a word or two; "" where it was not judged."""
    gate = None if version is None else version["gate"]
    if not isinstance(gate, Mapping):
        return ""
    outcome = str(gate.get("outcome", "unknown"))
    return f"{outcome}, with relief" if gate.get("relief") else outcome


def _starts(moves: Sequence[Row]) -> list[datetime]:
    """When each reign begins: never before the one before it, whatever a machine's clock said."""
    starts: list[datetime] = []
    for move in moves:
        starts.append(max(move["changed_at"], starts[-1]) if starts else move["changed_at"])
    return starts


def _trials(found: DecisionRows, alias: str) -> Iterator[Trial]:
    moves = found.of_alias(alias)
    kinds = (f"{alias} started", f"{alias} ended")
    rows, place = found.noted("models", kinds), 0
    for number, move in enumerate(moves):
        proofs: tuple[Proof, ...] = ()
        fitting = (each for each in range(place, len(rows)) if _tells_trial(rows[each], move))
        told = next(fitting, None)
        if told is not None:
            proofs, place = (proof_of(rows[told]),), told + 1
        if not move["share"]:
            continue  # an end: it says until when, not what
        following = moves[number + 1] if number + 1 < len(moves) else None
        until = None if following is None else following["changed_at"]
        yield Trial(
            alias, move["version"], move["share"], move["changed_at"], until, move["actor"], move["reason"], proofs
        )


def _tells_trial(row: LedgerRow, move: Row) -> bool:
    told = (row.facts.get("version"), row.facts.get("share"), row.actor, row.facts.get("reason"))
    return told == (move["version"], move["share"], move["actor"], move["reason"])


def _problems(found: DecisionRows, moves: Sequence[Row], noted: Mapping[int, LedgerRow]) -> Iterator[str]:
    sequences = [move["sequence"] for move in moves]
    for expected, sequence in enumerate(sequences, start=1):
        if sequence != expected:
            yield f"Change {expected} of the champion is missing from the history: the next one there is {sequence}."
            break
    for before, after in pairwise(moves):
        if after["changed_at"] < before["changed_at"]:
            yield (
                f"Change {after['sequence']} is dated {after['changed_at']:%Y-%m-%d %H:%M:%S}, before the one it "
                "follows: a clock was wrong; the order is that of the changes."
            )
    unproven = [str(sequence) for sequence in sequences if sequence not in noted]
    if unproven:
        yield f"The ledger has no row of change {', '.join(unproven)}."
    pointer = (found.pointers or {}).get(CHAMPION)
    present = None if pointer is None else (pointer["sequence"], pointer["version"])
    last = (moves[-1]["sequence"], moves[-1]["version"]) if moves else None
    if present != last:
        yield (
            f"The history ends with {_named(last)}, but the pointer says {_named(present)}: "
            "one of them was changed by hand."
        )


def _named(change: tuple[int, int] | None) -> str:
    return "no champion" if change is None else f"version {change[1]} (change {change[0]})"
