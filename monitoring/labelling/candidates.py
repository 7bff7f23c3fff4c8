"""The predictions that a plan chooses among: what the log has had since the last plan, scored a part at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import log

import numpy as np
import polars as pl

from monitoring.labelling.fresh import of_new_source
from monitoring.labelling.waiting import Seen, Waiting, columns_of, shadow_answers, wanted
from monitoring.labels import Bools, Candidates, Wanted
from monitoring.log.columns import batch_in, metadata_in
from monitoring.log.cursor import PLACE_OF, Cursor
from monitoring.log.order import beyond
from monitoring.log.stretch import Stretch
from monitoring.prediction_log import PredictionLog
from monitoring.reference.coded import MISSING, Coded, CodedRows
from monitoring.reference.profile import ReferenceProfile
from monitoring.signals import atypical
from monitoring.watching.batch import Floats

_LIGHT = ("id", "at", "model_version", "label", "confidence", "image_sha256", "image_kept", "metadata", "repeated")
_WHOLE = ("label", "statistics", "probabilities", "embedding", "metadata")
_MOST_ROWS = 100_000
# The first plan looks back no further: older traffic is history, not what to label next.
_MOST_AT_FIRST = 10_000
# Embeddings of so many rows lie in memory at once.
_PART = 10_000


@dataclass(frozen=True)
class Reach:
    """
    What is read.

    Attributes:
        start: Where the last plan ended; None before the first.
        at: Of the plan.
        settle: Predictions younger than this wait, so that near-copies of one minute are looked at together.
        group: Metadata column of predictions that belong together (a session); "" = none.
        source: Metadata column that names the camera or site; "" = none.
        channels: Of the gross lane; an atypical prediction in one of them is where the change is.
        waits: A candidate that waits for labels; None where none does.
        role_key: By which groups of images have their roles; empty before the first was given.
    """

    start: Cursor | None
    at: datetime
    settle: timedelta
    group: str
    source: str
    channels: Sequence[str]
    waits: Waiting | None = None
    role_key: bytes = b""


@dataclass(frozen=True)
class Read:
    """
    Candidates, and how far the log was read.

    Attributes:
        not_kept: Predictions nobody can be asked about, because their picture was not kept.
        started_at: Of the first candidate; None where there is none.
    """

    candidates: Candidates
    not_kept: int
    until: Cursor
    started_at: datetime | None


def read_candidates(log: PredictionLog, profile: ReferenceProfile, reach: Reach) -> Read | None:
    """The champion's new predictions, each id once; None where nothing came since the last plan."""
    rows, until = _new_rows(log, reach)
    if rows.is_empty():
        return None
    # Rows of other versions, and ids answered before, are passed over for good.
    own = rows.filter((pl.col("model_version") == profile.version) & ~pl.col("repeated"))
    own = own.unique("id", keep="first", maintain_order=True)
    kept = own.filter("image_kept")
    metadata = metadata_in(kept["metadata"])
    drifted, uncertainty = _scored(log, profile, kept, reach.channels)
    drifted |= of_new_source(profile, _column(metadata, reach.source), reach.source)
    return Read(
        candidates=Candidates(
            model_version=profile.version,
            ids=kept["id"].to_list(),
            at=kept["at"].to_list(),
            answers=kept["label"].to_list(),
            confidences=kept["confidence"].to_list(),
            images=kept["image_sha256"].to_list(),
            kin=_kin(_column(metadata, reach.group), kept["at"]),
            drifted=drifted,
            disagrees=_disagreeing(log, kept),
            uncertainty=uncertainty,
            wanted=_wanted(log, kept, metadata, drifted, reach),
        ),
        not_kept=own.height - kept.height,
        until=until,
        started_at=kept["at"].min(),  # type: ignore[arg-type] # a column of times has a time as its minimum
    )


def _new_rows(log: PredictionLog, reach: Reach) -> tuple[pl.DataFrame, Cursor]:
    """The columns that choosing needs, in the order in which they count, and the cursor after them."""
    frame, start = log.predictions.scan(), reach.start or Cursor()
    if frame is None:
        return pl.DataFrame(), start
    frame = beyond(frame, start)
    assert frame is not None, "there is a table"
    # Which rows it is to be is decided on a few small columns, for the first plan has the whole log before it.
    settled = pl.col("at").cum_max().over("spool")
    places = frame.select("at", "date", *PLACE_OF).collect().sort(*PLACE_OF).with_columns(settled_at=settled)
    # A clock that runs ahead would have its spool wait for ever: such a spool does not wait.
    ahead = pl.col("settled_at").max().over("spool") > reach.at
    places = places.filter((pl.col("settled_at") < reach.at - reach.settle) | ahead).sort("settled_at", *PLACE_OF)
    taken = places.head(_MOST_ROWS) if reach.start is not None else places
    chosen = taken if reach.start is not None else taken.tail(_MOST_AT_FIRST)
    if chosen.is_empty():
        return pl.DataFrame(), start
    whole = frame.filter(pl.col("date").is_in(chosen["date"].unique().to_list())).select(*_LIGHT, *PLACE_OF)
    rows = chosen.drop("at").lazy().join(whole, on=list(PLACE_OF), how="left", maintain_order="left").collect()
    return rows, start.past(taken)


def _scored(
    log: PredictionLog, profile: ReferenceProfile, rows: pl.DataFrame, channels: Sequence[str]
) -> tuple[Bools, Floats]:
    """Whether each is atypical in one of the channels, and its entropy over the largest, 0..1."""
    drifted, uncertainty = np.zeros(rows.height, dtype=bool), np.full(rows.height, np.nan)
    stretch = Stretch(log.predictions.scan(), rows.select(*PLACE_OF).with_row_index("row"))
    # Segment by segment: a filter by days alone would read every embedding of the day for each part.
    for columns in stretch.slices(_PART, _WHOLE):
        batch = batch_in(columns, len(profile.classes), profile.embedding_size)
        scored, own = atypical(profile, batch), columns["row"].to_numpy()
        for channel in set(channels) & set(scored):
            drifted[own] |= np.nan_to_num(scored[channel]) > 0
        uncertainty[own] = batch.entropy / _largest_entropy(len(profile.classes))
    return drifted, uncertainty


def _largest_entropy(classes: int) -> float:
    """Of so many classes, in nats; 1 for a single one, which is never uncertain."""
    return log(classes) if classes > 1 else 1.0


def _wanted(log: PredictionLog, rows: pl.DataFrame, metadata: CodedRows, drifted: Bools, reach: Reach) -> Wanted | None:
    if reach.waits is None or not reach.waits.needs or not reach.role_key:
        return None
    sessions, images = _column(metadata, reach.group), rows["image_sha256"].to_list()
    seen = Seen(
        ids=rows["id"].to_list(),
        groups=[session or image for session, image in zip(sessions, images, strict=True)],
        answers=rows["label"].to_list(),
        shadow=shadow_answers(log, rows, reach.waits.version),
        drifted=drifted,
        columns=columns_of(metadata, reach.waits),
    )
    return wanted(reach.waits, seen, reach.role_key)


def _column(metadata: CodedRows, name: str) -> Coded:
    found = metadata.columns.get(name)
    return Coded((), np.full(len(metadata), MISSING, dtype=np.int32)) if found is None else found


def _disagreeing(log: PredictionLog, rows: pl.DataFrame) -> Bools:
    """Whether a shadow answered otherwise; False where none was asked."""
    frame = log.shadows.scan()
    if frame is None or rows.is_empty():
        return np.zeros(rows.height, dtype=bool)
    days = rows["date"].unique().to_list()
    apart = frame.filter(pl.col("date").is_in(days) & (pl.col("label") != pl.col("champion_label"))).select("id")
    ids = apart.unique().collect()["id"]
    return rows["id"].is_in(ids.implode()).to_numpy()


def _kin(sessions: Coded, at: pl.Series) -> list[str]:
    """A word for each session and minute; "" where no session is named."""
    minutes = at.dt.truncate("1m").dt.epoch("s").to_list()
    alone = sessions.codes == MISSING
    return ["" if one else f"{code}/{minute}" for one, code, minute in zip(alone, sessions.codes, minutes, strict=True)]
