"""Labels that came after the champion was made: how many can train, and how many are from where the change is."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from monitoring.evidence_records import CHANNELS
from monitoring.log.columns import batch_in
from monitoring.prediction_log import PredictionLog
from monitoring.reference.coded import Coded
from monitoring.reference.profile import CATEGORY, ReferenceProfile
from monitoring.signals import atypical
from monitoring.triage_records import LabelsSoFar

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
    untrusted: Sequence[str] = (),
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
        untrusted: Whose labels do not count.
    """
    frame = log.labelled(since=(since - _OLDEST).date(), without=untrusted)
    frame = frame.filter((pl.col("labelled_at") > since) & pl.col("true_label").is_in(list(profile.classes)))
    kept = frame.filter("image_kept").unique("image_sha256", keep="last", maintain_order=True)
    if kept.is_empty():
        return LabelsSoFar(since_refusal=None if refused_at is None else 0, not_kept=frame.height)
    right = (kept["true_label"] == kept["label"]).to_numpy()
    region = _region(profile, kept, alarmed, source)
    labelled = dict(sorted(Counter(kept["true_label"].to_list()).items()))
    later = None if refused_at is None else int((kept["labelled_at"] >= refused_at).sum())
    return LabelsSoFar(
        fresh=kept.height,
        in_region=int(region.sum()),
        right_in_region=int((region & right).sum()),
        since_refusal=later,
        not_kept=frame.height - frame.filter("image_kept").height,
        unlabelled=tuple(name for name in profile.classes if name not in labelled),
        by_class=labelled,
    )


def _region(profile: ReferenceProfile, frame: pl.DataFrame, alarmed: Sequence[str], source: str) -> NDArray[np.bool_]:
    """Where the change is; everything, where nothing says so."""
    batch = batch_in(frame, len(profile.classes), profile.embedding_size)
    region = of_new_source(profile, batch.column(source), source)
    if not alarmed and not region.any():
        return np.ones(frame.height, dtype=bool)
    scored = atypical(profile, batch)
    mine = (frame["model_version"] == profile.version).to_numpy()
    for channel in alarmed:
        says_so = np.nan_to_num(scored[channel]) > 0
        region = region | (says_so if channel in _OF_ANY_VERSION else says_so & mine)
    return region


def of_new_source(profile: ReferenceProfile, said: Coded, source: str) -> NDArray[np.bool_]:
    """Which rows name a source that the reference never saw; `said` is their column of sources."""
    known = profile.columns.get(source)
    if known is None or known.kind != CATEGORY:
        return np.zeros(len(said), dtype=bool)
    return said.where([known.is_new(value) for value in said.values])
