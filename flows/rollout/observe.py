"""What a rollout's next step is decided by: the pointers, the workers, and what the log says of the version."""

from datetime import datetime
from itertools import pairwise
from typing import Any

from flows.gating.awaited import awaited
from flows.kept_labels import champion_classes
from flows.rollout.problems import agreement_floor
from flows.rollout.records import Awaiting, Observed, RolloutRules
from flows.workplace import Workplace
from infra.clock import now
from infra.jobs import find_job
from infra.workers import live_workers
from models import rollouts
from models.champions import Promotion
from models.gate_records import REJECT, UNDECIDED, GateDecision
from models.rollout_runs import CANARY, PROBATION, PROMOTING, SHADOW, WAITING, RolloutRun
from monitoring.decisions.moves import BACKWARDS
from monitoring.decisions.rows import gather
from monitoring.decisions.timeline import timeline
from monitoring.labelling.awaited import are_enough
from monitoring.labelling.waiting import most_labels
from monitoring.reference.profile import load_profile
from monitoring.subgroups.rows import drawn_ids
from monitoring.trial_evidence import (
    Beside,
    ProbationEvidence,
    TrialEvidence,
    canary_evidence,
    probation_evidence,
    shadow_evidence,
)


def observe(place: Workplace, run: RolloutRun, rules: RolloutRules) -> Observed:
    """One look at everything that an open rollout depends on."""
    history = place.registry.champions.history()
    champion = place.registry.champions.current()
    share = _share(place, run)
    return Observed(
        at=now(),
        champion=champion,
        champion_words=_words(history[-1]) if history else "",
        went_back=run.stage in (PROMOTING, PROBATION) and champion != run.version and _went_back(place, run),
        was_promoted=any(one.version == run.version and one.changed_at >= run.started_at for one in history),
        share=share,
        trial=None if share is None else _trial(place, run, rules, share),
        awaiting=_awaiting(place, run) if run.stage == WAITING else None,
        probation=_probation(place, run, history) if run.stage == PROBATION and champion == run.version else None,
        refusal=_refusal(place, run),
    )


def shown(seen: Observed) -> dict[str, Any]:
    """What was seen, as JSON for people."""
    return {
        "at": seen.at.isoformat(),
        "trial": None if seen.trial is None else seen.trial.to_json(),
        "probation": None if seen.probation is None else seen.probation.to_json(),
        "refusal": seen.refusal,
    }


def alias_of(stage: str) -> str:
    """By which pointer a stage has its version on trial: who waits for labels, waits as a shadow."""
    return SHADOW if stage == WAITING else stage


def _words(promotion: Promotion) -> str:
    return f"{promotion.actor}, {promotion.reason}"


def _went_back(place: Workplace, run: RolloutRun) -> bool:
    """
    Whether the version's newest reign ended by a rollback, or by a pointer that was put back.

    The numbers do not tell: the version before may have been promoted over it, as the archive does.
    """
    reigns = timeline(gather(place.engine, run.name)).reigns
    ends = [after.how for reign, after in pairwise(reigns) if reign.version == run.version != after.version]
    return bool(ends) and ends[-1] in BACKWARDS


def _share(place: Workplace, run: RolloutRun) -> float | None:
    for one in rollouts.running(place.engine, run.name):
        if one.alias == alias_of(run.stage) and one.version == run.version:
            return one.share
    return None


def _trial(place: Workplace, run: RolloutRun, rules: RolloutRules, share: float) -> TrialEvidence | None:
    if run.champion_version is None or not run.facts.counted_from:
        return None
    since = datetime.fromisoformat(run.facts.counted_from)
    if run.stage == WAITING:
        # It may wait for weeks, and is looked at every few seconds: what it did lately says enough.
        since = max(since, now() - rules.most_stage)
    beside = _beside(place, run, since, share, agreement_floor(run, rules))
    return canary_evidence(place.log, beside) if run.stage == CANARY else shadow_evidence(place.log, beside)


def _awaiting(place: Workplace, run: RolloutRun) -> Awaiting:
    version = place.registry.version(run.version)
    decision = GateDecision.from_json(version.gate or {})
    waits = awaited(place, version)
    return Awaiting(
        state=version.state,
        said=_said(decision),
        labels=tuple(one.in_words() for one in waits),
        enough=are_enough(waits, most_labels(place.settings)),
        some=any(one.come for one in waits),
        reading=find_job(place.engine, run.facts.reading).state if run.facts.reading else "",
    )


def _said(decision: GateDecision) -> str:
    if decision.outcome == UNDECIDED and not decision.relief:
        return "the gate is still undecided, and no other reading is planned"
    return " ".join(decision.words()[:2] if decision.outcome == REJECT else decision.words()[:1])


def _probation(place: Workplace, run: RolloutRun, history: tuple[Promotion, ...]) -> ProbationEvidence:
    since = history[-1].changed_at
    profile = load_profile(place.engine, place.objects, run.name, run.version)
    return probation_evidence(
        place.log,
        profile,
        _beside(place, run, since, 1.0, 0.0),
        harm_tolerance=place.settings.monitor.harm_tolerance,
        group=place.settings.data.group,
    )


def _beside(place: Workplace, run: RolloutRun, since: datetime, share: float, floor: float) -> Beside:
    random = place.settings.monitor.feedback_is_random
    asked = {} if random else drawn_ids(place.engine, run.name)
    return Beside(
        champion=run.champion_version or 0,
        version=run.version,
        since=since,
        share=share,
        subgroups=place.settings.data.subgroups,
        classes=champion_classes(place) or (),
        drawn=None if random else [one for one, in_audit in asked.items() if in_audit],
        floor=floor,
        asked=list(asked),
    )


def _refusal(place: Workplace, run: RolloutRun) -> str:
    """What a live worker says against the version, as service.live_model words it; "" = nothing."""
    began = f"version {run.version} was refused"
    for worker in live_workers(place.engine, run.name):
        said = worker.error if run.stage == PROBATION else worker.rollout_error
        if (said or "").startswith(began) and worker.seen_at >= run.stage_since:
            return f"worker {worker.pid} on {worker.host} refuses it: {said}"
    return ""
