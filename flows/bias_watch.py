"""Audits that nobody has to think of: where bias may ask for a retrain, the daily tidying makes one."""

import logging

from flows.audit import Asked, Audit, audit
from flows.workplace import Workplace
from monitoring.policies.expression import BIAS
from monitoring.policies.rules import rules_of

_log = logging.getLogger(__name__)


def audit_for_bias(place: Workplace) -> Audit | None:
    """
    Audit the champion by labels that may measure; None where trigger.when does not name bias, or nobody serves.

    Whatever goes wrong with it is logged: what called it has other things to do.
    """
    rules = rules_of(place.settings)
    if BIAS not in rules.when.policies or not rules.most_subgroup_gap or place.registry.champions.current() is None:
        return None
    try:
        return audit(place, asked=Asked(drawn_only=not place.settings.monitor.feedback_is_random))
    except Exception:  # noqa: BLE001 - see above
        _log.exception("The audit for trigger.when failed; `kedge audit` makes one by hand")
        return None
