"""Text columns as numbers: each different value once, and for every row which of them it has."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

MISSING = -1


@dataclass(frozen=True, eq=False)
class Coded(Sequence[str]):
    """
    A column of text; a row that has none reads as "".

    Attributes:
        values: Each different value once.
        codes: shape (N,), int32: the place of each row's value in `values`, or `MISSING`.
    """

    values: tuple[str, ...]
    codes: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> "Coded": ...
    def __getitem__(self, key: int | slice) -> "str | Coded":
        if isinstance(key, slice):
            return Coded(self.values, self.codes[key])
        code = int(self.codes[key])
        return "" if code == MISSING else self.values[code]

    def __iter__(self) -> Iterator[str]:
        return iter(self.text.tolist())

    @property
    def text(self) -> NDArray[np.object_]:
        """Shape (N,): the values themselves."""
        # The last place answers to the code of what is missing.
        return np.array([*self.values, ""], dtype=object)[self.codes]

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Coded":
        return Coded(self.values, self.codes[rows])

    def counts(self) -> dict[str, int]:
        """How many rows have each value that occurs, the most frequent first; rows without any are left out."""
        found = np.bincount(self.codes[self.codes != MISSING], minlength=len(self.values))
        order = np.argsort(-found, kind="stable")
        return {self.values[code]: int(found[code]) for code in order if found[code]}

    def where(self, truths: Sequence[bool]) -> NDArray[np.bool_]:
        """Shape (N,): each row's truth, given one for each of `values`; False where the value is missing."""
        return np.array([*truths, False], dtype=bool)[self.codes]


@dataclass(frozen=True, eq=False)
class CodedRows(Sequence[Mapping[str, str]]):
    """
    Flat mappings, a row each, kept as columns.

    Attributes:
        rows: How many; there may be rows and no column.
        columns: Name to column, each as long as `rows`.
    """

    rows: int
    columns: Mapping[str, Coded]

    def __len__(self) -> int:
        return self.rows

    @overload
    def __getitem__(self, key: int) -> Mapping[str, str]: ...
    @overload
    def __getitem__(self, key: slice) -> "CodedRows": ...
    def __getitem__(self, key: int | slice) -> "Mapping[str, str] | CodedRows":
        if isinstance(key, slice):
            return CodedRows(len(range(self.rows)[key]), {name: column[key] for name, column in self.columns.items()})
        row = range(self.rows)[key]
        return {name: column[row] for name, column in self.columns.items() if column.codes[row] != MISSING}

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "CodedRows":
        count = int(np.count_nonzero(rows)) if rows.dtype == np.bool_ else len(rows)
        return CodedRows(count, {name: column.take(rows) for name, column in self.columns.items()})


def coded(values: Sequence[str]) -> Coded:
    """The same column as numbers; one that is so already stays as it is. The empty text counts as missing."""
    if isinstance(values, Coded):
        return values
    places: dict[str, int] = {"": MISSING}
    codes = np.empty(len(values), dtype=np.int32)
    for row, value in enumerate(values):
        codes[row] = places.setdefault(value, len(places) - 1)
    return Coded(tuple(places)[1:], codes)
