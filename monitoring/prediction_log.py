"""The prediction log: every answer and every label, in two tables that grow without end."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from infra.clock import time_of_id
from infra.settings_sections import StorageSettings
from infra.tables import Table
from models.prediction import Label, Prediction, ShadowAnswer
from monitoring.log.cursor import BEGINNING, Cursor
from monitoring.log.order import beyond, merged
from monitoring.log.rows import JOINED, LABELS, PREDICTIONS, SHADOWS, predictions_in

# A slot's rows lie in files of their own, so that reading what is new of one slot never opens another's.
_PARTITIONS = ("date", "spool")


@dataclass(frozen=True)
class LabelSlice:
    """New labels, in the order of their sequence, with the cursor after them."""

    rows: tuple[Label, ...]
    cursor: Cursor


class PredictionLog:
    """Appends by segment, exactly once; reads what is new, what was labelled, and what an id was answered."""

    def __init__(self, storage: StorageSettings) -> None:
        self.predictions = Table(storage, "predictions", PREDICTIONS, _PARTITIONS)
        self.labels = Table(storage, "labels", LABELS, _PARTITIONS)
        self.shadows = Table(storage, "shadows", SHADOWS, _PARTITIONS)

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
        return self.predictions.append_once(app_id, version, pl.DataFrame(rows, schema=PREDICTIONS))

    def append_labels(self, app_id: str, version: int, records: Sequence[tuple[int, Label]]) -> bool:
        """The same for one segment's labels."""
        rows = [{**_fields(label), **_place(label, app_id, version, position)} for position, label in records]
        return self.labels.append_once(app_id, version, pl.DataFrame(rows, schema=LABELS))

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
        return self.shadows.append_once(app_id, version, pl.DataFrame(rows, schema=SHADOWS))

    def new_labels(self, cursor: Cursor = BEGINNING, *, most_rows: int = 100_000) -> LabelSlice:
        """The labels beyond the cursor, every one of them: which counts for an id is for the reader to say."""
        frame = beyond(self.labels.scan(), cursor)
        if frame is None:
            return LabelSlice((), cursor)
        rows = merged(frame.collect()).head(most_rows)
        return LabelSlice(_labels(rows.sort("sequence", maintain_order=True)), cursor.past(rows))

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

    def labelled(
        self, since: date | None = None, columns: Sequence[str] = (), without: Sequence[str] = ()
    ) -> pl.DataFrame:
        """
        Predictions joined to what they should have been: first prediction, last label of each id.

        Columns: those of a prediction, and `true_label`, `labelled_at`, `labelled_by`, `sequence`; ordered by
        sequence. Labels whose prediction is not in the log are left out (see `orphans`).

        Args:
            since: only predictions of this day (UTC) or later.
            columns: To be read, of those above; by default all.
            without: Whose labels do not count (`labelled_by`): the last label by somebody else does.
        """
        wanted = [name for name in JOINED if name in columns or not columns]
        predictions, labels = self.predictions.scan(), self.labels.scan()
        if predictions is None or labels is None:
            return pl.DataFrame(schema={name: JOINED[name] for name in wanted})
        if since is not None:
            predictions = predictions.filter(pl.col("date") >= since.isoformat())
        if without:
            labels = labels.filter(~pl.col("labelled_by").fill_null("").is_in(list(without)))
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


def _first(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.sort("at", "spool", "segment", "position").unique("id", keep="first", maintain_order=True)


def _fields(record: Any) -> dict[str, Any]:
    return dict(vars(record))


def _place(record: Prediction | Label | ShadowAnswer, spool: str, segment: int, position: int) -> dict[str, Any]:
    return {"date": record.at.date().isoformat(), "spool": spool, "segment": segment, "position": position}


def _list(values: Any) -> list[float]:
    floats: list[float] = np.asarray(values, dtype=np.float32).tolist()
    return floats


def _labels(frame: pl.DataFrame) -> tuple[Label, ...]:
    rows = frame.select("id", "label", "at", "labelled_by", "sequence").iter_rows(named=True)
    return tuple(Label(**row) for row in rows)


def _by_id(frame: pl.LazyFrame, ids: Sequence[str]) -> dict[str, Prediction]:
    rows = predictions_in(_first(frame.filter(pl.col("id").is_in(ids))).collect())
    return {prediction.id: prediction for prediction in rows}


def _days_of(ids: Sequence[str]) -> list[str]:
    times = [at for at in map(time_of_id, ids) if at is not None]
    return sorted({(at + timedelta(days=offset)).date().isoformat() for at in times for offset in (-1, 0, 1)})
