"""A window's predictions as columns: what everything that is said about the window is computed from."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import floor, isfinite

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.tables import Table
from monitoring.image_stats import NAMES
from monitoring.log.columns import Coarse, CodedColumn, CodedTable, one_of_many
from monitoring.log.cursor import Cursor
from monitoring.log.stretch import SLICE_ROWS, stretch_between
from monitoring.reference.profile import NUMBER, Column, ReferenceProfile
from monitoring.reference.reduced import Reduction, room
from monitoring.watching.batch import Batch

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ASIDE = timedelta(hours=1)
_STEPS, _FARTHEST = 1_000, 10.0

Times = NDArray[np.datetime64]


@dataclass(frozen=True)
class WindowColumns:
    """
    The predictions of a window, a row each, in the order in which they count; a row takes some 400 bytes.

    Attributes:
        batch: Reduced; see `monitoring.reference.reduced`.
        profile: The one beside it, reduced too.
        times: shape (N,), datetime64 in microseconds, UTC: when each was answered.
        ids: N texts.
        image_hashes: shape (N,), uint64: equal where the very same file was sent; they mean nothing beyond this window.
        sample: Some whole rows of the log, evenly spread over the window: to be drawn, never to decide.
    """

    batch: Batch
    profile: ReferenceProfile
    times: Times
    ids: pl.Series
    image_hashes: NDArray[np.uint64]
    sample: pl.DataFrame

    def __len__(self) -> int:
        return len(self.times)

    @property
    def model_version(self) -> int:
        return self.profile.version

    @property
    def repeated_images(self) -> int:
        """How many rows show a file that another row before them had shown."""
        return len(self) - len(np.unique(self.image_hashes))


def read_window(
    table: Table, reduction: Reduction, start: Cursor, end: Cursor, sample: int, *, slice_rows: int = SLICE_ROWS
) -> WindowColumns | None:
    """
    The answers of the profile's version beyond `start` and up to `end`, each id once, read and projected by slices.

    Never more than one slice of embeddings is held, and `sample` whole rows. None where no row is left, because all
    have been deleted since they were counted.
    """
    stretch = stretch_between(table, start, end, reduction.profile.version)
    rows = len(stretch)
    statistics = room(rows, len(NAMES))
    probabilities = room(rows, reduction.classes)
    embedding = room(rows, len(reduction.projection.scale))
    hashes = np.empty(rows, dtype=np.uint64)
    coarse = {name: rounding(column) for name, column in reduction.profile.columns.items() if column.kind == NUMBER}
    labels, metadata = CodedColumn(rows), CodedTable(rows, coarse)
    small: list[pl.DataFrame] = []
    whole: list[pl.DataFrame] = []
    done = 0
    spread = np.unique(np.linspace(0, rows - 1, min(rows, sample)).round().astype(np.int64)) if rows else np.empty(0)
    for frame in stretch.slices(slice_rows):
        part = reduction.batch(frame)
        here = slice(done, done + len(part))
        statistics[here], probabilities[here], embedding[here] = part.statistics, part.probabilities, part.embedding
        hashes[here] = frame["image_sha256"].hash().to_numpy()
        labels.put(done, part.coded_labels)
        metadata.put(done, {name: part.column(name) for name in part.column_names})
        small.append(frame.select("id", "at"))
        whole.append(frame.select(pl.all().gather(spread[(spread >= done) & (spread < done + len(part))] - done)))
        done += len(part)
    if not done:
        return None
    index = pl.concat(small)
    return WindowColumns(
        batch=Batch(
            statistics[:done], probabilities[:done], embedding[:done], labels.whole(done), metadata.whole(done)
        ),
        profile=reduction.profile,
        times=times_in(index),
        ids=index["id"],
        image_hashes=hashes[:done],
        sample=pl.concat(whole),
    )


def rounding(column: Column) -> Coarse:
    """
    What stands for a number when a column has too many different ones to keep them all.

    It is rounded down to a thousandth of the reference's range, which it stays within or without; what lies ten
    ranges away or more counts as lying there.
    """
    reach = (column.high - column.low) or 1.0
    step = reach / _STEPS

    def rounded(text: str) -> str:
        try:
            number = float(text)
        except ValueError:
            return one_of_many(text)
        if not isfinite(number):
            return one_of_many(text)
        near = min(max(number, column.low - _FARTHEST * reach), column.high + _FARTHEST * reach)
        return repr(column.low + floor((near - column.low) / step) * step)

    return rounded


def times_in(frame: pl.DataFrame) -> Times:
    """Shape (N,), datetime64 in microseconds, UTC."""
    times: Times = frame["at"].dt.replace_time_zone(None).to_numpy()
    return times


def time_span(times: Times, now: datetime) -> tuple[datetime, datetime, int]:
    """
    From when to when a window ran, and how many of its rows say otherwise.

    A clock that is wrong must not stretch a window over its neighbours: a time ahead of `now`, or farther from the
    middle nine tenths of the times than these are long and an hour, is taken for one.
    """
    known = times[times <= np.datetime64((now + timedelta(minutes=1)).replace(tzinfo=None), "us")]
    if not len(known):
        return now, now, len(times)
    first, last = np.quantile(known.astype(np.int64), (0.05, 0.95), method="nearest")
    aside = last - first + _ASIDE // timedelta(microseconds=1)
    near = known.astype(np.int64)
    near = near[(near >= first - aside) & (near <= last + aside)]
    return moment_of(near.min()), moment_of(near.max()), len(times) - len(near)


def moment_of(time: np.datetime64 | np.int64) -> datetime:
    """An aware moment, of a time in microseconds."""
    return _EPOCH + timedelta(microseconds=int(time.astype(np.int64)))
