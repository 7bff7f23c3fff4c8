"""What a rollout expects of a candidate by the gate's decision: where it is to part from the champion."""

from models.gate_records import PROMOTE, RECENT, GateDecision

# The gate's rows that compare how often both were right: the one that demands a gain has a name of its own.
_ACCURACIES = ("gain", "accuracy")


def proven_gains(decision: GateDecision | None) -> dict[str, float]:
    """By how much it was better on recent judge images, 0..1, overall and by group; none where that is not proven."""
    rows = (
        [] if decision is None else [row for row in decision.checks if row.scope == RECENT and row.name in _ACCURACIES]
    )
    if not any(row.group == "overall" and row.bound < 0 for row in rows):
        return {}
    return {row.group: -row.loss for row in rows if row.loss < 0}


def is_undecided(decision: GateDecision | None) -> bool:
    """Whether the gate did not let it through; where it is rolled out all the same, its canary is longer."""
    return decision is not None and decision.outcome != PROMOTE
