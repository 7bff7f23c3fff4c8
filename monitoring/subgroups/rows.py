"""What an audit reads and leaves behind: labelled answers, how their labels came, and the row of its page."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
import sqlalchemy as sa

from infra import schema
from infra.database import reading
from monitoring.image_stats import NAMES
from monitoring.prediction_log import PredictionLog
from monitoring.quality.labelled import LabelledAnswers

_COLUMNS = ("id", "label", "confidence", "statistics", "image_sha256", "metadata", "model_version")
_PLACE = ("at", "spool", "segment", "position")


@dataclass(frozen=True)
class LabelBasis:
    """
    How the labels of an audit came to be; the three sum to all of them.

    Attributes:
        drawn: By the audit sample, by chance alone and with a stored probability: they speak for all predictions.
        asked: Asked for with a stored probability because the answer looked doubtful or drifted.
        volunteered: Sent by somebody without being asked.
        random: Whether the settings declare volunteered labels to be random (monitor.feedback_is_random).
    """

    drawn: int
    asked: int
    volunteered: int
    random: bool

    @property
    def warning(self) -> str:
        """What to beware of; "" where nothing is."""
        total = self.drawn + self.asked + self.volunteered
        if self.random or not total or 2 * (self.asked + self.volunteered) <= total:
            return ""
        chosen = "volunteered" if self.volunteered >= self.asked else "asked for because they looked doubtful"
        most = max(self.volunteered, self.asked)
        return (
            f"{most} of {total} labels were {chosen}, not drawn by chance. People who label what they notice label "
            "mistakes: rates may be far from those of all predictions, and groups may differ by who labels them. "
            "`kedge watch` draws some by chance as predictions come, `kedge labels next` lists them, and "
            "`kedge audit --drawn-only` counts them alone."
        )

    def words(self) -> str:
        """One sentence."""
        volunteered = f"{self.volunteered} volunteered" + (", declared random by the settings" if self.random else "")
        return f"It rests on {self.drawn} labels drawn by chance, {self.asked} asked for a reason, and {volunteered}."


def labelled_answers(
    log: PredictionLog, model_version: int, group_column: str = "", since: date | None = None
) -> LabelledAnswers:
    """
    The version's answers that have a label: first prediction and last label of each id, in the order of ids.

    Only the columns of an audit are read, never an embedding.

    Args:
        log: Where they are.
        model_version: Whose answers.
        group_column: Metadata column of pictures that belong together; "" = each stands alone.
        since: Only predictions of this day (UTC) or later.
    """
    predictions, labels = log.predictions.scan(), log.labels.scan()
    if predictions is None or labels is None:
        return LabelledAnswers((), (), np.empty(0), ())
    last = labels.sort("sequence", "spool", "segment", "position").unique("id", keep="last")
    truths = last.select("id", truth="label")
    if since is not None:
        predictions = predictions.filter(pl.col("date") >= since.isoformat())
    known = predictions.select(*_COLUMNS, *_PLACE).join(truths.select("id"), on="id", how="semi")
    first = known.sort(*_PLACE).unique("id", keep="first")
    frame = first.filter(pl.col("model_version") == model_version).join(truths, on="id").sort("id").collect()
    metadata = tuple(_mapping(text) for text in frame["metadata"])
    return LabelledAnswers(
        truth=tuple(frame["truth"]),
        answered=tuple(frame["label"]),
        confidence=_confidence(frame["confidence"]),
        metadata=metadata,
        ids=tuple(frame["id"]),
        images=tuple(text or "" for text in frame["image_sha256"]),
        groups=tuple(str(row.get(group_column, "") or "") for row in metadata) if group_column else (),
        statistics=_statistics(frame["statistics"]),
    )


def only(rows: LabelledAnswers, kept: np.ndarray[Any, np.dtype[np.bool_]]) -> LabelledAnswers:
    """The marked rows."""
    places = np.flatnonzero(kept).tolist()

    def of(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(values[place] for place in places) if values else ()

    return LabelledAnswers(
        of(rows.truth), of(rows.answered), rows.confidence[kept], of(rows.metadata), of(rows.ids), of(rows.images),
        of(rows.groups), rows.statistics[kept],
    )  # fmt: skip


def drawn_ids(engine: sa.Engine, name: str) -> dict[str, bool]:
    """Every prediction that a person was asked about, and whether the audit sample drew it."""
    table = schema.label_requests
    query = sa.select(table.c.prediction_id, table.c.in_audit).where(table.c.name == name)
    with reading(engine) as connection:
        return {row.prediction_id: bool(row.in_audit) for row in connection.execute(query)}


def basis_of(rows: LabelledAnswers, asked: dict[str, bool], *, random: bool) -> LabelBasis:
    """How these labels came to be; `asked` is that of `drawn_ids`."""
    kinds = Counter(asked.get(identifier) for identifier in rows.ids)
    return LabelBasis(drawn=kinds[True], asked=kinds[False], volunteered=kinds[None], random=random)


def audit_pages(engine: sa.Engine) -> list[tuple[datetime, str]]:
    """When each audit was, and the key of its page; newest first."""
    table = schema.reports
    query = sa.select(table.c.at, table.c.object_key).where(table.c.kind == "audit").order_by(table.c.id.desc())
    with reading(engine) as connection:
        return [(row.at, row.object_key) for row in connection.execute(query)]


def _mapping(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _confidence(column: pl.Series) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    found: np.ndarray[Any, np.dtype[np.float64]] = np.where((values >= 0) & (values <= 1), values, np.nan)
    return found


def _statistics(column: pl.Series) -> np.ndarray[Any, np.dtype[np.float64]]:
    found = np.full((len(column), len(NAMES)), np.nan)
    for place, row in enumerate(column.to_list()):
        # An older version wrote other statistics: their places would say the wrong thing.
        if row is not None and len(row) == len(NAMES):
            found[place] = [np.nan if value is None else value for value in row]
    found[~np.isfinite(found)] = np.nan
    return found
