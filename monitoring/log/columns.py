"""Rows of the prediction log as columns of numbers, without a record for any of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from monitoring.image_stats import EARLIEST, NAMES
from monitoring.reference.coded import MISSING, Coded, CodedRows
from monitoring.watching.batch import Batch

_MOST_COLUMNS = 100
_MOST_VALUES = 50_000
OTHER_VALUES = "(one of many other values)"

Coarse = Callable[[str], str]


def batch_in(frame: pl.DataFrame, classes: int, embedding_size: int) -> Batch:
    """
    What `batch_of` makes of records: lists of another length than the model's are NaN, and whatever is not finite.

    The numbers are float32, as the log has them.
    """
    return Batch(
        statistics=numbers_in(frame["statistics"], len(NAMES), least=EARLIEST),
        probabilities=numbers_in(frame["probabilities"], classes),
        embedding=numbers_in(frame["embedding"], embedding_size),
        labels=coded_in(frame["label"]),
        metadata=metadata_in(frame["metadata"]),
    )


def numbers_in(lists: pl.Series, width: int, *, least: int | None = None) -> NDArray[Any]:
    """Shape (N, `width`), float32; a row of at least `least` numbers, by default `width`, is filled up with NaN."""
    found = np.full((len(lists), width), np.nan, dtype=np.float32)
    lengths = lists.list.len().fill_null(0).to_numpy()
    for length in np.unique(lengths).tolist():
        if 0 < length <= width and length >= (width if least is None else least):
            rows = lengths == length
            alike = lists if rows.all() else lists.filter(pl.Series(rows))
            # A number that is missing inside a list comes out as NaN.
            found[rows, :length] = alike.explode().to_numpy().reshape(-1, length)
    found[~np.isfinite(found)] = np.nan
    return found


def coded_in(texts: pl.Series) -> Coded:
    """A column of text as numbers, in the order in which its values first come."""
    values = texts.drop_nulls().unique(maintain_order=True)
    places = values.to_frame("text").with_row_index("code")
    codes = texts.to_frame("text").join(places, on="text", how="left", maintain_order="left")["code"]
    return Coded(tuple(values.to_list()), codes.cast(pl.Int32).fill_null(MISSING).to_numpy())


def metadata_in(texts: pl.Series) -> CodedRows:
    """
    Metadata as the log keeps it, a JSON object a row; each different text is read once.

    Of rows that each name columns of their own, the first hundred columns are kept.
    """
    rows = coded_in(texts)
    values: dict[str, dict[str, int]] = {}
    codes: dict[str, NDArray[np.int32]] = {}
    for place, text in enumerate(rows.values):
        for name, value in _flat(text):
            if name not in values:
                if len(values) == _MOST_COLUMNS:
                    continue
                values[name] = {}
                codes[name] = np.full(len(rows.values) + 1, MISSING, dtype=np.int32)
            known = values[name]
            codes[name][place] = known.setdefault(value, len(known))
    # The last place answers to the code of a row without any metadata.
    columns = {name: Coded(tuple(values[name]), codes[name][rows.codes]) for name in values}
    return CodedRows(len(texts), columns)


def one_of_many(_value: str) -> str:
    """What stands for any value beyond those that are kept apart."""
    return OTHER_VALUES


class CodedColumn:
    """
    A column of text that comes a slice at a time, into room for `rows` of them.

    Of its different values the first 50,000 are kept apart; `coarse` says what stands for each of the others.
    """

    def __init__(self, rows: int, coarse: Coarse = one_of_many) -> None:
        self._codes = np.full(rows, MISSING, dtype=np.int32)
        self._places: dict[str, int] = {}
        self._coarse = coarse

    def put(self, start: int, part: Coded) -> None:
        """Write a slice's values from row `start` on."""
        here = np.array([*map(self._place, part.values), MISSING], dtype=np.int32)
        self._codes[start : start + len(part)] = here[part.codes]

    def whole(self, rows: int) -> Coded:
        """The first `rows` rows."""
        return Coded(tuple(self._places), self._codes[:rows])

    def _place(self, value: str) -> int:
        found = self._places.get(value)
        if found is None:
            kept = value if len(self._places) < _MOST_VALUES else self._coarse(value)
            found = self._places.setdefault(kept, len(self._places))
        return found


class CodedTable:
    """Metadata that comes a slice at a time; a column may appear in any of them."""

    def __init__(self, rows: int, coarse: Mapping[str, Coarse]) -> None:
        self._rows = rows
        self._coarse = coarse
        self._columns: dict[str, CodedColumn] = {}

    def put(self, start: int, part: Mapping[str, Coded]) -> None:
        """Write a slice's columns from row `start` on."""
        for name, column in part.items():
            if name not in self._columns and len(self._columns) < _MOST_COLUMNS:
                self._columns[name] = CodedColumn(self._rows, self._coarse.get(name, one_of_many))
            if name in self._columns:
                self._columns[name].put(start, column)

    def whole(self, rows: int) -> CodedRows:
        """The first `rows` rows."""
        return CodedRows(rows, {name: column.whole(rows) for name, column in self._columns.items()})


def _flat(text: str) -> Sequence[tuple[str, str]]:
    try:
        document = json.loads(text)
    except ValueError:
        return ()
    if not isinstance(document, dict):
        return ()
    return [(name, str(value)) for name, value in document.items() if value not in ("", None)]
