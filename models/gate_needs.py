"""The labels that would decide: how many, of which class or subgroup, from the old world or the new one. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.gate_records import ALL, OLD, RECENT, UNDECIDED, GateDecision

OVERALL = "overall"
_FALSE_POSITIVES = "false positives"


@dataclass(frozen=True)
class LabelNeed:
    """
    Labels of judge images that a decision waits for.

    Attributes:
        group: "overall" (any image), "class=7", "camera=A" or "camera=A, site=B".
        scope: "old": like what the champion was made for; "recent": as they come.
        labels: How many.
        different: So many would do of images that candidate and champion answer differently; None where they would not.
        relief: Whether they decide nothing, but would prove a gain so large that a longer canary may.
    """

    group: str
    scope: str
    labels: int
    different: int | None = None
    relief: bool = False


def needs_of(decision: GateDecision) -> tuple[LabelNeed, ...]:
    """
    What an undecided candidate waits for, groups first, the largest need of each first; empty for any other.

    One label serves every check that its image belongs to, so of several needs of a group the largest counts. Where
    relief is in sight with half of the labels, that is the way, for every day with the worse model costs.
    """
    if decision.outcome != UNDECIDED:
        return ()
    most: dict[tuple[str, str], int] = {}
    gains = []
    for one in decision.objections:
        if one.outcome == UNDECIDED and one.needed_labels:
            # False positives of a class are seen on images of all the others.
            group = OVERALL if one.check == _FALSE_POSITIVES else one.group
            key = group, RECENT if one.scope == ALL else one.scope
            if one.needed_different:
                gains.append(LabelNeed(*key, one.needed_labels, one.needed_different))
                continue
            most[key] = max(one.needed_labels, most.get(key, 0))
    found = [*gains, *(LabelNeed(group, scope, labels) for (group, scope), labels in most.items())]
    relief = decision.relief_needed
    if relief is not None and (not found or 2 * relief <= sum(one.labels for one in found)):
        return (LabelNeed(OVERALL, RECENT, relief, relief=True),)
    return tuple(sorted(found, key=lambda one: (one.group == OVERALL, one.scope != OLD, -one.labels, one.group)))


def in_words(needs: Sequence[LabelNeed]) -> str:
    """The needs as one phrase: "120 more labels of class 7, 300 more of any image"."""
    parts = []
    for number, one in enumerate(needs):
        labels = f"{one.labels} more{'' if number else ' labels'}"
        world = "" if one.scope == RECENT else ", from where nothing has changed"
        fewer = (
            "" if one.different is None else f", or {one.different} of images that the two models answer differently"
        )
        why = ", to prove a gain large enough for a longer canary" if one.relief else ""
        parts.append(f"{labels} of {_of(one.group)}{world}{fewer}{why}")
    return "; ".join(parts)


def needs_from_json(gate: Mapping[str, Any] | None) -> tuple[LabelNeed, ...]:
    """As `needs_of`, from a version's row; empty where it was never judged."""
    undecided = gate is not None and gate.get("outcome") == UNDECIDED
    return needs_of(GateDecision.from_json(gate)) if gate is not None and undecided else ()


def _of(group: str) -> str:
    return "any image" if group == OVERALL else group.replace("=", " ")
