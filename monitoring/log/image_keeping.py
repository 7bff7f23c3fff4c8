"""The images as the object store and the log know them, for `retention` to decide about; and their going."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from infra.objects import ObjectStore
from monitoring.log.retention import ImageRecord
from monitoring.prediction_log import PredictionLog, image_key

FOLDER = "images/"


@dataclass(frozen=True)
class Pins:
    """
    What trainings have used and still need, by SHA-256.

    Attributes:
        needed: Of the champion's snapshot and of trainings that are not over: never evicted.
        used: Of any training whose snapshot is known.
        labelled_until: Images whose first label was given until then count as needed too: so it is where the
            champion's snapshot lies on another machine. None: they do not.
        all_labelled: Every labelled image counts as needed: a training is just choosing among them.
    """

    needed: frozenset[str] = frozenset()
    used: frozenset[str] = frozenset()
    labelled_until: datetime | None = None
    all_labelled: bool = False


def gather_images(log: PredictionLog, objects: ObjectStore, pins: Pins) -> list[ImageRecord]:
    """
    A record of every image that the object store holds.

    The store is listed before the log is read, so that an image whose row comes in between is known by that row.
    """
    stored = list(objects.stored(FOLDER))
    known = {row["image_sha256"]: row for row in _known_images(log).iter_rows(named=True)}
    records = []
    for one in stored:
        sha256 = one.key.rpartition("/")[2]
        if one.key != image_key(sha256):
            continue  # no image of ours: left alone
        facts: dict[str, Any] = known.get(sha256, {})
        labelled_at = facts.get("labelled_at")
        records.append(
            ImageRecord(
                sha256=sha256,
                bytes=one.bytes,
                seen_at=facts.get("seen_at", one.written_at),
                named=bool(facts),
                labelled=labelled_at is not None,
                by_somebody=bool(facts.get("by_somebody")),
                trained=sha256 in pins.used,
                pinned=sha256 in pins.needed or _is_pinned_by_label(labelled_at, pins),
            )
        )
    return records


def evict(objects: ObjectStore, images: Iterable[ImageRecord], after_each: Callable[[], None] = lambda: None) -> None:
    """Delete the bytes; the rows that name them stay, and whoever wants to read them is told that they are gone."""
    for image in images:
        objects.delete(image_key(image.sha256))
        after_each()


def _is_pinned_by_label(labelled_at: datetime | None, pins: Pins) -> bool:
    if labelled_at is None:
        return False
    return pins.all_labelled or (pins.labelled_until is not None and labelled_at <= pins.labelled_until)


def _known_images(log: PredictionLog) -> pl.DataFrame:
    """Of each image that a prediction names: when last shown, when first labelled, and whether by a named person."""
    predictions, labels = log.predictions.scan(), log.labels.scan()
    if predictions is None:
        return pl.DataFrame(schema={"image_sha256": pl.String()})
    shown = predictions.select("id", "image_sha256", "at")
    if labels is None:
        of_id = pl.LazyFrame(
            schema={"id": pl.String(), "labelled_at": pl.Datetime("us", "UTC"), "somebody": pl.Boolean()}
        )
    else:
        of_id = labels.group_by("id").agg(
            labelled_at=pl.col("at").min(), somebody=(pl.col("labelled_by").fill_null("") != "").any()
        )
    return (
        shown.join(of_id, on="id", how="left")
        .group_by("image_sha256")
        .agg(
            seen_at=pl.col("at").max(),
            labelled_at=pl.col("labelled_at").min(),
            by_somebody=pl.col("somebody").fill_null(value=False).any(),
        )
        .collect()
    )
