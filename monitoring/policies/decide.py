"""Whether a retrain starts: policies ask, the expression joins them, constraints hold back. Nothing is read here."""

from collections.abc import Sequence

from monitoring.policies.answers import answer
from monitoring.policies.constraints import OPEN_JOB, constraints
from monitoring.policies.expected import expected
from monitoring.policies.expression import SCHEDULE
from monitoring.policies.records import ConstraintAnswer, PolicyAnswer, PolicyInput, TriggerDecision
from monitoring.policies.rules import PolicyRules


def decide(given: PolicyInput, rules: PolicyRules) -> TriggerDecision:
    """
    Ask every policy that the expression names, and start where it holds and nothing holds back.

    A moment of the schedule is considered at one look. Only where time alone is in its way, and that time ends before
    the next moment, it is considered again: a cool-down is waited for, labels are not.
    """
    policies = tuple(answer(name, given, rules) for name in rules.when.policies)
    fired = tuple(one.name for one in policies if one.fires)
    asks = rules.when.holds(fired)
    found = constraints(given, rules, fired)
    held = [one for one in found if one.holds_back]
    starts = asks and not held
    return TriggerDecision(
        when=rules.text,
        policies=policies,
        asks=asks,
        constraints=found,
        starts=starts,
        reason=_strongest(rules, fired) if starts else "",
        expected=expected(given, rules),
        words=_words(rules, policies, held, asks=asks),
        keeps_moment=asks and SCHEDULE in fired and _waits_for_the_clock(given, held),
    )


def _strongest(rules: PolicyRules, fired: Sequence[str]) -> str:
    """The first of those that ask: harm before performance, and a person's wish last."""
    return next(name for name in rules.when.policies if name in fired)


def _waits_for_the_clock(given: PolicyInput, held: Sequence[ConstraintAnswer]) -> bool:
    if not held or any(one.until is None for one in held):
        return False
    free = max(one.until for one in held if one.until is not None)
    return given.next_moment is None or free < given.next_moment


def _words(
    rules: PolicyRules, policies: Sequence[PolicyAnswer], held: Sequence[ConstraintAnswer], *, asks: bool
) -> str:
    fired = [one for one in policies if one.fires]
    if not fired:
        return f"Nothing asks for a retrain: {rules.text}."
    why = " ".join(one.words for one in fired)
    if not asks:
        missing = ", ".join(one.name for one in policies if not one.fires)
        return f"No retrain starts: {rules.text} does not hold without {missing}. {why}"
    if not held:
        return f"A retrain starts. {why}"
    if [one.name for one in held] == [OPEN_JOB]:
        return f"A retrain is under way. {held[0].words} {why}"
    return f"A retrain is held back. {' '.join(one.words for one in held)} {why}"
