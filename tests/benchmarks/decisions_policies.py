"""The policies that the simulation sets side by side: Kedge's own, and the kinds that others have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from models.gate_records import GateRules
from monitoring.backtesting.evidence_trigger import EvidenceTrigger, WatchRules
from monitoring.backtesting.judging import GATE, GUARD, NOBODY, TWO_READINGS
from monitoring.backtesting.plain_triggers import Accuracy, Amount, Distance, Never, Schedule
from monitoring.backtesting.trigger import Trigger
from monitoring.evidence_records import EvidenceSettings
from monitoring.policies.expression import parse
from monitoring.policies.rules import PolicyRules

TRAINING_MINUTES = 30.0
OURS = "Kedge"
NEVER = "never"


@dataclass(frozen=True)
class Contender:
    """A policy, and who judges its candidates by which rules; a fresh trigger for each quarter."""

    begin: Callable[[], Trigger]
    judge: str
    rules: GateRules = TWO_READINGS


def _kedge(when: str, **rules: float) -> Callable[[], Trigger]:
    policy = PolicyRules(when, parse(when), **rules)  # type: ignore[arg-type]  # numbers all
    return lambda: EvidenceTrigger(WatchRules(EvidenceSettings(), policy, TRAINING_MINUTES, source="camera"))


# Defaults of Modyn where it has some: a dynamic quantile of 5 % of the last ten distances.
CONTENDERS: Mapping[str, Contender] = {
    OURS: Contender(_kedge("any(harm, schedule, requested)"), GATE),
    "Kedge, 5 points allowed": Contender(
        _kedge("any(harm, schedule, requested)"), GATE, replace(TWO_READINGS, overall_margin=0.05)
    ),
    "Kedge, guard for a gate": Contender(_kedge("any(harm, schedule, requested)"), GUARD),
    "Kedge, harm or 300 labels, guard": Contender(_kedge("any(harm, labels)", new_labels=300), GUARD),
    NEVER: Contender(Never, NOBODY),
    "time, 7 days": Contender(lambda: Schedule(7), NOBODY),
    "time, 30 days": Contender(lambda: Schedule(30), NOBODY),
    "amount, 200 labels": Contender(lambda: Amount(200), NOBODY),
    "drift, quantile": Contender(lambda: Distance(1_000), NOBODY),
    "drift, MMD² > 0.02": Contender(lambda: Distance(1_000, 0.02), NOBODY),
    "accuracy < 90 %": Contender(lambda: Accuracy(0.90, 100), NOBODY),
}
