"""What a look asks to have labelled: read the new predictions, weigh the budget, draw."""

import logging
from datetime import timedelta

from infra.clock import now
from monitoring.evidence_records import GROSS, Evidence
from monitoring.labelling.budget import Counted, budget, pace
from monitoring.labelling.candidates import Reach, read_candidates
from monitoring.labelling.rows import (
    LabelPlan,
    asked_images,
    asked_since,
    audit_key,
    newest_plan,
    plans_since,
    requests,
    role_key,
)
from monitoring.labelling.waiting import Waiting, most_labels, waiting, waiting_version
from monitoring.labels import PlanRules, plan
from monitoring.log.cursor import Cursor
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.place import WatchPlace

_log = logging.getLogger(__name__)
_SPOOL_S = 60.0
_WEEK, _DAY = timedelta(days=7), timedelta(days=1)


def plan_labels(place: WatchPlace, profile: ReferenceProfile, said: Evidence) -> LabelPlan | None:
    """
    What to ask for among the predictions that came since the last plan; None where there are none, or nothing is asked.

    Whatever goes wrong with it, the look stands: then the same predictions are looked at again by the next one.
    """
    try:
        return _plan(place, profile, said)
    except Exception:  # noqa: BLE001 - what to label next is never worth a look
        _log.exception("Which labels to ask for could not be planned; the next look tries again")
        return None


def _plan(place: WatchPlace, profile: ReferenceProfile, said: Evidence) -> LabelPlan | None:
    settings, at = place.settings, now()
    if settings.labels.per_day <= 0:
        return None
    last = newest_plan(place.engine, place.name)
    # Near-copies of one minute may come through several spools; without sessions there is nothing to wait for.
    settle = timedelta(seconds=_SPOOL_S + settings.serve.seal_s) if settings.data.group else timedelta(0)
    reach = Reach(
        start=None if last is None else Cursor.from_json(last["read_until"]),
        at=at,
        settle=settle,
        group=settings.data.group,
        source=settings.data.source,
        channels=_channels(said),
        waits=_waits(place),
        role_key=role_key(place.engine),
    )
    read = read_candidates(place.log, profile, reach)
    if read is None:
        return None
    count, seen = len(read.candidates), plans_since(place.engine, place.name, at - _WEEK)
    period_s = (at - last["at"]).total_seconds() if last else (at - (read.started_at or at)).total_seconds()
    fresh = Counted(at, count, period_s)
    granted = budget(
        per_day=settings.labels.per_day,
        audit_share=settings.labels.audit_share,
        predictions=count,
        # Fixed before any of them was seen; the first plan has only their number to go by.
        pace=float(last["pace_per_day"]) if last else pace([fresh], at),
        asked_last_day=asked_since(place.engine, place.name, at - _DAY),
        period_s=period_s,
    )
    images = read.candidates.images
    rules = PlanRules(place.name, audit_key(place.engine), at, asked_images(place.engine, place.name, images))
    asked = plan(read.candidates, granted, rules)
    row = {
        "name": place.name,
        "sequence": 1 if last is None else last["sequence"] + 1,
        "at": at,
        "model_version": profile.version,
        "predictions": count,
        "not_kept": read.not_kept,
        "asked": len(asked),
        "uniform_probability": granted.uniform,
        "period_s": period_s,
        "pace_per_day": pace([*seen, fresh], at),
        "read_until": read.until.to_json(),
    }
    return LabelPlan(asked, read.not_kept, row)


def _waits(place: WatchPlace) -> Waiting | None:
    version = waiting_version(place.registry, place.registry.champions.current())
    return (
        None if version is None else waiting(version, requests(place.engine, place.name), most_labels(place.settings))
    )


def _channels(said: Evidence) -> tuple[str, ...]:
    """Those that have alarmed, or else the one with the most evidence: there the change is, if there is one."""
    gross = [one for one in said.detectors if one.lane == GROSS]
    alarmed = tuple(one.detector for one in gross if one.alarmed_at is not None)
    if alarmed or not gross:
        return alarmed
    return (max(gross, key=lambda one: one.log10_evidence).detector,)
