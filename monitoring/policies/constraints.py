"""Constraints: what holds a retrain back although something asks for it, and until when."""

from datetime import timedelta

from monitoring.policies.expected import usual_minutes
from monitoring.policies.expression import POLICIES, REQUESTED
from monitoring.policies.records import ConstraintAnswer, PolicyInput
from monitoring.policies.rules import PolicyRules
from monitoring.triage_records import FIX_INPUT

BROKEN_INPUT, OPEN_JOB, ROLLOUT, WAITING, COOLDOWN, WEEK, MONTH, QUIET, FRESH, CLASSES, REGION, REFUSAL = (
    "broken input",
    "open job",
    "rollout",
    "waiting candidate",
    "cool-down",
    "per week",
    "training minutes",
    "quiet hours",
    "fresh labels",
    "labels per class",
    "labels in the region",
    "labels since a refusal",
)
_WEEK, _MONTH = timedelta(days=7), timedelta(days=30)
_LONGEST_COOLDOWN, _MOST_DOUBLINGS = timedelta(days=1), 11
_NAMED = 5


def constraints(given: PolicyInput, rules: PolicyRules, fired: tuple[str, ...]) -> tuple[ConstraintAnswer, ...]:
    """Every constraint's answer; where somebody asks, quiet hours and a candidate that waits do not count."""
    return (
        _broken_input(given),
        _open_job(given),
        _rollout(given),
        _waiting(given, fired),
        _cooldown(given, rules),
        _week(given, rules),
        _month(given, rules),
        _quiet(given, rules, fired),
        *_labels(given, rules),
    )


def _broken_input(given: PolicyInput) -> ConstraintAnswer:
    words = "The verdict is to fix the input: broken pictures never train a model."
    return _answer(BROKEN_INPUT, words if given.action == FIX_INPUT else "")


def _open_job(given: PolicyInput) -> ConstraintAnswer:
    return _answer(OPEN_JOB, f"Job {given.jobs.open} is queued or running already." if given.jobs.open else "")


def _rollout(given: PolicyInput) -> ConstraintAnswer:
    # What harms is the champion of before; its successor is already made, and on its way.
    found = given.jobs.rolling_out
    return _answer(ROLLOUT, f"{found[:1].upper()}{found[1:]}; its rollout is waited for." if found else "")


def _waiting(given: PolicyInput, fired: tuple[str, ...]) -> ConstraintAnswer:
    """One is made already and only lacks labels, unless what asks now is on demand, or more urgent than its reason."""
    found = given.jobs.waiting
    if found is None or REQUESTED in fired or any(_rank(name) < _rank(found.reason) for name in fired):
        return _answer(WAITING)
    words = f"Version {found.version}, made for {found.reason}, waits for labels that decide about it: {found.words}."
    return _answer(WAITING, words)


def _rank(reason: str) -> int:
    """The strongest policy has the smallest; what people ask for themselves comes last."""
    return POLICIES.index(reason) if reason in POLICIES else len(POLICIES)


def _cooldown(given: PolicyInput, rules: PolicyRules) -> ConstraintAnswer:
    ended, cooldown = given.jobs.last_ended, _cooldown_now(given, rules)
    if ended is None or given.at - ended >= cooldown:
        return _answer(COOLDOWN)
    until = ended + cooldown
    words = f"The last retrain ended at {ended:%Y-%m-%d %H:%M} UTC; the cool-down lasts until {until:%Y-%m-%d %H:%M}."
    if given.jobs.failures > 1:
        words = f"The last {given.jobs.failures} retrains failed, so the cool-down grew. {words}"
    return ConstraintAnswer(COOLDOWN, True, words, until)


def _cooldown_now(given: PolicyInput, rules: PolicyRules) -> timedelta:
    """Twice as long with every failure in a row beyond the first, up to a day: what fails goes on failing."""
    grown: timedelta = rules.cooldown * 2 ** min(max(0, given.jobs.failures - 1), _MOST_DOUBLINGS)
    return max(rules.cooldown, min(grown, _LONGEST_COOLDOWN))


def _week(given: PolicyInput, rules: PolicyRules) -> ConstraintAnswer:
    asked = [at for at in given.jobs.asked if given.at - at < _WEEK]
    if not rules.most_per_week or len(asked) < rules.most_per_week:
        return _answer(WEEK)
    until = asked[-rules.most_per_week] + _WEEK
    words = (
        f"{len(asked)} retrains in seven days; trigger.most_per_week allows {rules.most_per_week}, the next from "
        f"{until:%Y-%m-%d %H:%M} UTC."
    )
    return ConstraintAnswer(WEEK, True, words, until)


def _month(given: PolicyInput, rules: PolicyRules) -> ConstraintAnswer:
    limit = rules.training_minutes_per_month
    if not limit:
        return _answer(MONTH)
    one, _ = usual_minutes(given.jobs, rules)
    trained = [(at, minutes) for at, minutes in given.jobs.trained if given.at - at < _MONTH]
    used = sum(minutes for _, minutes in trained)
    if used + one <= limit:
        return _answer(MONTH)
    words = (
        f"{used:.3g} minutes of training in thirty days, and a retrain takes about {one:.3g}; "
        f"trigger.training_minutes_per_month allows {limit:.3g}"
    )
    for at, minutes in trained:
        used -= minutes
        if used + one <= limit:
            until = at + _MONTH
            return ConstraintAnswer(MONTH, True, f"{words}, the next from {until:%Y-%m-%d %H:%M} UTC.", until)
    return ConstraintAnswer(MONTH, True, f"{words}: less than one takes.")


def _quiet(given: PolicyInput, rules: PolicyRules, fired: tuple[str, ...]) -> ConstraintAnswer:
    until = None if rules.quiet is None or REQUESTED in fired else rules.quiet.until(given.at)
    if until is None:
        return _answer(QUIET)
    return ConstraintAnswer(QUIET, True, f"It is quiet until {until:%H:%M} UTC, by trigger.quiet_hours.", until)


def _labels(given: PolicyInput, rules: PolicyRules) -> tuple[ConstraintAnswer, ...]:
    labels = given.labels
    if labels is None:
        # Without a profile nothing is counted, and only a retrain can make one.
        return ()
    since = rules.least_fresh_labels if labels.since_refusal is None else labels.since_refusal
    return (
        _lacking(FRESH, labels.fresh, rules.least_fresh_labels, "fresh labels"),
        _lacking(REGION, labels.in_region, rules.least_labels_in_changed_region, "labels from where the change is"),
        _lacking(REFUSAL, since, rules.least_fresh_labels, "labels since the last candidate was refused"),
        _classes(given, rules),
    )


def _classes(given: PolicyInput, rules: PolicyRules) -> ConstraintAnswer:
    least = rules.least_fresh_labels_per_class
    found = {} if given.labels is None else given.labels.by_class
    lacking = [f"{least - found.get(name, 0)} of {name}" for name in given.shown if found.get(name, 0) < least]
    if not lacking:
        return _answer(CLASSES)
    more = f" and of {len(lacking) - _NAMED} more classes" if len(lacking) > _NAMED else ""
    words = f"Fresh labels are lacking: {', '.join(lacking[:_NAMED])}{more}; each class that comes needs {least}."
    return _answer(CLASSES, words)


def _lacking(name: str, found: int, least: int, what: str) -> ConstraintAnswer:
    return _answer(name, f"{found} of {least} {what}: {least - found} more are needed." if found < least else "")


def _answer(name: str, words: str = "") -> ConstraintAnswer:
    return ConstraintAnswer(name, bool(words), words)
