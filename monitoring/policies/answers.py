"""Policies: each looks at one thing, and says whether it asks for a retrain and why."""

from collections.abc import Callable, Mapping

from monitoring.performance import Interval
from monitoring.policies.expression import BIAS, HARM, LABELS, PERFORMANCE, REQUESTED, SCHEDULE
from monitoring.policies.records import PolicyAnswer, PolicyInput
from monitoring.policies.rules import PolicyRules
from monitoring.triage_records import RETRAIN

# One window below may be chance; a champion that is worse stays worse.
ESTIMATED_WINDOWS = 2
# Fewer labels than this give an interval that only a collapse could lie below.
LEAST_MEASURED = 30


def answer(name: str, given: PolicyInput, rules: PolicyRules) -> PolicyAnswer:
    """What the policy of that name says."""
    return _ASKED[name](given, rules)


def _harm(given: PolicyInput, rules: PolicyRules) -> PolicyAnswer:
    if given.action != RETRAIN:
        return PolicyAnswer(HARM, False, "The verdict is not to retrain.", "Harm that is shown, and labels enough.")
    if not rules.on_harm:
        words = "The verdict is to retrain, but trigger.retrain_on_harm is off."
        return PolicyAnswer(HARM, False, words, "A person who starts it: kedge retrain.")
    return PolicyAnswer(HARM, True, f"The verdict is to retrain. {given.words}".strip())


def _performance(given: PolicyInput, rules: PolicyRules) -> PolicyAnswer:
    least = rules.least_accuracy
    if not least:
        return _off(PERFORMANCE, "trigger.least_accuracy")
    measured = given.measured
    if measured is not None and measured.labels >= LEAST_MEASURED and _below(measured.accuracy, least):
        words = f"Accuracy by {measured.labels} labels is {_shown(measured.accuracy)}, below {least:.1%}."
        return PolicyAnswer(PERFORMANCE, True, words)
    windows = given.estimates[:ESTIMATED_WINDOWS]
    if len(windows) == ESTIMATED_WINDOWS and all(one.valid and _below(one.accuracy, least) for one in windows):
        words = (
            f"Accuracy is estimated at {_shown(windows[0].accuracy)}, below {least:.1%} in {ESTIMATED_WINDOWS} windows "
            "in a row; concept drift is not excluded."
        )
        return PolicyAnswer(PERFORMANCE, True, words)
    known = "no label may measure it yet"
    if measured is not None and measured.labels:
        known = f"by {measured.labels} labels it is {_shown(measured.accuracy)}"
    would = f"{LEAST_MEASURED} labels or {ESTIMATED_WINDOWS} valid estimates whose interval lies below it."
    return PolicyAnswer(PERFORMANCE, False, f"Accuracy is not surely below {least:.1%}: {known}.", would)


def _bias(given: PolicyInput, rules: PolicyRules) -> PolicyAnswer:
    gap = rules.most_subgroup_gap
    if not gap:
        return _off(BIAS, "trigger.most_subgroup_gap")
    if given.audit is None:
        return PolicyAnswer(
            BIAS, False, "The champion has not been audited yet.", "An audit: kedge audit, or the daily one."
        )
    if given.audit.warning:
        words = "Most labels of the newest audit were not drawn by chance, and may not measure."
        return PolicyAnswer(BIAS, False, words, "An audit of labels that chance drew: kedge audit --drawn-only.")
    told = f"by the audit of {given.audit.at:%Y-%m-%d %H:%M} UTC"
    behind = [one for one in given.audit.behind if one.points > gap]
    if behind:
        worst = max(behind, key=lambda one: one.points)
        others = f", and {len(behind) - 1} more rates" if len(behind) > 1 else ""
        words = f"{worst.group} lies behind {told}: {worst.words}, surely by {100 * worst.points:.1f} points{others}."
        return PolicyAnswer(BIAS, True, words)
    words = f"No judged subgroup surely lies more than {100 * gap:.3g} points behind, {told}."
    return PolicyAnswer(BIAS, False, words, "A newer audit that finds one: kedge audit.")


def _labels(given: PolicyInput, rules: PolicyRules) -> PolicyAnswer:
    if not rules.new_labels:
        return _off(LABELS, "trigger.new_labels")
    if given.labels is None:
        return PolicyAnswer(LABELS, False, "Fresh labels could not be counted.", "A champion with a reference profile.")
    since = given.labels.since_refusal
    fresh = given.labels.fresh if since is None else min(given.labels.fresh, since)
    after = "the champion" if since is None else "the last candidate that was refused"
    words = f"{fresh} new labels that can train since {after}; {rules.new_labels} ask for a retrain."
    if fresh >= rules.new_labels:
        return PolicyAnswer(LABELS, True, words)
    return PolicyAnswer(LABELS, False, words, f"{rules.new_labels - fresh} more labels.")


def _schedule(given: PolicyInput, rules: PolicyRules) -> PolicyAnswer:
    if not rules.cron:
        return _off(SCHEDULE, "trigger.cron")
    if given.moment is not None:
        return PolicyAnswer(SCHEDULE, True, f"It was time, by trigger.cron: {given.moment:%Y-%m-%d %H:%M} UTC.")
    coming = "" if given.next_moment is None else f"{given.next_moment:%Y-%m-%d %H:%M} UTC"
    return PolicyAnswer(
        SCHEDULE, False, "It is not time yet, by trigger.cron.", f"The clock: {coming}." if coming else ""
    )


def _requested(given: PolicyInput, _: PolicyRules) -> PolicyAnswer:
    if given.requests:
        others = f", and {len(given.requests) - 1} more" if len(given.requests) > 1 else ""
        return PolicyAnswer(REQUESTED, True, f'Asked for from outside: "{given.requests[0]}"{others}.')
    return PolicyAnswer(REQUESTED, False, "Nobody has asked for one.", "A request: POST /v1/retrain.")


_ASKED: Mapping[str, Callable[[PolicyInput, PolicyRules], PolicyAnswer]] = {
    HARM: _harm,
    PERFORMANCE: _performance,
    BIAS: _bias,
    LABELS: _labels,
    SCHEDULE: _schedule,
    REQUESTED: _requested,
}


def _off(name: str, setting: str) -> PolicyAnswer:
    return PolicyAnswer(name, False, f"{setting} is not set.")


def _below(accuracy: Interval, least: float) -> bool:
    """Wholly: a few labels, or a small window, lie lower by chance as often as not."""
    return accuracy.high is not None and accuracy.high < least


def _shown(accuracy: Interval) -> str:
    if accuracy.value is None or accuracy.low is None or accuracy.high is None:
        return "not known"
    return f"{accuracy.value:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%})"
