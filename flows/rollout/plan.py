"""
What a rollout does next: from how far it has come and what was seen since to one step. Pure.

Nothing here is a measure of quality by itself: the gate has judged the candidate. A rollout looks for what a gate
cannot see, on the real callers' images, and stops at the first thing that is surely wrong.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from flows.rollout.problems import problem_of, tripped
from flows.rollout.records import END, JUDGE, MOVE, PROMOTE, WAIT, Awaiting, Observed, RolloutRules, Step
from models.registry import WAITING as UNDECIDED
from models.rollout_runs import (
    CANARY,
    DONE,
    EXPIRED,
    PATIENT,
    PROBATION,
    PROMOTING,
    ROLLED_BACK,
    SHADOW,
    STOPPED,
    WAITING,
    RolloutRun,
)
from monitoring.comparison import FEW

# A worker that refuses a version tries again: a store that was away for a moment is no reason to go back.
REFUSAL_PATIENCE = timedelta(seconds=30)
# By relief the gate let it go on undecided, and not to everybody: the canary makes up for it.
_LONGER = 2
_UNGUARDED = "nothing could: neither its judging nor 30 labels of the champion before say how often it may err"


def first_stage(champion: int | None, rules: RolloutRules, *, wider: bool = False) -> str:
    """
    Where a rollout begins: with nobody to be compared with, a first model goes to everybody at once.

    wider: It knows other classes than the champion, so that callers of one moment cannot be answered by the two.
    """
    if champion is None:
        return PROMOTING
    if rules.shadow_predictions:
        return SHADOW
    return CANARY if rules.canary_predictions and not wider else PROMOTING


def advance(run: RolloutRun, observed: Observed, rules: RolloutRules) -> Step:
    """The next step of an open rollout."""
    if run.stage == WAITING:
        return _waiting(run, observed, rules)
    if run.stage in (SHADOW, CANARY):
        return _on_trial(run, observed, rules)
    if run.stage == PROMOTING:
        return _promoting(run, observed, rules)
    return _on_probation(run, observed, rules)


def has_trial(run: RolloutRun, rules: RolloutRules) -> bool:
    """Whether the stage has the version on trial; where the settings know no shadow, a candidate waits without one."""
    return run.stage in (SHADOW, CANARY) or (run.stage == WAITING and rules.shadow_predictions > 0)


def _waiting(run: RolloutRun, observed: Observed, rules: RolloutRules) -> Step:
    moved, stands, as_shadow = _pointer_moved(run, observed, rules), observed.awaiting, replace(run, stage=SHADOW)
    if moved is not None:
        return moved
    assert stands is not None, f"rollout {run.sequence} waits, and nobody looked for what"
    if stands.state != UNDECIDED:
        return _read(as_shadow, stands, observed, rules)
    if observed.share is None and has_trial(run, rules):
        return Step(END, STOPPED, "its shadow was ended by hand, and so it waits no more")
    # That it parts from the champion says nothing yet: labels are on their way, and no caller meets its answers.
    seen = None if observed.trial is None else replace(observed.trial, agreements=())
    problem = _refused(run, observed) or (None if seen is None else problem_of(as_shadow, seen, rules, whole=False))
    if problem is not None:
        return Step(END, STOPPED, problem)
    if stands.reading in ("queued", "running"):
        return Step(WAIT, WAITING, run.words)
    if stands.reading:
        return Step(END, STOPPED, f"it was to be judged once more, and that job is {stands.reading}")
    labels = "; ".join(stands.labels)
    if stands.enough:
        return Step(JUDGE, WAITING, f"the labels that it waited for have come ({labels}), and it is judged once more")
    until = run.stage_since + PATIENT * rules.most_stage
    if observed.at > until and stands.some:
        # Its second reading is paid for by the level of the first: better used than lost for a few labels.
        return Step(JUDGE, WAITING, f"until {until:%Y-%m-%d %H:%M} UTC {labels} came, and it is judged with those")
    if observed.at > until:
        return Step(END, EXPIRED, f"until {until:%Y-%m-%d %H:%M} UTC {labels} came, and so it is given up")
    then = "it is judged with what has" if stands.some else "it is given up if none has"
    return Step(WAIT, WAITING, f"{labels} have come; on {until:%Y-%m-%d %H:%M} UTC {then}")


def _read(as_shadow: RolloutRun, stands: Awaiting, observed: Observed, rules: RolloutRules) -> Step:
    """After the second reading: on, with what it answered unseen meanwhile counted, or to the end."""
    if stands.state != "registered":
        return Step(END, STOPPED, f"judged once more, it does not pass: {stands.said}")
    words = f"judged once more, the gate lets it through: {stands.said}"
    given = 0 if observed.trial is None else observed.trial.predictions
    return Step(MOVE, SHADOW, words) if given < rules.shadow_predictions else _next(as_shadow, words, rules)


def _pointer_moved(run: RolloutRun, observed: Observed, rules: RolloutRules) -> Step | None:
    """What follows where the champion is another by now; None where it is not."""
    if observed.champion == run.version:
        return _after_promotion(f"promoted by hand during its {run.stage} ({observed.champion_words})", rules)
    if observed.champion != run.champion_version:
        return _overtaken(observed)
    return None


def _overtaken(observed: Observed) -> Step:
    words = f"version {observed.champion} became champion meanwhile: {observed.champion_words}"
    return Step(END, STOPPED, words, overtaken=True)


def _on_trial(run: RolloutRun, observed: Observed, rules: RolloutRules) -> Step:
    moved = _pointer_moved(run, observed, rules)
    if moved is not None:
        return moved
    if observed.share is None:
        return Step(END, STOPPED, f"its {run.stage} was ended by hand")
    refused = _refused(run, observed)
    if refused is not None:
        return Step(END, STOPPED, refused)
    needed, seen = _needed(run, rules), observed.trial
    given = 0 if seen is None else seen.predictions
    is_over = observed.at - run.stage_since > rules.most_stage
    # Little traffic is no reason to keep a better version back: what time allows is enough, where it says anything.
    is_enough = given >= needed or (is_over and given >= _least(run, rules))
    problem = None if seen is None else problem_of(run, seen, rules, whole=is_enough)
    if problem is not None:
        return Step(END, STOPPED, problem)
    if is_enough:
        return _next(run, f"{given} of {needed} answers as {run.stage} showed nothing against it", rules)
    if observed.is_idle:
        return Step(WAIT, run.stage, f"no image has come yet; {needed} answers as {run.stage} are waited for")
    if is_over:
        return Step(END, EXPIRED, _expired(run, rules, given, needed))
    return Step(WAIT, run.stage, f"{given} of {needed} answers as {run.stage}")


def _least(run: RolloutRun, rules: RolloutRules) -> int:
    """With how many answers a stage may end when its time is over; relief is never given for less than was asked."""
    return rules.canary_predictions if run.stage == CANARY and run.facts.longer else FEW


def _expired(run: RolloutRun, rules: RolloutRules, given: int, needed: int) -> str:
    minutes = rules.most_stage.total_seconds() / 60
    return (
        f"only {given} of {needed} answers came as {run.stage} within {minutes:g} minutes. `kedge rollout start "
        f"{run.version} --from promoting` sends it to everybody; a smaller rollout.{run.stage}_predictions fits less "
        "traffic"
    )


def _refused(run: RolloutRun, observed: Observed) -> str | None:
    """That a worker refuses it, and has done so for long enough."""
    if not observed.refusal or not run.facts.refused_at:
        return None
    lasted = observed.at - datetime.fromisoformat(run.facts.refused_at)
    return f"{observed.refusal} (for {lasted.total_seconds():.0f} s)" if lasted >= REFUSAL_PATIENCE else None


def _needed(run: RolloutRun, rules: RolloutRules) -> int:
    if run.stage == SHADOW:
        return rules.shadow_predictions
    return rules.canary_predictions * (_LONGER if run.facts.longer else 1)


def _next(run: RolloutRun, words: str, rules: RolloutRules) -> Step:
    if run.stage == SHADOW and rules.canary_predictions and not run.facts.wider:
        return Step(MOVE, CANARY, words)
    return Step(MOVE, PROMOTING, words)


def _promoting(run: RolloutRun, observed: Observed, rules: RolloutRules) -> Step:
    if observed.champion == run.version:
        return Step(PROMOTE, PROMOTING, "it is champion; waiting until every serving worker answers with it")
    if observed.was_promoted:
        words = f"its promotion did not last: {observed.champion_words}"
        return Step(END, STOPPED, words, overtaken=not observed.went_back)
    if observed.champion != run.champion_version:
        return _overtaken(observed)
    return Step(PROMOTE, PROMOTING, run.words)


def after_promotion(words: str, rules: RolloutRules) -> Step:
    """What follows once it is champion; words: who answers with it."""
    return _after_promotion(f"it is champion; {words}", rules)


def heard(workers: int) -> str:
    """That so many workers answer with it."""
    return f"{workers} serving worker(s) answer with it" if workers else "nobody is serving yet"


def _after_promotion(words: str, rules: RolloutRules) -> Step:
    return Step(MOVE, PROBATION, words) if rules.probation else Step(END, DONE, words)


def _on_probation(run: RolloutRun, observed: Observed, rules: RolloutRules) -> Step:
    if observed.champion != run.version and observed.went_back:
        return Step(END, ROLLED_BACK, f"version {observed.champion} answers again: {observed.champion_words}")
    if observed.champion != run.version:
        return Step(END, DONE, f"version {observed.champion} followed it: {observed.champion_words}")
    seen = None if observed.probation is None else tripped(observed.probation.guards)
    problem = _refused(run, observed) or seen
    if problem is not None:
        return Step(END, ROLLED_BACK, problem)
    labels = 0 if observed.probation is None else observed.probation.labels
    watched = observed.probation is None or bool(observed.probation.guards)
    nothing = "nothing speaks against it" if watched else _UNGUARDED
    if observed.at - run.stage_since >= rules.probation:
        return Step(END, DONE, f"its probation is over: {labels} labels, and nothing spoke against it")
    return Step(WAIT, PROBATION, f"on probation: {labels} labels so far, and {nothing}")
