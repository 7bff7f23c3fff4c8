"""Labels that came after the champion was made: how many can train, and how many are from where the change is."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from monitoring.batch import Batch
from monitoring.evidence import CHANNELS
from monitoring.image_stats import NAMES
from monitoring.performance import labelled_rows
from monitoring.prediction_log import PredictionLog
from monitoring.reference import CATEGORY, ReferenceProfile
from monitoring.signals import atypical
from monitoring.triage import LabelsSoFar

# Pictures of older predictions are no longer kept.
_OLDEST = timedelta(days=30)
# Channels that mean the same whichever version made the prediction.
_OF_ANY_VERSION = (CHANNELS[0], CHANNELS[3])


def labels_so_far(
    log: PredictionLog,
    profile: ReferenceProfile,
    *,
    since: datetime,
    refused_at: datetime | None,
    alarmed: Sequence[str],
    source: str,
) -> LabelsSoFar:
    """
    Count the labels that arrived after `since`, each picture once.

    Args:
        log: Where predictions and labels lie.
        profile: The champion's.
        since: When the newest label was given that the champion's training saw.
        refused_at: When the last refused candidate was asked for.
        alarmed: Channels of the gross lane that have alarmed: they say where the change is.
        source: The declared source column; its new values say so too.
    """
    frame = log.labelled(since=(since - _OLDEST).date())
    frame = frame.filter((pl.col("labelled_at") > since) & pl.col("true_label").is_in(list(profile.classes)))
    kept = frame.filter("image_kept").unique("image_sha256", keep="last", maintain_order=True)
    if kept.is_empty():
        return LabelsSoFar(since_refusal=None if refused_at is None else 0, not_kept=frame.height)
    rows = labelled_rows(kept)
    region = _region(profile, kept, rows.metadata, alarmed, source)
    right = np.array([truth == answer for truth, answer in zip(rows.truth, rows.answered, strict=True)])
    later = None if refused_at is None else int((kept["labelled_at"] >= refused_at).sum())
    return LabelsSoFar(
        fresh=kept.height,
        in_region=int(region.sum()),
        right_in_region=int((region & right).sum()),
        since_refusal=later,
        not_kept=frame.height - frame.filter("image_kept").height,
    )


def _region(
    profile: ReferenceProfile,
    frame: pl.DataFrame,
    metadata: Sequence[Mapping[str, str]],
    alarmed: Sequence[str],
    source: str,
) -> NDArray[np.bool_]:
    column = profile.columns.get(source)
    new_source = np.zeros(frame.height, dtype=bool)
    if column is not None and column.kind == CATEGORY:
        new_source = np.array([column.is_new(row.get(source, "")) for row in metadata])
    if not alarmed and not new_source.any():
        return np.ones(frame.height, dtype=bool)
    scored = atypical(profile, _batch(profile, frame, metadata))
    mine = (frame["model_version"] == profile.version).to_numpy()
    region = new_source
    for channel in alarmed:
        says_so = np.nan_to_num(scored[channel]) > 0
        region = region | (says_so if channel in _OF_ANY_VERSION else says_so & mine)
    return region


def _batch(profile: ReferenceProfile, frame: pl.DataFrame, metadata: Sequence[Mapping[str, str]]) -> Batch:
    return Batch(
        statistics=_columns(frame["statistics"], len(NAMES)),
        probabilities=_columns(frame["probabilities"], len(profile.classes)),
        embedding=_columns(frame["embedding"], profile.embedding_size),
        labels=tuple(frame["label"].to_list()),
        metadata=tuple(metadata),
    )


def _columns(values: pl.Series, width: int) -> NDArray[np.float64]:
    found = np.full((len(values), width), np.nan)
    for place, row in enumerate(values.to_list()):
        if row is not None and len(row) == width:
            found[place] = row
    found[~np.isfinite(found)] = np.nan
    return found
