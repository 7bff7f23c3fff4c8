"""A rollout's beginning: one row for a candidate, once however often it is asked for."""

from flows.rollout.act import advance_run
from flows.rollout.expected import is_undecided, proven_gains
from flows.rollout.plan import first_stage
from flows.rollout.records import rules_of
from flows.workplace import Workplace
from infra.errors import UserError
from models import rollout_runs
from models.artifact import read_artifact
from models.champions import DISAPPOINTED
from models.gate_records import GateDecision
from models.registry import WAITING as UNDECIDED
from models.registry import title_of
from models.rollout_runs import CANARY, PROMOTING, SHADOW, WAITING, RolloutRun, RunFacts

AUTOMATIC = "kedge rollout"
_WAITS = "the gate is undecided, and labels that decide are asked for"


def begin_rollout(
    place: Workplace,
    version: int,
    *,
    job_id: str | None = None,
    reason: str,
    decision: GateDecision | None = None,
    actor: str = AUTOMATIC,
    stage: str = "",
) -> RolloutRun:
    """
    Set a version on its way to the callers, and take the first step; what follows, every look takes.

    With nobody to be compared with, or where the settings know neither shadow nor canary, it is champion when this
    returns. A candidate about which the gate is undecided waits as a shadow for the labels that it asked for, unless
    a person sends it out. A rollout that is on its way already, of the same job, is gone on with; one of another
    version that had not come to everybody is stopped.

    Args:
        place: The project.
        version: Which one.
        job_id: The retrain that made it, or chose it: of each job there is one rollout.
        reason: Why, as people read it in the champion's history.
        decision: The gate's; None where a person answers for it.
        actor: Who or what begins it.
        stage: Where to begin, for people who know better: "shadow", "canary" or "promoting"; "" = as settings say.

    Returns:
        How far it has come: `promoted` says whether it is champion, `words` what happened.

    Raises:
        UserError: there is no such version, it is the champion, it was sent back before and no person asks, or it is
            on its way already and a person names no stage to begin with.
    """
    name, engine = place.settings.project.name, place.engine
    known = None if job_id is None else rollout_runs.of_job(engine, name, job_id)
    if known is not None:
        return _taken_on(place, known)
    champion = place.registry.champions.current()
    waits = _check(place, version, champion, actor, stage) == UNDECIDED and actor == AUTOMATIC
    rules, wider = rules_of(place.settings.rollout), _is_wider(place, version, champion)
    first = WAITING if waits else _stage(stage) or first_stage(champion, rules, wider=wider)
    if actor != AUTOMATIC:
        place.registry.send_out(version, actor=actor, reason=reason)
    begun = rollout_runs.begin(
        engine,
        name,
        version,
        champion_version=champion,
        stage=first,
        reason=reason,
        job_id=job_id,
        facts=RunFacts(actor=actor, gains=proven_gains(decision), longer=is_undecided(decision), wider=wider),
        words=_WAITS if waits else _first_words(decision),
    )
    return _taken_on(place, begun)


def _is_wider(place: Workplace, version: int, champion: int | None) -> bool:
    """Whether it knows other classes than the champion."""
    return champion is not None and _classes(place, version) != _classes(place, champion)


def _classes(place: Workplace, version: int) -> tuple[str, ...]:
    return tuple(read_artifact(place.registry.fetch(version, place.fetched)).classes)


def _first_words(decision: GateDecision | None) -> str:
    if decision is None:
        return "asked for by a person"
    if is_undecided(decision):
        return "undecided by the gate; it goes on by relief, for a gain of at least 10 points is proven"
    return "the gate let it through"


def _stage(stage: str) -> str:
    if stage not in ("", SHADOW, CANARY, PROMOTING):
        raise UserError(f"A rollout begins with {SHADOW}, {CANARY} or {PROMOTING}; found '{stage}'.")
    return stage


def _check(place: Workplace, version: int, champion: int | None, actor: str, stage: str) -> str:
    """The version's state, where it may set out."""
    found = place.registry.version(version)
    title = title_of(place.settings.project.name, version)
    if champion == version:
        raise UserError(f"{title} is the champion already; there is nothing to roll out.")
    if found.state == DISAPPOINTED and actor == AUTOMATIC:
        raise UserError(
            f"{title} was champion before and was sent back, since it did worse than it was judged; nothing sends it "
            f"out again by itself. A person may: `kedge rollout start {version}`."
        )
    on_trial = [run for run in rollout_runs.open_runs(place.engine, found.name) if run.version == version]
    if actor != AUTOMATIC and not stage and any(run.stage != WAITING for run in on_trial):
        raise UserError(
            f"{title} is on its way already: {on_trial[0].stage}, {on_trial[0].words}. `kedge rollout` shows it, "
            f"`kedge rollout start {version} --from STAGE` begins anew at that stage."
        )
    return found.state


def _taken_on(place: Workplace, run: RolloutRun) -> RolloutRun:
    """The run after what can be done at once; older ones first, for what they hold is in its way."""
    for other in rollout_runs.open_runs(place.engine, run.name):
        if other.sequence < run.sequence and other.facts.closing:
            advance_run(place, other)
    return advance_run(place, run) if run.is_open else run
