"""The log of one version as a stream to replay: its answers, and what people said they should have been."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.errors import UserError
from monitoring.backtesting.stream import UNLABELLED, Stream, stream_of
from monitoring.log.columns import batch_in
from monitoring.prediction_log import PredictionLog
from monitoring.reference.profile import ReferenceProfile

_LEAST_LABELLED = 20
_COLUMNS = ("id", "at", "label", "probabilities", "embedding", "statistics", "image_sha256", "image_kept", "metadata")


@dataclass(frozen=True)
class Logged:
    """
    The stream, and what was left out of it.

    Attributes:
        labelled: Rows whose truth is known.
        drawn: Of these, those that chance drew.
        notes: Sentences.
    """

    stream: Stream
    labelled: int
    drawn: int
    notes: tuple[str, ...]


def most_labelled_version(log: PredictionLog) -> int | None:
    """Of the versions with labelled answers the one with most, the newest of equals; None where there is none."""
    counts = log.labelled(columns=("model_version",)).group_by("model_version").len()
    if counts.is_empty():
        return None
    return int(counts.sort("len", "model_version", descending=True)["model_version"][0])


def logged_stream(
    log: PredictionLog,
    profile: ReferenceProfile,
    *,
    audited: Collection[str],
    group: str = "",
    since: datetime | None = None,
    most_rows: int = 100_000,
) -> Logged:
    """
    The version's newest answers in order, each with its last label.

    Args:
        log: Where they lie.
        profile: Of the version.
        audited: Ids of the predictions that the audit sample drew: only their labels may measure.
        group: Metadata column of images that belong together; "" = each alone.
        since: Only answers from this moment on.
        most_rows: A bound for memory.

    Raises:
        UserError: fewer than twenty labelled answers with an embedding.
    """
    notes: list[str] = []
    frame = _answers(log, profile.version, since)
    if frame.height > most_rows:
        notes.append(f"Of {frame.height:,} answers the newest {most_rows:,} were replayed.")
        frame = frame.tail(most_rows)
    batch = batch_in(frame, len(profile.classes), profile.embedding_size)
    numbers_known = np.concatenate([batch.embedding, batch.probabilities], axis=1)
    whole: NDArray[np.bool_] = np.isfinite(numbers_known).all(axis=1)
    if not whole.all():
        notes.append(f"{int((~whole).sum()):,} answers were logged without an embedding, and are left out.")
        frame, batch = frame.filter(pl.Series(whole)), batch.take(whole)
    numbers = {label: number for number, label in enumerate(profile.classes)}
    labels = log.last_labels(frame["id"].to_list())
    told = [labels.get(identifier) for identifier in frame["id"].to_list()]
    strange = sum(label is not None and label.label not in numbers for label in told)
    if strange:
        notes.append(f"{strange} labels name a class that the version does not know, and are left out.")
    truth = np.array([UNLABELLED if one is None else numbers.get(one.label, UNLABELLED) for one in told], np.int64)
    _check(truth, profile.version)
    came = [None if one is None or one.label not in numbers else one.at.replace(tzinfo=None) for one in told]
    drawn = np.array([identifier in audited for identifier in frame["id"].to_list()], dtype=bool)
    sessions = batch.column(group) if group else [""] * frame.height
    files = frame["image_sha256"].to_list()
    stream = stream_of(
        profile,
        batch,
        times=frame["at"].dt.replace_time_zone(None).to_numpy().astype("datetime64[us]"),
        files=files,
        kept=frame["image_kept"].to_numpy().astype(bool),
        truth=truth,
        labelled_at=np.array(came, dtype="datetime64[us]"),
        drawn=drawn,
        groups=[session or file for session, file in zip(sessions, files, strict=True)],
    )
    known = truth != UNLABELLED
    return Logged(stream, int(known.sum()), int((known & drawn).sum()), tuple(notes))


def _answers(log: PredictionLog, version: int, since: datetime | None) -> pl.DataFrame:
    frame = log.predictions.scan()
    if frame is None:
        raise UserError("The log is empty, so there is nothing to replay. `kedge up` serves, and logs what it answers.")
    mine = frame.filter((pl.col("model_version") == version) & ~pl.col("repeated"))
    if since is not None:
        mine = mine.filter((pl.col("date") >= since.date().isoformat()) & (pl.col("at") >= since))
    ordered = mine.sort("at", "spool", "segment", "position").unique("id", keep="first", maintain_order=True)
    return ordered.select(_COLUMNS).collect()


def _check(truth: NDArray[np.int64], version: int) -> None:
    labelled = int((truth != UNLABELLED).sum())
    if labelled < _LEAST_LABELLED:
        raise UserError(
            f"Version {version} has {labelled} labelled answers that can be replayed; expected at least "
            f"{_LEAST_LABELLED}. Give feedback on more of them (`kedge labels next` says on which), or name another "
            "version with --model-version."
        )
