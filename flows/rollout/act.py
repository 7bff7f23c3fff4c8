"""
What a rollout's steps do to the world. Every deed may be broken off anywhere and is gone on with by the next look.

What is decided is written before it is done, and what was done is seen in the pointers themselves: a trial, a
promotion or a way back that stands there already is not made again.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from flows import trials
from flows.notify import notify
from flows.promote import settle
from flows.rollout import observe
from flows.rollout.expected import is_undecided, proven_gains
from flows.rollout.plan import advance, after_promotion, has_trial, heard
from flows.rollout.records import END, JUDGE, MOVE, PROMOTE, WAIT, Observed, RolloutRules, Step, rules_of
from flows.summons import call_for_retrain
from flows.workplace import Workplace
from infra import jobs
from infra.clock import now
from infra.database import writing
from infra.errors import UserError
from models import rollout_runs, rollouts
from models.champions import Promotion
from models.gate_records import GateDecision
from models.registry import title_of
from models.rollout_runs import CANARY, DONE, PROBATION, ROLLED_BACK, SHADOW, STOPPED, WAITING, RolloutRun, closing

_log = logging.getLogger(__name__)
_ACTOR = "kedge rollout"
_TRIALS = (SHADOW, CANARY)
SECOND_READING = "second reading"
# Figures for people are written no more often than this.
_TOLD_EVERY = timedelta(seconds=5)


def advance_rollouts(place: Workplace) -> tuple[RolloutRun, ...]:
    """Take every rollout as far as it goes now, the oldest first; gives those that were open."""
    return tuple(advance_run(place, run) for run in rollout_runs.open_runs(place.engine, place.settings.project.name))


def advance_run(place: Workplace, run: RolloutRun) -> RolloutRun:
    """One rollout as far as it goes now; another process that is at it too does no harm."""
    for after in _steps(place, run):
        run = after
    return run


def stop(place: Workplace, run: RolloutRun, *, actor: str, reason: str) -> RolloutRun:
    """
    End a rollout by hand: what is on trial answers nobody any more; a champion on probation stays champion.

    Raises:
        UserError: it ended meanwhile.
    """
    end = DONE if run.stage == PROBATION else STOPPED
    decided = rollout_runs.move(place.engine, run, closing(run, end, f"{actor} ended it: {reason}"), "closing")
    if decided is None:
        raise UserError(f"The rollout of version {run.version} took a step meanwhile. `kedge rollout` shows it.")
    return advance_run(place, decided)


def _steps(place: Workplace, run: RolloutRun) -> Iterator[RolloutRun]:
    """The run after each step, until it is over, has to wait, or somebody else took a step."""
    rules = rules_of(place.settings.rollout)
    while run.is_open:
        if run.facts.closing:
            after = _close(place, run)
        elif has_trial(run, rules) and not run.facts.counted_from:
            after = _begin_trial(place, run, rules)
        else:
            seen = observe.observe(place, run, rules)
            step = advance(run, seen, rules)
            if step.deed == WAIT:
                yield _told(place, run, seen, step)
                return
            if step.deed == PROMOTE:
                after = _promote(place, run, rules)
            elif step.deed == JUDGE:
                after = _have_judged(place, run, step)
            else:
                after = _written(place, run, seen, step)
        if after is None:
            return
        yield (run := after)


def _written(place: Workplace, run: RolloutRun, seen: Observed, step: Step) -> RolloutRun | None:
    """The next stage, or the decision to end."""
    facts = replace(run.facts, seen=observe.shown(seen))
    if step.deed == END:
        decided = closing(replace(run, facts=facts), step.stage, step.words, overtaken=step.overtaken)
        return rollout_runs.move(place.engine, run, decided, "closing")
    assert step.deed == MOVE, step.deed
    return _moved(place, replace(run, facts=facts), step)


def _moved(place: Workplace, run: RolloutRun, step: Step) -> RolloutRun | None:
    facts = replace(run.facts, counted_from="", refused_at="")
    if run.stage == WAITING:
        # The gate has read once more since the rollout began, and knows better.
        said = GateDecision.from_json(place.registry.version(run.version).gate or {})
        facts = replace(facts, gains=proven_gains(said), longer=is_undecided(said))
    after = replace(run, stage=step.stage, stage_since=now(), words=step.words, facts=facts)
    return rollout_runs.move(place.engine, run, after, step.stage)


def _have_judged(place: Workplace, run: RolloutRun, step: Step) -> RolloutRun | None:
    """
    Ask for the job that judges it once more, in one transaction with the row that names the job: it is asked once.

    None while another job is open: the next look asks again.
    """
    evidence = {"version": run.version, "rollout": run.sequence}
    with writing(place.engine) as connection:
        if not rollout_runs.stands_within(connection, run):
            return None
        job = jobs.queue_job_within(connection, jobs.JUDGE, SECOND_READING, evidence)
        if dict(job.evidence or {}) != evidence:
            return None
        facts = replace(run.facts, reading=job.id)
        after = rollout_runs.move_within(connection, run, replace(run, words=step.words, facts=facts), "labels came")
    call_for_retrain(place.settings, job.id)
    return after


def _told(place: Workplace, run: RolloutRun, seen: Observed, step: Step) -> RolloutRun:
    """What was seen, for people, and since when a worker refuses; no step of the rollout."""
    refused_at = (run.facts.refused_at or seen.at.isoformat()) if seen.refusal else ""
    facts = replace(run.facts, seen=observe.shown(seen), refused_at=refused_at)
    before = datetime.fromisoformat(run.facts.seen["at"]) if run.facts.seen else None
    if step.words == run.words and refused_at == run.facts.refused_at and before and seen.at - before < _TOLD_EVERY:
        return run
    # A trial's time begins with its traffic; labels may come while nobody sends anything.
    since = seen.at if seen.is_idle and run.stage != WAITING else run.stage_since
    after = replace(run, words=step.words, facts=facts, stage_since=since)
    return rollout_runs.move(place.engine, run, after, "") or run


def _begin_trial(place: Workplace, run: RolloutRun, rules: RolloutRules) -> RolloutRun | None:
    """Put it on trial everywhere; what was on trial before of this rollout, and broken off, goes on."""
    reason = f"rollout {run.sequence}: {run.words}"
    share = rules.canary_share if run.stage == CANARY else 1.0
    try:
        if run.stage == CANARY:
            _end_trial(place, run, SHADOW, "goes on as canary")
        trial = trials.start(place, observe.alias_of(run.stage), run.version, share=share, actor=_ACTOR, reason=reason)
    except UserError as error:
        untried = not isinstance(error, trials.VersionRefused)
        return rollout_runs.move(place.engine, run, closing(run, STOPPED, str(error), untried=untried), "closing")
    words = f"on trial as {observe.alias_of(run.stage)}, at {trial.workers} serving worker(s)"
    facts = replace(run.facts, counted_from=now().isoformat())
    written = rollout_runs.move(place.engine, run, replace(run, facts=facts, words=words), "on trial")
    if written is None and _is_ending(rollout_runs.run_of(place.engine, run.name, run.sequence)):
        # While the workers were waited for somebody ended the rollout: nothing of it may stay.
        _end_trial(place, run, observe.alias_of(run.stage), "its rollout was ended")
    return written


def _is_ending(run: RolloutRun) -> bool:
    return bool(run.facts.closing) or not run.is_open


def _promote(place: Workplace, run: RolloutRun, rules: RolloutRules) -> RolloutRun | None:
    """Make it champion, once, and wait until every worker answers with it."""
    promotion = _own_promotion(place, run)
    if promotion is None:
        reason = f"{run.reason}; {run.words}" if run.champion_version is not None else run.reason
        promotion = place.registry.champions.promote_over(
            run.version, run.champion_version, actor=_ACTOR, reason=reason
        )
    if promotion is None:
        # Somebody moved the pointer between the look and the deed; the next look says what that means.
        return run
    try:
        settled = settle(place, promotion)
    except UserError as error:
        if place.registry.champions.current() != run.version:
            return rollout_runs.move(place.engine, run, closing(run, STOPPED, str(error)), "closing")
        step = after_promotion(str(error), rules)
    else:
        step = after_promotion(heard(settled.workers), rules)
    if step.deed == END:
        return rollout_runs.move(place.engine, run, closing(run, step.stage, step.words), "closing")
    return _moved(place, run, step)


def _own_promotion(place: Workplace, run: RolloutRun) -> Promotion | None:
    """The promotion that stands in the history already, where it is the last move of the pointer."""
    last = place.registry.champions.history()[-1:]
    return next((one for one in last if one.version == run.version and one.changed_at >= run.started_at), None)


def _close(place: Workplace, run: RolloutRun) -> RolloutRun | None:
    """Do what the end demands, and only then be over; people are told by whoever wrote it."""
    end, words = run.facts.closing, run.words
    try:
        if end == ROLLED_BACK:
            words = _send_back(place, run)
        elif end != DONE or run.stage in (*_TRIALS, WAITING):
            for alias in _TRIALS:
                _end_trial(place, run, alias, words)
    except UserError as error:
        # It is as far as it can be; that a worker would not follow is for people to know, not to be repeated.
        stayed = end == ROLLED_BACK and place.registry.champions.current() == run.version
        end, words = (STOPPED if stayed else end), f"{words}; but {error}"
    place.registry.end_waiting(run.version, actor=_ACTOR, reason=run.words)
    facts = replace(run.facts, closing="")
    at = now()
    over = replace(run, stage=end, stage_since=at, ended_at=at, words=words, facts=facts)
    written = rollout_runs.move(place.engine, run, over, end)
    if written is not None:
        said = f"The rollout of {title_of(run.name, run.version)} is {_WORDS[end]}: {words}"
        notify(place.settings, f"rollout_{end}", said, {"version": run.version, "rollout": run.sequence})
    return written


_WORDS = {DONE: "done", STOPPED: "stopped", ROLLED_BACK: "rolled back", "expired": "given up"}


def _send_back(place: Workplace, run: RolloutRun) -> str:
    """Back to the champion before, once, and until every worker answers with it."""
    if place.registry.champions.current() == run.version:
        promotion = place.registry.champions.send_back(run.version, actor=_ACTOR, reason=run.words)
        if promotion is None and place.registry.champions.current() == run.version:
            raise UserError("no version was champion before, so it stays: `kedge promote N` chooses another")
    last = place.registry.champions.history()[-1]
    if last.version == run.version or last.reason != run.words:
        return run.words  # somebody else has moved the pointer: it is theirs to wait for
    # Whoever does not follow: the version that did harm must not become champion again.
    settled = settle(place, last, keep=True)
    return f"{run.words}; {title_of(run.name, last.version)} answers again, {_heard(settled.workers, settled.seconds)}"


def _heard(workers: int, seconds: float) -> str:
    return f"at {workers} serving worker(s) after {seconds:.2f} s" if workers else "as soon as anybody serves"


def _end_trial(place: Workplace, run: RolloutRun, alias: str, reason: str) -> None:
    running = {one.alias: one for one in rollouts.running(place.engine, run.name)}.get(alias)
    if running is not None and running.version == run.version:
        trials.end(place, alias, actor=_ACTOR, reason=reason)
