"""Requests for labels beside the predictions they are about, read from the log as columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from monitoring.estimates.asked import Asked
from monitoring.estimates.calibrator import Calibrator
from monitoring.labelling.requests import ANSWERED, ASKED, LabelRequest
from monitoring.log.columns import metadata_in
from monitoring.prediction_log import PredictionLog
from monitoring.reference.coded import MISSING, Coded, coded
from monitoring.watching.batch import Floats


@dataclass(frozen=True)
class Stretch:
    """
    Every prediction of one version over some time, as far as a corrected estimate needs them.

    Attributes:
        ids: Of the predictions, each once.
        labels: What the model answered.
        expected: Calibrated probability of being right, shape (N,); NaN where the confidence was not recorded.
        columns: Metadata columns that were asked for.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    expected: Floats
    columns: Mapping[str, Coded]

    def __len__(self) -> int:
        return len(self.ids)


def stretch(
    log: PredictionLog, calibrator: Calibrator, model_version: int, since: datetime, columns: Sequence[str]
) -> Stretch:
    """The predictions of one version since then."""
    frame = log.predictions.scan()
    if frame is None:
        return Stretch((), (), np.empty(0), {name: Coded((), np.empty(0, dtype=np.int32)) for name in columns})
    mine = frame.filter(
        (pl.col("date") >= since.date().isoformat())
        & (pl.col("at") >= since)
        & (pl.col("model_version") == model_version)
        & ~pl.col("repeated")
    )
    rows = mine.select("id", "label", "confidence", "metadata").unique("id", keep="first").sort("id").collect()
    confidence = rows["confidence"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    known = np.isfinite(confidence) & (confidence >= 0) & (confidence <= 1)
    metadata = metadata_in(rows["metadata"]).columns if columns else {}
    nothing = Coded((), np.full(len(rows), MISSING, dtype=np.int32))
    return Stretch(
        ids=tuple(rows["id"].to_list()),
        labels=tuple(rows["label"].to_list()),
        expected=np.where(known, calibrator.right(np.where(known, confidence, 0.0)), np.nan),
        columns={name: metadata.get(name, nothing) for name in columns},
    )


def asked_rows(found: Stretch, requests: Sequence[LabelRequest], group: str = "") -> tuple[Asked, np.ndarray]:
    """
    The settled requests about these predictions, and the place of each one's prediction.

    Args:
        found: The predictions; requests about others are left out.
        requests: In any order and state.
        group: Metadata column (among the stretch's) of predictions that belong together; "" = each alone.
    """
    settled = {one.prediction_id: one for one in requests if one.state != ASKED}
    places = np.array([place for place, name in enumerate(found.ids) if name in settled], dtype=np.intp)
    rows = [settled[found.ids[place]] for place in places.tolist()]
    answered = np.array([one.state == ANSWERED and one.label is not None for one in rows], dtype=bool)
    right = [one.label == found.labels[place] for one, place in zip(rows, places.tolist(), strict=True)]
    sessions = found.columns[group].text[places].tolist() if group else [""] * len(rows)
    units: dict[str, int] = {}
    names = (
        session or one.image_sha256 or f"\0{place}"
        for place, (one, session) in enumerate(zip(rows, sessions, strict=True))
    )
    asked = Asked(
        answered=answered,
        right=answered & np.array(right, dtype=bool),
        expected=found.expected[places],
        probability=np.array([one.probability for one in rows], dtype=np.float64),
        uniform=np.array([one.uniform_probability for one in rows], dtype=np.float64),
        in_audit=np.array([one.in_audit for one in rows], dtype=bool),
        strata=coded([one.stratum for one in rows]),
        groups=np.array([units.setdefault(name, len(units)) for name in names], dtype=np.intp),
    )
    return asked, places
