"""
What a rollout does next: from how far it has come and what was seen since to one step. Pure.

Nothing here is a measure of quality by itself: the gate has judged the candidate. A rollout looks for what a gate
cannot see, on the real callers' images, and stops at the first thing that is surely wrong.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from infra.settings_sections import RolloutSettings
from models.registry import WAITING as UNDECIDED
from models.rollout_runs import (
    CANARY,
    DONE,
    EXPIRED,
    PROBATION,
    PROMOTING,
    ROLLED_BACK,
    SHADOW,
    STOPPED,
    WAITING,
    RolloutRun,
)
from monitoring.comparison import FEW
from monitoring.guards import Guard
from monitoring.trial_evidence import ProbationEvidence, TrialEvidence

WAIT, MOVE, JUDGE, PROMOTE, END = "wait", "move", "judge", "promote", "end"

# A worker that refuses a version tries again: a store that was away for a moment is no reason to go back.
REFUSAL_PATIENCE = timedelta(seconds=30)
# By relief the gate let it go on undecided, and not to everybody: the canary makes up for it.
_LONGER = 2
# Labels come more slowly than answers: they are waited for so many times as long.
PATIENT = 14
# A trial that gives no answer at all while so many would have fallen to it has failed at every one.
_MOST_SILENT = 50
_UNGUARDED = "nothing could: neither its judging nor 30 labels of the champion before say how often it may err"
# Fewer milliseconds than these more are no caller's concern, whatever their ratio.
_LEAST_SLOWER_MS = 5.0


@dataclass(frozen=True)
class RolloutRules:
    """What the person in charge decided; as `RolloutSettings` has it, times as they are compared."""

    shadow_predictions: int
    canary_predictions: int
    canary_share: float
    least_agreement: float
    most_latency_ratio: float
    most_stage: timedelta
    probation: timedelta


@dataclass(frozen=True)
class Awaiting:
    """
    How an undecided candidate stands.

    Attributes:
        state: Of the version now: it changes when the gate has read once more.
        said: The gate's newest decision in a sentence.
        labels: Of each kind of label that it waits for, how many have come, in words.
        enough: Whether they have all come.
        reading: State of the job that judges it once more; "" = none was asked for.
    """

    state: str
    said: str = ""
    labels: tuple[str, ...] = ()
    enough: bool = False
    reading: str = ""


@dataclass(frozen=True)
class Observed:
    """
    What one look found.

    Attributes:
        champion: Who is champion now; None = nobody.
        champion_words: How that came about, for people: who moved the pointer, and why.
        went_back: Whether the pointer's last move was a rollback or a putting back.
        was_promoted: Whether the version was champion since the rollout began.
        share: Of the predictions, that fall to it as this stage's shadow or canary, 0..1; None = it is not on trial.
        trial: What shadow or canary showed since the trial began; None outside these stages, or while unread.
        awaiting: How it stands with the labels; None outside the stage that waits for them.
        probation: What came back since the promotion; None outside that stage.
        refusal: What a serving worker says against the version; "" = nothing.
    """

    at: datetime
    champion: int | None
    champion_words: str = ""
    went_back: bool = False
    was_promoted: bool = False
    share: float | None = None
    trial: TrialEvidence | None = None
    awaiting: Awaiting | None = None
    probation: ProbationEvidence | None = None
    refusal: str = ""

    @property
    def is_idle(self) -> bool:
        """Whether nobody has sent an image since the trial began: its time has not begun either."""
        return self.trial is not None and not self.trial.predictions and not self.trial.expected


@dataclass(frozen=True)
class Step:
    """
    What to do: wait; move to `stage`; have it judged once more; promote; or end as `stage`.

    Attributes:
        words: Why, as a sentence without its end.
    """

    deed: str
    stage: str
    words: str


def rules_of(settings: RolloutSettings) -> RolloutRules:
    """The settings as rules."""
    return RolloutRules(
        shadow_predictions=settings.shadow_predictions,
        canary_predictions=settings.canary_predictions,
        canary_share=settings.canary_share,
        least_agreement=settings.least_agreement,
        most_latency_ratio=settings.most_latency_ratio,
        most_stage=timedelta(minutes=settings.most_stage_minutes),
        probation=timedelta(minutes=settings.probation_minutes),
    )


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


def agreement_floor(run: RolloutRun, rules: RolloutRules, group: str = "overall") -> float:
    """
    The share of answers that have to be the champion's, 0..1, in a group.

    A candidate that the gate proved better by so many points on recent images has to differ on as many.
    """
    gains = run.facts.gains
    return max(0.0, rules.least_agreement - max(gains.get("overall", 0.0), gains.get(group, 0.0)))


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
    seen = observed.trial
    problem = _refused(run, observed) or (None if seen is None else _problem(as_shadow, seen, rules, whole=False))
    if problem is not None:
        return Step(END, STOPPED, problem)
    if stands.reading in ("queued", "running"):
        return Step(WAIT, WAITING, "the labels that it waited for have come, and it is judged once more")
    if stands.reading:
        return Step(END, STOPPED, f"it was to be judged once more, and that job is {stands.reading}")
    labels = "; ".join(stands.labels)
    if stands.enough:
        return Step(JUDGE, WAITING, f"the labels that it waited for have come ({labels}), and it is judged once more")
    until = run.stage_since + PATIENT * rules.most_stage
    if observed.at > until:
        return Step(END, EXPIRED, f"until {until:%Y-%m-%d %H:%M} UTC only {labels} came, which decides nothing")
    return Step(WAIT, WAITING, f"{labels} have come; without the others it is given up on {until:%Y-%m-%d %H:%M} UTC")


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
        return Step(END, STOPPED, f"version {observed.champion} became champion meanwhile: {observed.champion_words}")
    return None


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
    problem = None if seen is None else _problem(run, seen, rules, whole=is_enough)
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


def _problem(run: RolloutRun, seen: TrialEvidence, rules: RolloutRules, *, whole: bool) -> str | None:
    """What is surely wrong with what is on trial, in words; None while nothing is."""
    silent = not seen.predictions and seen.expected >= _MOST_SILENT
    if silent:
        return f"it answered none of {seen.expected:.0f} images that fell to it as {run.stage}"
    return _tripped(seen.guards) or _slow(run, seen, rules) or _apart(run, seen, rules, whole=whole)


def _tripped(guards: tuple[Guard, ...]) -> str | None:
    return next((guard.words for guard in guards if guard.tripped), None)


def _slow(run: RolloutRun, seen: TrialEvidence, rules: RolloutRules) -> str | None:
    # A shadow yields to everybody and answers in larger batches: only beyond what champions' callers wait for, too.
    champion_ms = seen.champion_ms_p95 if run.stage == SHADOW else seen.champion_ms
    if seen.few or seen.trial_ms is None or champion_ms is None:
        return None
    if seen.trial_ms <= max(rules.most_latency_ratio * champion_ms, champion_ms + _LEAST_SLOWER_MS):
        return None
    return (
        f"its forward pass takes {seen.trial_ms:.1f} ms in the median, over {rules.most_latency_ratio:g} times the "
        f"champion's {champion_ms:.1f} ms"
    )


def _apart(run: RolloutRun, seen: TrialEvidence, rules: RolloutRules, *, whole: bool) -> str | None:
    """Where a shadow agrees too seldom: as soon as that is sure, and at the end in what was counted."""
    for group in seen.agreements:
        floor = agreement_floor(run, rules, group.title)
        sure = group.high is not None and group.high < floor
        counted = whole and group.value is not None and group.value < floor
        if not group.few and (sure or counted) and group.value is not None:
            return (
                f"it agrees with the champion on {group.value:.0%} of {group.images} images ({group.title}), below "
                f"{floor:.0%}: a person has to decide. `kedge rollout gallery` shows where they part; "
                f"`kedge rollout start {run.version} --from canary` goes on all the same"
            )
    return None


def _promoting(run: RolloutRun, observed: Observed, rules: RolloutRules) -> Step:
    if observed.champion == run.version:
        return Step(PROMOTE, PROMOTING, "it is champion; waiting until every serving worker answers with it")
    if observed.was_promoted:
        return Step(END, STOPPED, f"its promotion did not last: {observed.champion_words}")
    if observed.champion != run.champion_version:
        return Step(END, STOPPED, f"version {observed.champion} became champion meanwhile: {observed.champion_words}")
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
    seen = None if observed.probation is None else _tripped(observed.probation.guards)
    problem = _refused(run, observed) or seen
    if problem is not None:
        return Step(END, ROLLED_BACK, problem)
    labels = 0 if observed.probation is None else observed.probation.labels
    watched = observed.probation is None or bool(observed.probation.guards)
    nothing = "nothing speaks against it" if watched else _UNGUARDED
    if observed.at - run.stage_since >= rules.probation:
        return Step(END, DONE, f"its probation is over: {labels} labels, and nothing spoke against it")
    return Step(WAIT, PROBATION, f"on probation: {labels} labels so far, and {nothing}")
