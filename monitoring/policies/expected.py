"""What a retrain may win and what it costs: avoidable errors a day, beside minutes of training."""

from monitoring.policies.records import Expected, JobsSoFar, PolicyInput
from monitoring.policies.rules import PolicyRules


def expected(given: PolicyInput, rules: PolicyRules) -> Expected:
    """
    Errors that a champion within its bound would not make, at the present rate of predictions, and the usual cost.

    The error is what labels or a valid estimate show above what the champion is allowed: a successor that is merely
    within bounds again wins that much, and no more is promised.
    """
    minutes, words = usual_minutes(given.jobs, rules)
    share, a_day = given.avoidable_error, given.predictions_per_day
    errors = None if share is None or a_day is None else share * a_day
    return Expected(share, errors, given.avoidable_basis if share is not None else "", minutes, words)


def usual_minutes(jobs: JobsSoFar, rules: PolicyRules) -> tuple[float, str]:
    """Minutes that a retrain takes, and where they come from in words."""
    if jobs.usual_minutes is None:
        return rules.budget_minutes, "at most, by train.budget_minutes: none has run yet"
    return jobs.usual_minutes, f"the median of the last {jobs.usual_of}" if jobs.usual_of > 1 else "as the last one"
