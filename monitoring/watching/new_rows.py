"""Predictions that have come since the last look, read a slice at a time; and the windows they make whole."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.prediction import Prediction
from monitoring.log.cursor import Cursor
from monitoring.log.order import between
from monitoring.log.rows import predictions_in
from monitoring.log.stretch import SLICE_ROWS, Stretch, stretch_between
from monitoring.prediction_log import PredictionLog
from monitoring.reference.profile import ReferenceProfile
from monitoring.reference.reduced import Reduction, reduction
from monitoring.watching.batch import Batch
from monitoring.watching.state import MOST_RECENT
from monitoring.window_columns import Times, WindowColumns, read_window, times_in


@dataclass(frozen=True)
class NewRows:
    """
    Some consecutive predictions of all versions, in the order in which they count.

    Attributes:
        frame: Rows of the log.
        start: The place before them.
    """

    frame: pl.DataFrame
    start: Cursor

    def __len__(self) -> int:
        return self.frame.height

    @property
    def times(self) -> Times:
        return times_in(self.frame)

    @property
    def end(self) -> Cursor:
        """The place of the last of each spool."""
        return self.start.past(self.frame)

    def head(self, count: int) -> "NewRows":
        return NewRows(self.frame.head(count), self.start)

    def tail(self, start: int) -> "NewRows":
        return NewRows(self.frame.slice(start), self.head(start).end)

    def where(self, rows: NDArray[np.bool_]) -> "NewRows":
        """Some of the rows alone; where they lie is the same."""
        return NewRows(self.frame.filter(pl.Series(rows, dtype=pl.Boolean)), self.start)

    def of(self, version: int) -> NDArray[np.bool_]:
        """Shape (N,): which are this version's."""
        mine: NDArray[np.bool_] = (self.frame["model_version"] == version).to_numpy()
        return mine


@dataclass
class Arrivals:
    """
    What lies beyond the last look, and the windows that it completes; nothing is read before it is asked for.

    Attributes:
        log: Where it lies.
        begin: Where the last look ended.
        stretch: The new rows.
        load: A version's profile; None where none is kept.
        whole_minutes: Whether a session's predictions of one minute count together.
        slice_rows: Rows in memory at a time.
    """

    log: PredictionLog
    begin: Cursor
    stretch: Stretch
    load: Callable[[int], ReferenceProfile | None]
    whole_minutes: bool = False
    slice_rows: int = SLICE_ROWS
    _known: dict[int, Reduction | None] = field(default_factory=dict)

    def slices(self) -> Iterator[NewRows]:
        """All new rows in their order, those that repeat an answer among them."""
        start = self.begin
        for frame in self.stretch.slices(self.slice_rows, whole_minutes=self.whole_minutes):
            rows = NewRows(frame, start)
            yield rows
            start = rows.end

    def know(self, profile: ReferenceProfile) -> None:
        """Take this profile for its version's."""
        self._known[profile.version] = reduction(profile)

    def reduction_of(self, version: int) -> Reduction | None:
        """How this version's embeddings are projected; None where it has no profile."""
        if version not in self._known:
            profile = self.load(version)
            self._known[version] = None if profile is None else reduction(profile)
        return self._known[version]

    def profile_of(self, version: int) -> ReferenceProfile:
        """The reduced profile of a version that has one."""
        known = self.reduction_of(version)
        assert known is not None, "rows are compared with a profile"
        return known.profile

    def batch(self, rows: NewRows, version: int) -> Batch:
        """Some rows of a version whose profile is known, projected."""
        known = self.reduction_of(version)
        assert known is not None, "rows are compared with a profile"
        return known.batch(rows.frame)

    def window(self, version: int, start: Cursor, end: Cursor, sample: int) -> WindowColumns | None:
        """The version's rows between two places, `sample` of them whole; None where it has no profile."""
        known = self.reduction_of(version)
        if known is None:
            return None
        return read_window(self.log.predictions, known, start, end, sample, slice_rows=self.slice_rows)

    def newest_before(self, version: int, start: Cursor, most: int) -> tuple[Prediction, ...]:
        """At most so many of the version's predictions between a place and the last look, the newest of them."""
        if most <= 0:
            return ()
        stretch = stretch_between(self.log.predictions, start, self.begin, version)
        return predictions_in(stretch.read(stretch.index.tail(most))) if len(stretch) else ()

    def ids_before(self, start: Cursor) -> pl.Series:
        """The hashes of the ids between a place and the last look."""
        frame = between(self.log.predictions.scan(), start, self.begin)
        if frame is None:
            return pl.Series("id", [], dtype=pl.UInt64)
        return frame.filter(~pl.col("repeated")).select(pl.col("id").hash()).collect()["id"]

    def open_rows(self, start: Cursor, end: Cursor) -> Mapping[str, int]:
        """Rows of each version between two places."""
        frame = between(self.log.predictions.scan(), start, end)
        if frame is None:
            return {}
        counts = frame.filter(~pl.col("repeated")).group_by("model_version").agg(pl.col("id").n_unique()).collect()
        return {str(version): count for version, count in counts.iter_rows()}


class Remembered:
    """The ids of the newest predictions, by their hash: so long a repeat is known that the service did not mark."""

    def __init__(self, hashes: pl.Series, most: int = MOST_RECENT) -> None:
        self._most = most
        self._hashes: dict[int, None] = dict.fromkeys(hashes.to_list())

    def first(self, rows: NewRows, version: int, most: int) -> NDArray[np.bool_]:
        """
        Shape (n,): which rows are the first answer to their id; they are remembered from now on.

        Args:
            rows: N of them, of which the first n are looked at.
            version: Whose answers are wanted.
            most: So many of them end the look.
        """
        found = np.zeros(len(rows), dtype=bool)
        known, left = self._hashes, most
        columns = rows.frame.select(pl.col("id").hash(), "repeated", mine=pl.col("model_version") == version)
        for place, (code, repeated, mine) in enumerate(columns.iter_rows()):
            if repeated or code in known:
                continue
            found[place] = True
            known[code] = None
            if len(known) > self._most:
                del known[next(iter(known))]
            left -= mine
            if not left:
                return found[: place + 1]
        return found

    def forget(self) -> None:
        """A window has ended: what is answered again in the next counts there."""
        self._hashes.clear()
