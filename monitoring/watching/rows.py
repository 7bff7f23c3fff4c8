"""What one look leaves behind: all rows in one transaction, so that a look is written whole or not at all."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import reading, writing
from infra.heartbeat import beat_within
from infra.ledger import append_within
from models.prediction import Prediction
from monitoring.blocks.distance_from_origin import DistanceFromOrigin
from monitoring.blocks.rows import BlockChanges, drop_samples, write_blocks
from monitoring.evidence_records import BLOCKS, GROSS
from monitoring.labelling.rows import Labelling, write_labels
from monitoring.performance import Performance, labelled_rows, performance
from monitoring.policies.asking import Acted, Decided, Question, act_within, decide_within, job_facts
from monitoring.triage_records import Verdict
from monitoring.watching.counting import Alarm, Counted
from monitoring.watching.place import WatchPlace
from monitoring.watching.silence import LANE as SILENCE
from monitoring.watching.state import WatchState, store_state
from monitoring.windows import Window, WindowSpan, window_spans, with_labels

_LABELLED_COLUMNS = ("id", "at", "model_version", "label", "true_label", "metadata")


class LookedTwice(Exception):
    """Another watcher looked at the same time; its look counts, and nothing of this one was written."""


def write_look(
    place: WatchPlace,
    counted: Counted,
    verdict: Verdict,
    question: Question,
    before: WatchState,
    labelled: Sequence[Prediction],
    blocks: BlockChanges,
    origin: DistanceFromOrigin | None = None,
    labelling: Labelling | None = None,
) -> Acted:
    """
    Write everything; gives what came of the question whether a retrain starts.

    Args:
        place: Where to.
        counted: What this look found.
        verdict: What it concluded.
        question: What is known about starting a retrain; it is decided here, beside jobs and requests as they stand.
        before: The state that it started from.
        labelled: Predictions that were labelled since: the windows they lie in get their figures anew.
        blocks: What changes about the blocks of traffic.
        origin: How far the newest block is from the first training's images; None where that is not known.
        labelling: Labels to ask for, and those asked for that have come.

    Raises:
        LookedTwice: somebody else has looked since `before` was read.
    """
    rescored = _rescored(place, labelled, counted.windows)
    with writing(place.engine) as connection:
        decided = decide_within(connection, place.name, question)
        counted = replace(counted, state=replace(counted.state, policies=decided.memory))
        if not store_state(connection, place.name, counted.state):
            raise LookedTwice
        for window in counted.windows:
            connection.execute(schema.windows.insert().values(**window.row()))
        _write_labelled(connection, place.name, rescored)
        write_blocks(connection, place.name, blocks)
        if labelling is not None:
            write_labels(connection, place.name, labelling, place.settings.labels.overdue_days)
        for alarm in counted.alarms:
            connection.execute(schema.alarms.insert().values(name=place.name, **vars(alarm)))
        _write_verdict(connection, place.name, counted, verdict, decided, origin)
        acted = act_within(connection, place.name, decided, _job_facts(counted, verdict))
        write_beat(connection, place.name)
        changed = verdict.action != before.action or decided.is_news
        if counted.windows or counted.alarms or blocks.written or changed:
            append_within(connection, "watch", "look", _facts(counted, verdict, before, acted, blocks, origin))
    # Only now does no row name them any more.
    drop_samples(place.objects, blocks.dropped)
    return acted


def write_verdict_alone(
    place: WatchPlace, state: WatchState, version: int, verdict: Verdict, question: Question, before: WatchState
) -> Acted:
    """A look that could count nothing: its verdict, its sign of life, and whoever asks for a retrain nevertheless."""
    with writing(place.engine) as connection:
        decided = decide_within(connection, place.name, question)
        state = replace(state, policies=decided.memory)
        if not store_state(connection, place.name, state):
            write_beat(connection, place.name)
            return Acted()
        decision = decided.decision
        facts = {**verdict.to_json(), "decision": decision.to_json()}
        row = _verdict_row(place.name, state, version, verdict, facts)
        connection.execute(schema.verdicts.insert().values(**row))
        seen = job_facts(state.sequence, state.windows or None, verdict.reasons, vars(state.labels), shift="")
        acted = act_within(connection, place.name, decided, seen)
        if verdict.action != before.action or decided.is_news:
            told = {"verdict": state.sequence, "action": verdict.action, "before": before.action}
            told |= {"reasons": list(verdict.reasons), "retrain_job": acted.job_id or None}
            append_within(connection, "watch", "look", {**told, "decision": decision.facts()})
        write_beat(connection, place.name)
    return acted


def write_beat(connection: sa.Connection, name: str) -> None:
    """The watcher's sign of life; an alarm about its silence is over with it."""
    beat_within(connection, "watch")
    alarms = schema.alarms
    silent = (alarms.c.name == name) & (alarms.c.lane == SILENCE) & alarms.c.acted_on_at.is_(None)
    if connection.execute(alarms.update().where(silent).values(acted_on_at=now())).rowcount:
        append_within(connection, "watch", "watcher heard again", {})


def changed_since(place: WatchPlace, version: int, alarms: Sequence[Alarm]) -> dict[str, datetime]:
    """Since when a detector of the blocks has lain far off under this version, by its newest alarm."""
    table = schema.alarms
    query = sa.select(table.c.detector, table.c.facts).where(
        table.c.name == place.name, table.c.lane == BLOCKS, table.c.model_version == version
    )
    with reading(place.engine) as connection:
        told = [(row.detector, row.facts) for row in connection.execute(query.order_by(table.c.at))]
    told += [(alarm.detector, alarm.facts) for alarm in alarms if alarm.lane == BLOCKS]
    return {
        detector: datetime.fromisoformat(facts["changed_since"]) for detector, facts in told if "changed_since" in facts
    }


def _rescored(place: WatchPlace, labelled: Sequence[Prediction], closed: Sequence[Window]) -> dict[int, Performance]:
    """What labels say of windows just closed, and of those with new labels."""
    times = [row.at for row in labelled] + [window.started_at for window in closed]
    if not times:
        return {}
    new = [WindowSpan(one.sequence, one.model_version, one.started_at, one.ended_at) for one in closed]
    known = window_spans(place.engine, place.name, min(times))
    of_version: dict[int, list[datetime]] = {}
    for row in sorted(labelled, key=lambda row: row.at):
        of_version.setdefault(row.model_version, []).append(row.at)
    touched = [one for one in known if _any_within(of_version.get(one.model_version, ()), one)]
    wanted = [*touched, *new]
    if not wanted:
        return {}
    frame = place.log.labelled(min(one.started_at for one in wanted).date(), _LABELLED_COLUMNS)
    found: dict[int, Performance] = {}
    for one in wanted:
        inside = labelled_rows(frame.filter(frame["at"].is_between(one.started_at, one.ended_at)), one.model_version)
        if len(inside):
            found[one.sequence] = performance(inside, place.settings.data.subgroups)
    return found


def _any_within(ascending: Sequence[datetime], span: WindowSpan) -> bool:
    first = bisect_left(ascending, span.started_at)
    return first < len(ascending) and ascending[first] <= span.ended_at


def _write_labelled(connection: sa.Connection, name: str, found: Mapping[int, Performance]) -> None:
    """Into the summaries as they are now: since they were read another process may have added what it drew."""
    table = schema.windows
    for sequence, figures in found.items():
        mine = (table.c.name == name) & (table.c.sequence == sequence)
        summary = connection.execute(sa.select(table.c.summary).where(mine)).scalar_one()
        connection.execute(table.update().where(mine).values(summary=with_labels(summary, figures)))


def _write_verdict(
    connection: sa.Connection,
    name: str,
    counted: Counted,
    verdict: Verdict,
    decided: Decided,
    origin: DistanceFromOrigin | None,
) -> None:
    state = counted.state
    assert state.evidence is not None, "the evidence was begun"
    facts = {
        **verdict.to_json(),
        "decision": decided.decision.to_json(),
        "labels": vars(state.labels),
        "look": state.look.to_json(),
        "predictions": state.predictions,
        "block_lane": counted.evidence.block_lane,
        "lanes": dict(counted.evidence.lanes),
        "distance_from_origin": None if origin is None else origin.to_json(),
        "arrivals": state.surroundings.arrivals.to_json(),
        "labelled": state.surroundings.labelled.to_json(),
        "detectors": [asdict(one) for one in counted.evidence.detectors],
    }
    row = _verdict_row(name, state, state.evidence.model_version, verdict, facts)
    connection.execute(schema.verdicts.insert().values(**row))


def _verdict_row(
    name: str, state: WatchState, version: int, verdict: Verdict, facts: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "sequence": state.sequence,
        "at": now(),
        "model_version": version,
        "action": verdict.action,
        "reasons": list(verdict.reasons),
        "window_sequence": state.windows or None,
        "evidence": dict(facts),
    }


def _job_facts(counted: Counted, verdict: Verdict) -> dict[str, Any]:
    state = counted.state
    # Pictures unlike any before: the successor's lowest layers are what has to follow.
    shift = "input" if counted.evidence.alarms(GROSS) else ""
    seen = job_facts(state.sequence, state.windows or None, verdict.reasons, vars(state.labels), shift=shift)
    return {**seen, "avoidable_error": verdict.avoidable_error}


def _facts(
    counted: Counted,
    verdict: Verdict,
    before: WatchState,
    acted: Acted,
    blocks: BlockChanges,
    origin: DistanceFromOrigin | None,
) -> dict[str, Any]:
    state = counted.state
    return {
        "verdict": state.sequence,
        "action": verdict.action,
        "before": before.action,
        "reasons": list(verdict.reasons),
        "model_version": None if state.evidence is None else state.evidence.model_version,
        "windows": [window.sequence for window in counted.windows],
        "alarms": [{"id": alarm.id, "lane": alarm.lane, "detector": alarm.detector} for alarm in counted.alarms],
        "labels": vars(state.labels),
        "retrain_job": acted.job_id or None,
        "decision": None if acted.decision is None else acted.decision.facts(),
        "blocks": [block.number for block in blocks.written],
        "distance_from_origin": None if origin is None else origin.to_json(),
    }
