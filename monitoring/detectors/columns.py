"""A column twice: as the reference has it, and as the window has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from monitoring.watching.batch import Floats


@dataclass(frozen=True)
class Numbers:
    """
    A number of every prediction.

    Attributes:
        reference, window: A value for each row; what is not finite counts as missing.
    """

    family: str
    name: str
    reference: Floats
    window: Floats

    @cached_property
    def sorted_reference(self) -> Floats:
        return _known(self.reference)

    @cached_property
    def sorted_window(self) -> Floats:
        return _known(self.window)

    @property
    def comparable(self) -> bool:
        """Whether both sides have any value."""
        return bool(len(self.sorted_reference) and len(self.sorted_window))


@dataclass(frozen=True)
class Categories:
    """
    One of a few values of every prediction.

    Attributes:
        reference: Value to number of rows.
        window: Value to number of rows.
        codes: shape (N,): the place of each window row's value among `values`; below 0 where it has none.
        values: Of the window's codes.
    """

    family: str
    name: str
    reference: Mapping[str, int]
    window: Mapping[str, int]
    codes: NDArray[np.int32]
    values: tuple[str, ...]


def _known(values: Floats) -> Floats:
    return np.sort(values[np.isfinite(values)])
