"""How often a shadow and the champion answer alike, and how much of their parting labels explain."""

from dataclasses import dataclass

from models.intervals import wilson
from monitoring.comparison import Comparison, GroupComparison


@dataclass(frozen=True)
class Agreement:
    """
    How often shadow and champion answered alike, overall or in one subgroup, with its 95 % interval, 0..1.

    Attributes:
        repaired: Share of the images, 0..1, that the shadow surely has right where the champion errs: the lower bound
            by labels that chance drew.
    """

    title: str
    images: int
    value: float | None
    low: float | None
    high: float | None
    few: bool
    repaired: float = 0.0


def agreements(compared: Comparison, labelled: Comparison | None) -> tuple[Agreement, ...]:
    """Of all images, then of each subgroup; `labelled`: the same comparison of those whose labels chance drew."""
    groups = () if labelled is None else (labelled.overall, *labelled.groups)
    repaired = {group.title: _repaired(group) for group in groups}
    return tuple(_agreement(group, repaired.get(group.title, 0.0)) for group in (compared.overall, *compared.groups))


def _repaired(group: GroupComparison) -> float:
    pairs, images = group.pairs, group.trial.labelled
    return wilson(pairs.only_trial, images)[0] if pairs is not None and images else 0.0


def _agreement(group: GroupComparison, repaired: float) -> Agreement:
    alike = group.agreement
    found = (None, None, None) if alike is None else (alike.value, alike.low, alike.high)
    return Agreement(group.title, group.trial.predictions, *found, few=group.few, repaired=repaired)
