"""The prediction log: every answer and every label, in two tables that grow without end."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from infra.clock import time_of_id
from infra.settings_sections import StorageSettings
from infra.tables import Table
from models.prediction import Label, Prediction, ShadowAnswer

Position = tuple[int, int]  # segment, place within it

_TIME = pl.Datetime("us", "UTC")
_FLOATS = pl.List(pl.Float32)
_PLACE: dict[str, Any] = {"date": pl.String(), "spool": pl.String(), "segment": pl.Int64(), "position": pl.Int32()}
_PREDICTIONS: dict[str, Any] = {
    "id": pl.String(),
    "at": _TIME,
    "model_version": pl.Int32(),
    "label": pl.String(),
    "confidence": pl.Float32(),
    "probabilities": _FLOATS,
    "embedding": _FLOATS,
    "statistics": _FLOATS,
    "image_sha256": pl.String(),
    "image_width": pl.Int32(),
    "image_height": pl.Int32(),
    "image_format": pl.String(),
    "image_bytes": pl.Int64(),
    "image_kept": pl.Boolean(),
    "metadata": pl.String(),
    "repeated": pl.Boolean(),
    "forward_ms": pl.Float32(),
    **_PLACE,
}
_SHADOWS: dict[str, Any] = {
    "id": pl.String(),
    "at": _TIME,
    "champion_version": pl.Int32(),
    "champion_label": pl.String(),
    "champion_confidence": pl.Float32(),
    "champion_forward_ms": pl.Float32(),
    "version": pl.Int32(),
    "label": pl.String(),
    "confidence": pl.Float32(),
    "forward_ms": pl.Float32(),
    "metadata": pl.String(),
    **_PLACE,
}
_LABELS: dict[str, Any] = {
    "id": pl.String(),
    "label": pl.String(),
    "at": _TIME,
    "labelled_by": pl.String(),
    "sequence": pl.Int64(),
    **_PLACE,
}
PLACE_OF = ("spool", "segment", "position")  # the columns that tell one row from every other
_ORDER = ("settled_at", *PLACE_OF)
# A slot's rows lie in files of their own, so that reading what is new of one slot never opens another's.
_PARTITIONS = ("date", "spool")


@dataclass(frozen=True)
class Cursor:
    """
    How far a reader has come: for each spool, the place of the last row it took. Empty: from the beginning.

    Attributes:
        places: spool to (segment, position).
    """

    places: Mapping[str, Position] = field(default_factory=dict)

    def past(self, rows: Sequence["Place"]) -> "Cursor":
        """The cursor after these rows, which must be a beginning of a slice that this cursor gave."""
        places = dict(self.places)
        for row in rows:
            places[row.spool] = max(places.get(row.spool, (-1, -1)), (row.segment, row.position))
        return Cursor(places)

    def past_frame(self, rows: pl.DataFrame) -> "Cursor":
        """The same of rows as columns, of which only their places are looked at."""
        ordered = rows.sort("segment", "position")
        last = ordered.group_by("spool").agg(pl.col("segment").last(), pl.col("position").last())
        places = dict(self.places)
        for spool, segment, position in last.iter_rows():
            places[spool] = max(places.get(spool, (-1, -1)), (segment, position))
        return Cursor(places)

    def or_later(self, other: "Cursor") -> "Cursor":
        """The later place of either, for each spool."""
        places = dict(self.places)
        for spool, place in other.places.items():
            places[spool] = max(places.get(spool, (-1, -1)), place)
        return Cursor(places)

    def to_json(self) -> dict[str, list[int]]:
        return {spool: list(place) for spool, place in sorted(self.places.items())}

    @classmethod
    def from_json(cls, value: Mapping[str, Sequence[int]]) -> "Cursor":
        return cls({spool: (int(segment), int(position)) for spool, (segment, position) in value.items()})


@dataclass(frozen=True)
class Place:
    """Where a prediction or label lies."""

    spool: str
    segment: int
    position: int


@dataclass(frozen=True)
class LogSlice:
    """
    New predictions, in the order in which they count; each spool's own order is kept whatever its clock did.

    Attributes:
        rows: the predictions.
        places: where each lies; as long as `rows`.
        cursor: after all of them, also after those that were left out as repeated.
    """

    rows: tuple[Prediction, ...]
    places: tuple[Place, ...]
    cursor: Cursor
    start: Cursor = field(default_factory=Cursor)

    def cursor_after(self, count: int) -> Cursor:
        """The cursor of a reader that takes only the first `count` rows."""
        return self.cursor if count >= len(self.rows) else self.start.past(self.places[:count])


@dataclass(frozen=True)
class LabelSlice:
    """New labels, in the order of their sequence, with the cursor after them."""

    rows: tuple[Label, ...]
    cursor: Cursor


class PredictionLog:
    """Appends by segment, exactly once; reads what is new, what was labelled, and what an id was answered."""

    def __init__(self, storage: StorageSettings) -> None:
        self.predictions = Table(storage, "predictions", _PREDICTIONS, _PARTITIONS)
        self.labels = Table(storage, "labels", _LABELS, _PARTITIONS)
        self.shadows = Table(storage, "shadows", _SHADOWS, _PARTITIONS)

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every table of the log."""
        return self.predictions, self.labels, self.shadows

    def append_predictions(self, app_id: str, version: int, records: Sequence[tuple[int, Prediction]]) -> bool:
        """
        Append one segment's predictions, once however often this is called.

        Args:
            app_id: the spool's slot.
            version: the segment's number.
            records: (position in the segment, prediction).

        Returns:
            False when the table had the segment already.
        """
        rows = [
            {
                **_fields(prediction),
                "probabilities": _list(prediction.probabilities),
                "embedding": None if prediction.embedding is None else _list(prediction.embedding),
                "statistics": _list(prediction.statistics),
                "metadata": json.dumps(dict(prediction.metadata), sort_keys=True),
                **_place(prediction, app_id, version, position),
            }
            for position, prediction in records
        ]
        return self.predictions.append_once(app_id, version, pl.DataFrame(rows, schema=_PREDICTIONS))

    def append_labels(self, app_id: str, version: int, records: Sequence[tuple[int, Label]]) -> bool:
        """The same for one segment's labels."""
        rows = [{**_fields(label), **_place(label, app_id, version, position)} for position, label in records]
        return self.labels.append_once(app_id, version, pl.DataFrame(rows, schema=_LABELS))

    def append_shadows(self, app_id: str, version: int, records: Sequence[tuple[int, ShadowAnswer]]) -> bool:
        """The same for what a shadow answered."""
        rows = [
            {
                **_fields(answer),
                "metadata": json.dumps(dict(answer.metadata), sort_keys=True),
                **_place(answer, app_id, version, position),
            }
            for position, answer in records
        ]
        return self.shadows.append_once(app_id, version, pl.DataFrame(rows, schema=_SHADOWS))

    def new_predictions(self, cursor: Cursor = Cursor(), *, most_rows: int = 100_000) -> LogSlice:
        """
        The predictions beyond the cursor, without those whose id had been answered before.

        Rows of several spools are merged by the running maximum of their times within each spool, so that a
        clock that jumps back neither hides a row nor disturbs its spool's order.

        Args:
            cursor: where the reader stands; by default at the beginning.
            most_rows: a bound for memory; what is left is found by the next call.
        """
        frame = beyond(self.predictions.scan(), cursor)
        if frame is None:
            return LogSlice((), (), cursor, cursor)
        # Which rows come first is decided on three small columns; only those are then read in full.
        chosen = merged(frame.select("at", *_PLACE).collect()).head(most_rows)
        if chosen.is_empty():
            return LogSlice((), (), cursor, cursor)
        whole = (
            frame.collect()
            if chosen.height < most_rows
            else frame.join(
                chosen.lazy().select("spool", "segment", "position"), on=["spool", "segment", "position"], how="semi"
            ).collect()
        )
        ordered = merged(whole)
        end = cursor.past(_places(ordered))
        first = ordered.filter(~pl.col("repeated")).unique("id", keep="first", maintain_order=True)
        return LogSlice(predictions_in(first), _places(first), end, cursor)

    def new_labels(self, cursor: Cursor = Cursor(), *, most_rows: int = 100_000) -> LabelSlice:
        """The labels beyond the cursor, every one of them: which counts for an id is for the reader to say."""
        frame = beyond(self.labels.scan(), cursor)
        if frame is None:
            return LabelSlice((), cursor)
        rows = merged(frame.collect()).head(most_rows)
        return LabelSlice(_labels(rows.sort("sequence", maintain_order=True)), cursor.past(_places(rows)))

    def predictions_by_id(self, ids: Iterable[str]) -> dict[str, Prediction]:
        """The first prediction of each id that is in the log; ids that are not are left out."""
        wanted = sorted(set(ids))
        frame = self.predictions.scan()
        if frame is None or not wanted:
            return {}
        found: dict[str, Prediction] = {}
        days = _days_of(wanted)
        if days:
            found = _by_id(frame.filter(pl.col("date").is_in(days)), wanted)
        # A caller's own ids say no date, and its own UUIDv7s may come from a clock that is wrong by days.
        missing = [identifier for identifier in wanted if identifier not in found]
        return found | _by_id(frame, missing) if missing else found

    def labelled(self, since: date | None = None, columns: Sequence[str] = ()) -> pl.DataFrame:
        """
        Predictions joined to what they should have been: first prediction, last label of each id.

        Columns: those of a prediction, and `true_label`, `labelled_at`, `labelled_by`, `sequence`; ordered by
        sequence. Labels whose prediction is not in the log are left out (see `orphans`).

        Args:
            since: only predictions of this day (UTC) or later.
            columns: To be read, of those above; by default all.
        """
        wanted = [name for name in _JOINED if name in columns or not columns]
        predictions, labels = self.predictions.scan(), self.labels.scan()
        if predictions is None or labels is None:
            return pl.DataFrame(schema={name: _JOINED[name] for name in wanted})
        if since is not None:
            predictions = predictions.filter(pl.col("date") >= since.isoformat())
        last = (
            labels.sort("sequence", "spool", "segment", "position")
            .unique("id", keep="last", maintain_order=True)
            .select("id", true_label="label", labelled_at="at", labelled_by="labelled_by", sequence="sequence")
        )
        known = predictions.join(last.select("id"), on="id", how="semi")
        joined = _first(known).join(last, on="id", how="inner").sort("sequence", "id")
        return joined.select(wanted).collect()

    def last_labels(self, ids: Iterable[str] | None = None) -> dict[str, Label]:
        """The label that counts for each id, of all that have one or of these: the last by the server's sequence."""
        frame = self.labels.scan()
        if frame is None:
            return {}
        if ids is not None:
            frame = frame.filter(pl.col("id").is_in(list(ids)))
        last = frame.sort("sequence", "spool", "segment", "position").unique("id", keep="last").collect()
        return {label.id: label for label in _labels(last)}

    def first_metadata(self, images: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What callers said of each image (SHA-256) when they first sent it, labelled or not."""
        frame = self.predictions.scan()
        if frame is None or not images:
            return {}
        asked = frame.filter(pl.col("image_sha256").is_in(list(images)))
        first = asked.sort("at", "spool", "segment", "position").unique("image_sha256", keep="first")
        rows = first.select("image_sha256", "metadata").collect().iter_rows()
        return {image: json.loads(metadata) for image, metadata in rows}

    def orphans(self) -> int:
        """How many labelled ids have no prediction in the log."""
        labels, predictions = self.labels.scan(), self.predictions.scan()
        if labels is None:
            return 0
        ids = labels.select("id").unique()
        if predictions is not None:
            ids = ids.join(predictions.select("id"), on="id", how="anti")
        return int(ids.select(pl.len()).collect().item())

    def orphaned(self) -> tuple[Label, ...]:
        """The label that counts for each id without a prediction in the log, in the order of their sequence."""
        labels, predictions = self.labels.scan(), self.predictions.scan()
        if labels is None:
            return ()
        last = labels.sort("sequence", "spool", "segment", "position").unique("id", keep="last")
        if predictions is not None:
            last = last.join(predictions.select("id"), on="id", how="anti")
        return _labels(last.sort("sequence").collect())

    def labels_by_class(self) -> dict[str, int]:
        """How many ids have each class as the label that counts, in the log or not."""
        frame = self.labels.scan()
        if frame is None:
            return {}
        last = frame.sort("sequence", "spool", "segment", "position").unique("id", keep="last")
        return dict(last.group_by("label").len().sort("label").collect().iter_rows())

    def recent(self, count: int) -> tuple[Prediction, ...]:
        """The newest predictions, newest first."""
        frame = self.predictions.scan()
        if frame is None:
            return ()
        return predictions_in(frame.sort("at", descending=True).head(count).collect())

    def count(self) -> int:
        """How many predictions the log holds, repeated ids included."""
        frame = self.predictions.scan()
        return 0 if frame is None else int(frame.select(pl.len()).collect().item())

    def rows_before(self, table: Table, day: str) -> int:
        """How many rows of a table are of days before this one (UTC, as 2026-11-21)."""
        frame = table.scan()
        return 0 if frame is None else int(frame.filter(pl.col("date") < day).select(pl.len()).collect().item())

    def compact(self) -> int:
        """Merge small files of every table; returns how many were merged away."""
        return sum(table.compact() for table in self.tables)


def image_key(sha256: str) -> str:
    """Where an image's bytes lie in the object store."""
    return f"images/{sha256[:2]}/{sha256}"


_JOINED: dict[str, Any] = _PREDICTIONS | {
    "true_label": pl.String(),
    "labelled_at": _TIME,
    "labelled_by": pl.String(),
    "sequence": pl.Int64(),
}


def beyond(frame: pl.LazyFrame | None, cursor: Cursor) -> pl.LazyFrame | None:
    """Rows beyond the cursor's places, all those of spools that it does not know among them."""
    if frame is None or not cursor.places:
        return frame
    # One filter a spool, on a partition column: files of what was read before are not even opened.
    parts = [frame.filter(~pl.col("spool").is_in(list(cursor.places)))]
    for spool, (segment, position) in cursor.places.items():
        later = (pl.col("segment") > segment) | ((pl.col("segment") == segment) & (pl.col("position") > position))
        parts.append(frame.filter((pl.col("spool") == spool) & (pl.col("segment") >= segment)).filter(later))
    return pl.concat(parts)


def between(frame: pl.LazyFrame | None, start: Cursor, end: Cursor) -> pl.LazyFrame | None:
    """Rows beyond the places of `start` and up to those of `end`; none of a spool that `end` does not know."""
    if frame is None:
        return None
    segment_of, position_of = pl.col("segment"), pl.col("position")
    parts = [frame.head(0)]
    for spool, (segment, position) in end.places.items():
        first, after = start.places.get(spool, (-1, -1))
        # The plain bounds come first: by them alone whole files are passed over.
        mine = frame.filter((pl.col("spool") == spool) & segment_of.is_between(first, segment))
        later = (segment_of > first) | (position_of > after)
        parts.append(mine.filter(later & ((segment_of < segment) | (position_of <= position))))
    return pl.concat(parts)


def merged(frame: pl.DataFrame) -> pl.DataFrame:
    """
    Rows of several spools in the order in which they count, with the time that orders them as `settled_at`.

    That is the running maximum of the times within each spool: a clock that jumps back disturbs no spool's order, and
    one that is ahead puts its spool's rows behind those that are read with them, and hides none.
    """
    settled = pl.col("at").cum_max().over("spool").alias("settled_at")
    return frame.sort("spool", "segment", "position").with_columns(settled).sort(_ORDER)


def _first(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.sort("at", "spool", "segment", "position").unique("id", keep="first", maintain_order=True)


def _places(frame: pl.DataFrame) -> tuple[Place, ...]:
    return tuple(Place(*place) for place in frame.select("spool", "segment", "position").iter_rows())


def _fields(record: Any) -> dict[str, Any]:
    return dict(vars(record))


def _place(record: Prediction | Label | ShadowAnswer, spool: str, segment: int, position: int) -> dict[str, Any]:
    return {"date": record.at.date().isoformat(), "spool": spool, "segment": segment, "position": position}


def _list(values: Any) -> list[float]:
    floats: list[float] = np.asarray(values, dtype=np.float32).tolist()
    return floats


def predictions_in(frame: pl.DataFrame) -> tuple[Prediction, ...]:
    """Rows of the table of predictions as records, for the few that are looked at one by one."""
    names = [field.name for field in dataclasses.fields(Prediction)]
    columns: list[Any] = []
    for name in names:
        column = frame[name]
        if name == "embedding":
            columns.append([None if item is None else item.to_numpy() for item in column])
        elif name in ("probabilities", "statistics"):
            columns.append([tuple(item) for item in column.to_list()])
        elif name == "metadata":
            columns.append([json.loads(text) for text in column])
        else:
            columns.append(column.to_list())
    return tuple(Prediction(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True))


def _labels(frame: pl.DataFrame) -> tuple[Label, ...]:
    rows = frame.select("id", "label", "at", "labelled_by", "sequence").iter_rows(named=True)
    return tuple(Label(**row) for row in rows)


def _by_id(frame: pl.LazyFrame, ids: Sequence[str]) -> dict[str, Prediction]:
    rows = predictions_in(_first(frame.filter(pl.col("id").is_in(ids))).collect())
    return {prediction.id: prediction for prediction in rows}


def _days_of(ids: Sequence[str]) -> list[str]:
    times = [at for at in map(time_of_id, ids) if at is not None]
    return sorted({(at + timedelta(days=offset)).date().isoformat() for at in times for offset in (-1, 0, 1)})
