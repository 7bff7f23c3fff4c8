"""
The watcher: one look at the traffic, from what is new to a verdict.

Gather, decide, act. Everything a look leaves behind is written in one transaction together with its cursors, so a
look that is broken off and repeated counts nothing twice.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from infra.clock import now
from infra.database import writing
from infra.retrain_requests import RetrainRequest
from models.registry import ModelVersion
from monitoring import triage
from monitoring.blocks.distance_from_origin import DistanceFromOrigin, distance_of
from monitoring.blocks.following import follow_blocks
from monitoring.blocks.rows import BlockChanges
from monitoring.evidence_records import GROSS, HARM, Evidence
from monitoring.labelling.fresh import labels_so_far
from monitoring.labelling.planning import plan_labels
from monitoring.labelling.rows import Labelling
from monitoring.log.rows import predictions_in
from monitoring.policies.asking import NO_CHAMPION, decline_all_within
from monitoring.policies.gathering import Seen, question_of, question_without_profile
from monitoring.policies.records import TriggerDecision
from monitoring.policies.rows import refused_at
from monitoring.policies.rules import PolicyRules, rules_of
from monitoring.reference.profile import load_profile
from monitoring.triage_records import NOTHING, Situation, TriageRules, Verdict
from monitoring.watching.counting import Alarm, Counted, count
from monitoring.watching.estimated_harm import estimated_harm, newest_shift
from monitoring.watching.gathering import Gathered, gather
from monitoring.watching.place import WatchPlace
from monitoring.watching.rows import LookedTwice, changed_since, write_beat, write_look, write_verdict_alone
from monitoring.watching.state import WatchState, load_state, store_report_time
from monitoring.watching.surroundings_rows import read_surroundings
from monitoring.window_report import ask_for_page
from monitoring.windows import Window, newest_summaries

__all__ = ["Alarm", "TickOutcome", "WatchPlace", "tick"]

_log = logging.getLogger(__name__)

# A page takes seconds of a processor; while nothing alarms, one in ten minutes is enough.
_PAGE_EVERY = timedelta(minutes=10)
_MOST_SUMMARIES = 10


@dataclass(frozen=True)
class TickOutcome:
    """
    What one look came to.

    Attributes:
        verdict: None when there is nothing to watch.
        windows: Closed by this look.
        alarms: Raised by this look.
        job_id: Of the retrain that this look asked for; None when it asked for none.
        page: The window whose page was asked for; None when none was due.
        words: One sentence.
        evidence: As it stands now; None when nothing was counted.
        decision: Whether a retrain starts, and why; None when nothing was decided.
        answered: Requests for a retrain that this look answered.
    """

    verdict: Verdict | None
    windows: tuple[Window, ...]
    alarms: tuple[Alarm, ...]
    job_id: str | None
    page: int | None
    words: str
    evidence: Evidence | None = None
    decision: TriggerDecision | None = None
    answered: tuple[RetrainRequest, ...] = ()


def tick(place: WatchPlace) -> TickOutcome:
    """
    Look once: count what is new, close whole windows, reach a verdict, and ask for a retrain where it says so.

    The page of the newest window is asked for where one is due; drawing it is another process's work.

    Raises:
        UserError: the settings say nothing that could be followed about when to retrain.
    """
    rules = rules_of(place.settings)
    champion = place.registry.champion()
    if champion is None:
        with writing(place.engine) as connection:
            answered = decline_all_within(connection, place.name, NO_CHAMPION)
            write_beat(connection, place.name)
        words = "There is no champion yet, so there is nothing to watch."
        return replace(_nothing(words), answered=answered)
    profile = load_profile(place.engine, place.objects, place.name, champion.version)
    before = load_state(place.engine, place.name)
    if profile is None:
        return _without_profile(place, rules, champion, before)
    gathered = gather(place, champion, profile, before)
    at = now()
    counted = count(gathered, place.settings, at)
    counted, changes, origin = _with_blocks(place, gathered, counted, at)
    counted = _with_labels(place, gathered, counted)
    counted = _with_surroundings(place, counted, origin, at)
    summaries = _newest_summaries(place, counted)
    verdict = triage.decide(_situation(place, counted, summaries, origin), _triage_rules(rules))
    counted = replace(counted, state=replace(counted.state, sequence=before.sequence + 1, action=verdict.action))
    new_labels = bool(gathered.labels.pairs or gathered.answered)
    seen = Seen(champion, profile.classes, counted, verdict, summaries, new_labels)
    question = question_of(place, rules, seen, at)
    labelling = Labelling(plan_labels(place, profile, counted.evidence), gathered.answered)
    try:
        labelled = [row for _, row in gathered.labels.pairs]
        acted = write_look(place, counted, verdict, question, before, labelled, changes, origin, labelling)
    except LookedTwice:
        return _nothing("Another watcher looked at the same time; its look counts.")
    if before.action and before.action != verdict.action:
        _log.info("The verdict changes from %s to %s: %s", before.action, verdict.action, verdict.reasons[0])
    page = _ask_for_page(place, gathered, counted)
    return TickOutcome(
        verdict,
        counted.windows,
        counted.alarms,
        acted.job_id or None,
        page,
        verdict.reasons[0],
        counted.evidence,
        acted.decision,
        acted.answered,
    )


def _with_blocks(
    place: WatchPlace, gathered: Gathered, counted: Counted, at: datetime
) -> tuple[Counted, BlockChanges, DistanceFromOrigin | None]:
    """The look with its blocks; whatever goes wrong with them, the other lanes stand, and the verdict says so."""
    champion, profile = gathered.champion, gathered.profile
    try:
        followed = follow_blocks(place, champion, profile, gathered.state, counted, at)
    except Exception as error:  # noqa: BLE001 - slow drift is never worth the lanes that see a gross change at once
        _log.exception("The blocks of traffic could not be followed")
        words = f"not followed ({type(error).__name__}: {error}); the watcher's log has more"
        return replace(counted, evidence=replace(counted.evidence, block_lane=words)), BlockChanges(), None
    limit = place.settings.monitor.largest_distance_from_origin
    return followed.counted, followed.changes, distance_of(followed.newest, limit)


def _with_surroundings(place: WatchPlace, counted: Counted, origin: DistanceFromOrigin | None, at: datetime) -> Counted:
    """The look with what stands beside its verdict; its newest window keeps how things stood when it closed."""
    state = counted.state
    assert state.evidence is not None, "the evidence was begun"
    version = state.evidence.model_version
    state = replace(state, surroundings=read_surroundings(place, version, state.surroundings, at))
    windows = counted.windows
    if windows and windows[-1].model_version == version:
        families = {} if origin is None else dict(origin.families)
        summary = replace(windows[-1].summary, faults=state.look.faults, origin=families)
        windows = (*windows[:-1], replace(windows[-1], summary=summary))
    return replace(counted, state=state, windows=windows)


def _with_labels(place: WatchPlace, gathered: Gathered, counted: Counted) -> Counted:
    """The look with the labels so far; counted anew only when something about them can have changed."""
    before, state, champion = gathered.state, counted.state, gathered.champion
    refused = refused_at(place.engine, place.name, champion.created_at)
    same_champion = before.evidence is not None and before.evidence.model_version == champion.version
    unchanged = (
        same_champion
        and not gathered.labels.pairs
        and before.alarmed == state.alarmed
        and before.look.new_sources == state.look.new_sources
        and before.policies.refused_at == refused
    )
    if unchanged:
        return counted
    labels = labels_so_far(
        place.log,
        gathered.profile,
        since=champion.fresh_since,
        refused_at=refused,
        alarmed=[one.detector for one in counted.evidence.alarms(GROSS)],
        source=place.settings.data.source,
        untrusted=place.settings.data.untrusted_labellers,
    )
    policies = replace(state.policies, refused_at=refused)
    return replace(counted, state=replace(state, labels=labels, policies=policies))


def _situation(
    place: WatchPlace, counted: Counted, summaries: list[Mapping[str, Any]], origin: DistanceFromOrigin | None
) -> Situation:
    state, monitor = counted.state, place.settings.monitor
    assert state.evidence is not None, "the evidence was begun"
    version = state.evidence.model_version
    detectors = counted.evidence.detectors
    labels = [one.units for one in detectors if (one.lane, one.detector) == (HARM, "overall")]
    harm = estimated_harm(summaries, monitor.harm_tolerance)
    return Situation(
        evidence=counted.evidence,
        look=state.look,
        labels=state.labels,
        predictions=state.predictions,
        window=monitor.window,
        source=place.settings.data.source,
        feedback_is_random=monitor.feedback_is_random,
        harm_labels=labels[0] if labels else 0,
        estimated_loss_windows=harm.windows,
        estimated_loss=harm.loss,
        shift=newest_shift(summaries),
        arrivals=state.surroundings.arrivals,
        origin_distance=origin,
        changed_since=changed_since(place, version, counted.alarms),
    )


def _newest_summaries(place: WatchPlace, counted: Counted) -> list[Mapping[str, Any]]:
    """Of the champion's windows since its evidence began, the newest first; those just closed are not yet written."""
    state = counted.state
    assert state.evidence is not None, "the evidence was begun"
    version = state.evidence.model_version
    new = [window.summary.to_json() for window in reversed(counted.windows) if window.model_version == version]
    before = newest_summaries(place.engine, place.name, version, state.windows_before, _MOST_SUMMARIES)
    return [*new, *before][:_MOST_SUMMARIES]


def _triage_rules(rules: PolicyRules) -> TriageRules:
    return TriageRules(
        least_fresh_labels=rules.least_fresh_labels,
        least_labels_in_changed_region=rules.least_labels_in_changed_region,
        retrain_on_harm=rules.on_harm,
    )


def _ask_for_page(place: WatchPlace, gathered: Gathered, counted: Counted) -> int | None:
    """Ask for the page of the newest window where one is due; whatever goes wrong with it, the look stands."""
    last = gathered.state.report_at
    if not counted.windows or not (counted.alarms or last is None or now() - last >= _PAGE_EVERY):
        return None
    window = counted.windows[-1]
    try:
        mine = () if counted.sample is None else predictions_in(counted.sample)
        last_labels = place.log.last_labels([row.id for row in mine])
        truths = {identifier: label.label for identifier, label in last_labels.items()}
        profile = gathered.arrivals.load(window.model_version) or gathered.profile
        ask_for_page(place.engine, place.objects, place.settings, window, profile, mine, truths)
        store_report_time(place.engine, place.name, now())
    except Exception:  # noqa: BLE001 - a page is never worth a look
        _log.exception("The page of window %d could not be asked for", window.sequence)
        return None
    return window.sequence


def _without_profile(place: WatchPlace, rules: PolicyRules, champion: ModelVersion, before: WatchState) -> TickOutcome:
    """The champion serves, but nothing can be compared: say so at every look, and take nothing as seen."""
    words = (
        f"{champion.title} has no reference profile, so drift is not watched; "
        "`kedge train` and `kedge retrain` write one with their model."
    )
    verdict = Verdict(NOTHING, (words,), ("A champion with a reference profile.",))
    state = replace(before, sequence=before.sequence + 1, action=verdict.action)
    question = question_without_profile(rules, verdict, before.policies, now())
    acted = write_verdict_alone(place, state, champion.version, verdict, question, before)
    return TickOutcome(
        verdict, (), (), acted.job_id or None, None, words, decision=acted.decision, answered=acted.answered
    )


def _nothing(words: str) -> TickOutcome:
    return TickOutcome(None, (), (), None, None, words)
