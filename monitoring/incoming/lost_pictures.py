"""
Labelled pictures whose content was lost: those of a source that was blank, stuck or looping while the watcher said so.

Broken input never trains a model. A blank picture by itself is no fault, for some classes look so; what counts is the
verdict `fix_input` of the time, and what it said of the source.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl
import sqlalchemy as sa

from infra import schema
from infra.database import reading
from monitoring.image_stats import NAMES
from monitoring.incoming.broken_pictures import BLANK, BLANK_CONTRAST, LOST, SAME_FILE
from monitoring.prediction_log import PredictionLog
from monitoring.triage_records import FIX_INPUT

_CONTRAST = NAMES.index("contrast")


@dataclass(frozen=True)
class Stretch:
    """
    A time in which a source was broken, look after look.

    Attributes:
        kind: "blank", "same file" or "stuck".
        source: The value of the source column; "" for every source.
        ended: When the last such look was; `look` is its number.
    """

    kind: str
    source: str
    began: datetime
    ended: datetime
    look: int


def lost_pictures(log: PredictionLog, engine: sa.Engine, name: str, source: str) -> dict[str, str]:
    """
    By id of a labelled prediction, the fault because of which its picture is worth nothing.

    source: the declared source column; "" for none.
    """
    found = stretches(log, engine, name)
    if not found:
        return {}
    columns = ("id", "at", "statistics", "metadata", "image_sha256")
    labelled = log.labelled(min(one.began for one in found).date(), columns)
    lost: dict[str, str] = {}
    for one in found:
        inside = labelled.filter(pl.col("at").is_between(one.began, one.ended))
        inside = inside.filter(_of_source(inside, source, one.source))
        if one.kind == BLANK:
            contrast = inside["statistics"].list.get(_CONTRAST, null_on_oob=True)
            inside = inside.filter(contrast < BLANK_CONTRAST)
        elif one.kind == SAME_FILE:
            inside = inside.filter(pl.col("image_sha256").is_in(_sent_again(log, one)))
        lost |= dict.fromkeys(inside["id"].to_list(), one.kind)
    return lost


def stretches(log: PredictionLog, engine: sa.Engine, name: str) -> tuple[Stretch, ...]:
    """Every stretch of broken input, by the verdicts that said `fix_input` because of one."""
    ended: list[Stretch] = []
    going: dict[tuple[str, str], Stretch] = {}
    for sequence, at, look in _verdicts(engine, name):
        now_broken = {(str(one["kind"]), str(one["source"])) for one in look.get("faults", ()) if one["kind"] in LOST}
        for key in now_broken:
            before = going.get(key)
            if before is not None and before.look == sequence - 1:
                going[key] = replace(before, ended=at, look=sequence)
                continue
            if before is not None:
                ended.append(before)
            # The first look saw the newest so many; what came before them was whole, as far as anybody knows.
            began = _began(log, at, int(look.get("predictions", 0)))
            going[key] = Stretch(*key, began, at, sequence)
    return (*ended, *going.values())


def _verdicts(engine: sa.Engine, name: str) -> Iterator[tuple[int, datetime, Mapping[str, Any]]]:
    table = schema.verdicts
    mine = (table.c.name == name) & (table.c.action == FIX_INPUT)
    query = sa.select(table.c.sequence, table.c.at, table.c.evidence).where(mine).order_by(table.c.sequence)
    with reading(engine) as connection:
        for sequence, at, evidence in connection.execute(query):
            yield sequence, at, (evidence or {}).get("look") or {}


def _began(log: PredictionLog, at: datetime, predictions: int) -> datetime:
    """When the first of the newest so many predictions before a look was answered."""
    frame = log.predictions.scan()
    if frame is None or predictions == 0:
        return at
    newest = frame.filter(pl.col("at") <= at).select("at").top_k(predictions, by="at").select(pl.col("at").min())
    first: datetime | None = newest.collect().item()
    return at if first is None else first


def _of_source(rows: pl.DataFrame, column: str, source: str) -> pl.Series:
    if not source:
        return pl.Series([True] * rows.height, dtype=pl.Boolean)
    said = [str(json.loads(text).get(column, "")) for text in rows["metadata"]]
    return pl.Series([value == source for value in said], dtype=pl.Boolean)


def _sent_again(log: PredictionLog, stretch: Stretch) -> list[str]:
    """Files that came more than once in the stretch."""
    frame = log.predictions.scan()
    if frame is None:
        return []
    inside = frame.filter(pl.col("at").is_between(stretch.began, stretch.ended)).select("image_sha256")
    counted = inside.group_by("image_sha256").len().filter(pl.col("len") > 1).collect()
    return counted["image_sha256"].to_list()
