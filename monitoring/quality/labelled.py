"""Answers beside the truth as columns: what an audit is computed from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from monitoring.image_stats import NAMES

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]


@dataclass(frozen=True)
class LabelledAnswers:
    """
    Labelled predictions of one model version, a row each; what was not recorded is NaN or "".

    Attributes:
        truth: What the picture shows, by its last label.
        answered: What the model said.
        confidence: (N,), 0..1; NaN where it was not recorded.
        metadata: As the callers sent it.
        ids: Of the predictions.
        images: SHA-256 of the pictures.
        groups: Of pictures that belong together (a session); "" = the picture stands alone.
        statistics: (N, S), in the order of `monitoring.image_stats.NAMES`.
    """

    truth: tuple[str, ...]
    answered: tuple[str, ...]
    confidence: Floats
    metadata: tuple[Mapping[str, str], ...]
    ids: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    statistics: Floats = field(default_factory=lambda: np.empty((0, len(NAMES))))

    def __len__(self) -> int:
        return len(self.truth)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Every class that was true or answered at least once, in the order of their names."""
        return tuple(sorted(set(self.truth) | set(self.answered)))

    @cached_property
    def cells(self) -> Codes:
        """(N, 2): numbers of the true and of the answered class."""
        number = {label: place for place, label in enumerate(self.labels)}
        pairs = [[number[name] for name in names] for names in (self.truth, self.answered)]
        return np.array(pairs, dtype=np.intp).reshape(2, -1).T

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """(N,): whether the answer was the truth."""
        same: NDArray[np.bool_] = self.cells[:, 0] == self.cells[:, 1]
        return same

    @cached_property
    def units(self) -> Codes:
        """
        (N,): rows of one number are seen as one piece of evidence: one session's, or copies of one picture.

        Where near-copies counted singly, every interval would be too narrow and every test too sure.
        """
        rows = range(len(self))
        groups = self.groups or ("",) * len(self)
        images = self.images or ("",) * len(self)
        names = [
            ("group", groups[row]) if groups[row] else ("image", images[row]) if images[row] else ("row", str(row))
            for row in rows
        ]
        number: dict[tuple[str, str], int] = {}
        return np.array([number.setdefault(name, len(number)) for name in names], dtype=np.intp)

    @cached_property
    def all_alone(self) -> bool:
        """Whether every row is a unit of its own."""
        return len(self) == int(self.units.max(initial=-1)) + 1

    def count_units(self, member: NDArray[np.bool_]) -> int:
        """How many units the marked rows come from."""
        return int(np.count_nonzero(np.bincount(self.units[member]))) if member.any() else 0

    def values(self, column: str) -> NDArray[np.object_]:
        """(N,): a metadata column as text, "" where a row does not say it."""
        found = np.empty(len(self), dtype=object)
        found[:] = [_text(row.get(column)) for row in self.metadata]
        return found


def _text(value: object) -> str:
    # A caller's JSON may hold null or NaN, which is the same as silence.
    return "" if value is None or value != value else str(value)  # noqa: PLR0124 - NaN alone differs from itself
