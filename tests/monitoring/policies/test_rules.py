from datetime import timedelta

import pytest

from infra.errors import UserError
from infra.settings import load
from monitoring.policies.rules import rules_of, silent_policies


def test_the_defaults_ask_by_harm_schedule_and_request(tmp_path):
    rules = rules_of(load(tmp_path, {}))

    assert rules.when.policies == ("harm", "schedule", "requested")
    assert (rules.cooldown, rules.quiet, rules.cron) == (timedelta(hours=1), None, "")
    assert silent_policies(rules) == ()


def test_every_mistake_in_the_section_is_told_at_once(tmp_path):
    environ = {
        "KEDGE_TRIGGER__WHEN": "any(harms)",
        "KEDGE_TRIGGER__QUIET_HOURS": "at night",
        "KEDGE_TRIGGER__CRON": "0 25 * * 0",
    }

    with pytest.raises(UserError) as raised:
        rules_of(load(tmp_path, environ))

    when, quiet, cron = str(raised.value).splitlines()
    assert when.startswith("trigger.when is 'any(harms)': 'harms' is no policy; did you mean harm?")
    assert quiet.startswith('trigger.quiet_hours should be two times of day in UTC, such as "22:00-06:00"')
    assert cron.startswith("trigger.cron should be five fields, minute hour day-of-month month day-of-week, in UTC;")


def test_a_policy_that_can_never_ask_is_named(tmp_path):
    rules = rules_of(
        load(tmp_path, {"KEDGE_TRIGGER__WHEN": "any(harm, labels, bias)", "KEDGE_TRIGGER__NEW_LABELS": "5"})
    )

    assert silent_policies(rules) == (
        "trigger.when names bias, but trigger.most_subgroup_gap is not set, so it never asks.",
    )
