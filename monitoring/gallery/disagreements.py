"""The images on which a shadow and the champion part, those first on which both are sure."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from monitoring.log.trials import shadow_rows
from monitoring.prediction_log import PredictionLog

MOST_SHOWN = 60


@dataclass(frozen=True)
class Parted:
    """
    One image with two answers.

    Attributes:
        truth: What somebody said it shows; "" = nobody has.
        image_sha256: Of the picture; "" = it was not kept.
    """

    id: str
    at: datetime
    champion_label: str
    champion_confidence: float
    label: str
    confidence: float
    truth: str
    metadata: Mapping[str, Any]
    image_sha256: str


@dataclass(frozen=True)
class Gallery:
    """
    What a shadow answered otherwise.

    Attributes:
        compared: Images that both answered.
        parted: Of these, those answered otherwise; `shown` are the ones picked.
        pairs: (the champion's answer, the shadow's, how many), the most frequent first.
    """

    champion_version: int
    version: int
    compared: int
    parted: int
    pairs: tuple[tuple[str, str, int], ...]
    shown: tuple[Parted, ...]


def gallery(
    log: PredictionLog,
    champion_version: int,
    version: int,
    since: datetime,
    classes: Collection[str],
    most: int = MOST_SHOWN,
) -> Gallery:
    """
    Pick the images to show: of every pair of answers the surest first, the pairs in turn.

    Two versions that are both sure and of two minds are where one look tells most about which is right.
    """
    rows = shadow_rows(log, version, since, classes)
    if rows is None:
        return Gallery(champion_version, version, 0, 0, (), ())
    rows = rows.filter(pl.col("champion_version") == champion_version)
    apart = rows.filter(pl.col("label") != pl.col("champion_label"))
    counted = (
        apart.group_by("champion_label", "label")
        .len()
        .sort("len", "champion_label", "label", descending=[True, False, False])
    )
    pair = ("champion_label", "label")
    sure = (pl.col("confidence") * pl.col("champion_confidence")).alias("sure")
    ranked = apart.with_columns(sure).join(counted, on=pair)
    turn = pl.col("sure").rank("ordinal", descending=True).over(*pair)
    chosen = ranked.with_columns(turn=turn).sort("turn", "len", "id", descending=[False, True, False]).head(most)
    pictures = _pictures(log, chosen)
    return Gallery(
        champion_version,
        version,
        rows.height,
        apart.height,
        tuple(counted.iter_rows()),
        tuple(_parted(row, pictures.get(row["id"], "")) for row in chosen.iter_rows(named=True)),
    )


def _pictures(log: PredictionLog, chosen: pl.DataFrame) -> dict[str, str]:
    """SHA-256 of the pictures that were kept, by id; of the few that are shown, and no other column."""
    frame = log.predictions.scan()
    if frame is None or chosen.is_empty():
        return {}
    days = chosen["at"].dt.strftime("%Y-%m-%d").unique().to_list()
    mine = frame.filter(pl.col("date").is_in(days) & pl.col("id").is_in(chosen["id"].to_list()) & pl.col("image_kept"))
    return dict(mine.select("id", "image_sha256").unique("id").collect().iter_rows())


def _parted(row: Mapping[str, Any], image_sha256: str) -> Parted:
    return Parted(
        id=row["id"],
        at=row["at"],
        champion_label=row["champion_label"],
        champion_confidence=row["champion_confidence"],
        label=row["label"],
        confidence=row["confidence"],
        truth=row["true_label"] or "",
        metadata=json.loads(row["metadata"] or "{}"),
        image_sha256=image_sha256,
    )
