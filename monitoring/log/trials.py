"""What was answered while a version was on trial, read from the log: no more columns than a comparison needs."""

from collections.abc import Collection, Sequence
from datetime import datetime

import polars as pl

from monitoring.prediction_log import PredictionLog

_ORDER = ("at", "spool", "segment", "position")
_ANSWER = ("model_version", "label", "confidence", "forward_ms")
_PAIR = ("champion_version", "champion_label", "champion_confidence", "champion_forward_ms", "version", "label",
         "confidence", "forward_ms")  # fmt: skip


def shadow_rows(log: PredictionLog, version: int, since: datetime, classes: Collection[str]) -> pl.DataFrame | None:
    """
    Images that `version` answered as shadow since then, in the order of their ids; None before the first.

    Columns: `at`, those of both answers, `metadata`, and `true_label`, which is null where nobody said it, or said
    what is none of the classes: no answer could have been right; `label_sequence` orders the labels as they came.
    """
    frame = log.shadows.scan()
    if frame is None:
        return None
    return _labelled(log, _since(frame, since).filter(pl.col("version") == version), _PAIR, classes)


def answer_rows(
    log: PredictionLog, versions: Collection[int], since: datetime, classes: Collection[str]
) -> pl.DataFrame | None:
    """The same for what these versions answered to callers since then; a repeated id counts once."""
    frame = log.predictions.scan()
    if frame is None:
        return None
    wanted = pl.col("model_version").is_in(list(versions)) & ~pl.col("repeated")
    return _labelled(log, _since(frame, since).filter(wanted), _ANSWER, classes)


def _since(frame: pl.LazyFrame, since: datetime) -> pl.LazyFrame:
    # The date is the partition: files of days before are not even opened.
    return frame.filter(pl.col("date") >= since.date().isoformat(), pl.col("at") >= since)


def _labelled(
    log: PredictionLog, frame: pl.LazyFrame, columns: Sequence[str], classes: Collection[str]
) -> pl.DataFrame:
    rows = frame.select("id", *columns, "metadata", *_ORDER)
    first = rows.sort(*_ORDER).unique("id", keep="first").select("id", "at", *columns, "metadata")
    labels = log.labels.scan()
    if labels is None:
        nobody = {"true_label": pl.lit(None, pl.String), "label_sequence": pl.lit(None, pl.Int64)}
        return first.with_columns(**nobody).sort("id").collect()
    last = labels.sort("sequence", *_ORDER[1:]).unique("id", keep="last")
    last = last.select("id", true_label="label", label_sequence="sequence")
    known = last.filter(pl.col("true_label").is_in(list(classes)))
    return first.join(known, on="id", how="left").sort("id").collect()
