"""Rows of the stream as the champion of a moment sees them: columns, records, and labels that could train."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from models.prediction import Label, Prediction
from monitoring.backtesting.stream import UNLABELLED, Rows, Truths
from monitoring.backtesting.trigger import Seen
from monitoring.evidence_records import CHANNELS
from monitoring.labelling.fresh import of_new_source
from monitoring.reference.reduced import project
from monitoring.signals import atypical
from monitoring.triage_records import LabelsSoFar
from monitoring.watching.batch import Batch

# Channels that mean the same whichever model answered.
_OF_ANY_MODEL = (CHANNELS[0], CHANNELS[3])


def champion_batch(seen: Seen, rows: Rows) -> Batch:
    """Rows as the champion answers them, in the principal components of its reference."""
    plain, model = seen.stream.batch.take(rows), seen.model
    return Batch(
        statistics=plain.statistics,
        probabilities=model.probabilities(seen.stream, rows),
        embedding=project(model.reduction.projection, plain.embedding),
        labels=tuple(seen.stream.classes[number] for number in seen.answer[rows].tolist()),
        metadata=plain.metadata,
    )


def labels_so_far(
    seen: Seen, labelled: Rows, *, alarmed: Sequence[str], source: str, refused_at: np.datetime64 | None
) -> LabelsSoFar:
    """
    What `monitoring.labelling.fresh` counts in the log, counted in the replay.

    Args:
        seen: The look.
        labelled: Every row whose label has come.
        alarmed: Channels of the gross lane that have alarmed: they say where the change is.
        source: The declared source column; its new values say so too.
        refused_at: When the last candidate of this champion was refused.
    """
    stream = seen.stream
    new = labelled[(stream.labelled_at[labelled] > seen.model.labels_until) & (stream.truth[labelled] != UNLABELLED)]
    kept = new[stream.can_train[new]]
    later = None if refused_at is None else int((stream.labelled_at[kept] >= refused_at).sum())
    if not len(kept):
        return LabelsSoFar(since_refusal=later, not_kept=len(new))
    region = _region(seen, kept, alarmed, source)
    right = seen.answer[kept] == stream.truth[kept]
    counts = Counter(stream.truth[kept].tolist())
    by_class = {name: counts[number] for number, name in enumerate(stream.classes) if counts[number]}
    return LabelsSoFar(
        fresh=len(kept),
        in_region=int(region.sum()),
        right_in_region=int((region & right).sum()),
        since_refusal=later,
        not_kept=len(new) - len(kept),
        unlabelled=tuple(name for name in stream.classes if name not in by_class),
        by_class=by_class,
    )


def label_and_prediction(seen: Seen, row: int) -> tuple[Label, Prediction]:
    """A label and the prediction that it is of, as far as harm looks at them."""
    stream = seen.stream
    prediction = Prediction(
        id=str(row),
        at=moment(stream.times[row]),
        model_version=int(seen.answered_by[row]),
        label=stream.classes[int(seen.answer[row])],
        confidence=0.0,
        probabilities=(),
        embedding=None,
        statistics=(),
        image_sha256=stream.files[row],
        image_width=0,
        image_height=0,
        image_format="",
        image_bytes=0,
        image_kept=bool(stream.kept[row]),
        metadata=stream.batch.metadata[row],
    )
    return Label(str(row), stream.classes[int(stream.truth[row])], moment(stream.labelled_at[row])), prediction


def moment(time: np.datetime64) -> datetime:
    """The same moment, aware, UTC."""
    found: datetime = time.astype("datetime64[us]").item()
    return found.replace(tzinfo=UTC)


def _region(seen: Seen, rows: Rows, alarmed: Sequence[str], source: str) -> Truths:
    """Where the change is; everything, where nothing says so."""
    profile, batch = seen.model.reduction.profile, champion_batch(seen, rows)
    region = of_new_source(profile, batch.column(source), source)
    if not alarmed and not region.any():
        return np.ones(len(rows), dtype=bool)
    scored = atypical(profile, batch)
    mine = seen.answered_by[rows] == seen.model.number
    for channel in alarmed:
        says_so = np.nan_to_num(scored[channel]) > 0
        region = region | (says_so if channel in _OF_ANY_MODEL else says_so & mine)
    return region
