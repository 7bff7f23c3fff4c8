"""Traffic whose confidences and truth are both known, and labels drawn from it by chance or by doubt."""

from dataclasses import dataclass

import numpy as np

from monitoring.estimates.asked import Asked, Expected, expected_of
from monitoring.reference.coded import Coded

_PREDICTIONS = 5_000


@dataclass(frozen=True)
class World:
    """5,000 predictions; `right` is what labels would say, `expected` what the confidences do."""

    expected: np.ndarray
    right: np.ndarray

    @property
    def everyone(self) -> Expected:
        return expected_of(self.expected)

    def ask(self, labels: int, chance: np.random.Generator, *, by_doubt: bool) -> Asked:
        """About so many labels: a quarter by chance and the rest by doubt, or all by chance."""
        count = len(self.expected)
        uniform = np.full(count, labels / count * (0.25 if by_doubt else 1.0))
        doubt = np.sqrt(self.expected * (1 - self.expected)) * by_doubt
        targeted = np.minimum(1, 0.75 * labels * doubt / max(doubt.sum(), 1e-9))
        probability = 1 - (1 - uniform) * (1 - targeted)
        in_audit, aimed = chance.random(count) < uniform, chance.random(count) < targeted
        rows = np.flatnonzero(in_audit | aimed)
        return asked_about(self, rows, probability[rows], in_audit[rows], uniform[rows])


def asked_about(
    world: World, rows: np.ndarray, probability: np.ndarray, in_audit: np.ndarray, uniform: np.ndarray
) -> Asked:
    return Asked(
        answered=np.ones(len(rows), dtype=bool),
        right=world.right[rows],
        expected=world.expected[rows],
        probability=probability,
        uniform=uniform,
        in_audit=in_audit,
        strata=Coded(("audit", "uncertain"), np.where(in_audit, 0, 1).astype(np.int32)),
        groups=np.arange(len(rows)),
    )


def world(chance: np.random.Generator, *, concept_drift: float = 0.0) -> World:
    """Honest confidences around 0.85; under concept drift so many of the answers are wrong whatever was expected."""
    expected = chance.beta(3.4, 0.6, _PREDICTIONS)
    right = chance.random(_PREDICTIONS) < expected
    return World(expected, right & (chance.random(_PREDICTIONS) >= concept_drift))
