"""What the settings say about starting retrains, read and checked once."""

from dataclasses import dataclass
from datetime import timedelta

from infra.errors import UserError
from infra.settings import Settings
from monitoring.policies.expression import Expression, ExpressionMistake, parse
from monitoring.policies.moments import FIELDS, CronMistake, QuietHours, check_cron, quiet_hours

_NEVER_ASKS = {
    "performance": ("least_accuracy", "trigger.least_accuracy"),
    "bias": ("most_subgroup_gap", "trigger.most_subgroup_gap"),
    "labels": ("new_labels", "trigger.new_labels"),
    "schedule": ("cron", "trigger.cron"),
}


@dataclass(frozen=True)
class PolicyRules:
    """
    The section [trigger] as the decision needs it, and what a retrain costs at most; 0 and "" switch a rule off.

    Attributes:
        text: `trigger.when` as it was written.
        when: The same, read.
        least_accuracy, most_subgroup_gap: Shares, 0..1.
        budget_minutes: After which a training job stops itself: its cost where none has run yet.
    """

    text: str
    when: Expression
    on_harm: bool = True
    least_accuracy: float = 0.0
    most_subgroup_gap: float = 0.0
    new_labels: int = 0
    least_fresh_labels: int = 100
    least_labels_in_changed_region: int = 50
    least_fresh_labels_per_class: int = 0
    cooldown: timedelta = timedelta(minutes=60)
    most_per_week: int = 0
    training_minutes_per_month: float = 0.0
    quiet: QuietHours | None = None
    cron: str = ""
    budget_minutes: float = 30.0


def rules_of(settings: Settings) -> PolicyRules:
    """
    The rules of a project.

    Raises:
        UserError: names every mistake in [trigger] at once.
    """
    trigger = settings.trigger
    mistakes: list[str] = []
    when, quiet = Expression(), None
    try:
        when = parse(trigger.when)
    except ExpressionMistake as mistake:
        mistakes.append(f"trigger.when is {trigger.when!r}: {mistake}.")
    try:
        quiet = quiet_hours(trigger.quiet_hours)
    except ValueError as mistake:
        mistakes.append(f"trigger.quiet_hours should be {mistake}.")
    try:
        if trigger.cron.strip():
            check_cron(trigger.cron)
    except CronMistake as mistake:
        mistakes.append(
            f"trigger.cron should be five fields, {FIELDS}, in UTC; found {trigger.cron!r}: {mistake}. "
            'Write "0 3 * * 0" for Sundays at three, or "" for never.'
        )
    if mistakes:
        raise UserError("\n".join(mistakes))
    return PolicyRules(
        text=trigger.when.strip(),
        when=when,
        on_harm=trigger.retrain_on_harm,
        least_accuracy=trigger.least_accuracy,
        most_subgroup_gap=trigger.most_subgroup_gap,
        new_labels=trigger.new_labels,
        least_fresh_labels=trigger.least_fresh_labels,
        least_labels_in_changed_region=trigger.least_labels_in_changed_region,
        least_fresh_labels_per_class=trigger.least_fresh_labels_per_class,
        cooldown=timedelta(minutes=trigger.cooldown_minutes),
        most_per_week=trigger.most_per_week,
        training_minutes_per_month=trigger.training_minutes_per_month,
        quiet=quiet,
        cron=trigger.cron.strip(),
        budget_minutes=settings.train.budget_minutes,
    )


def silent_policies(rules: PolicyRules) -> tuple[str, ...]:
    """
    Of each policy that is named but can never ask, a sentence; by default the schedule is one of them.

    A schedule without a cron line is meant so, and is not told.
    """
    found = []
    for name in rules.when.policies:
        field, setting = _NEVER_ASKS.get(name, ("", ""))
        if field and name != "schedule" and not getattr(rules, field):
            found.append(f"trigger.when names {name}, but {setting} is not set, so it never asks.")
    return tuple(found)
