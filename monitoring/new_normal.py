"""A new normal: a profile fitted from what production has sent since a change."""

from datetime import UTC, datetime

import numpy as np

from infra.clock import now
from infra.errors import UserError
from monitoring.block_reading import read_sample
from monitoring.block_sample import BlockSample
from monitoring.blocks import Span
from monitoring.broken_pictures import BLANK, SAME_FILE, STUCK, faults_of
from monitoring.reference import ReferenceProfile
from monitoring.reference_fit import columns_of, fit
from monitoring.watch_place import WatchPlace

LEAST_ROWS, _MOST_ROWS = 500, 5_000
# No training can use these; other faults change a picture, which a person may well call normal.
_LOST = (BLANK, SAME_FILE, STUCK)


def usable(place: WatchPlace, profile: ReferenceProfile, since: datetime) -> BlockSample:
    """
    The champion's predictions since the change, each picture once, with every number that a profile needs.

    Raises:
        UserError: there are too few, or their content is lost.
    """
    sample = read_sample(place.log, profile, Span(since, now(), 0), _MOST_ROWS)
    when = since.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    if sample is None:
        raise UserError(f"No prediction of the champion has come since the change ({when}); {LEAST_ROWS} are needed.")
    batch = sample.batch(profile)
    lost = [one for one in faults_of(profile, batch, sample.images, place.settings.data.source) if one.kind in _LOST]
    if lost:
        raise UserError(f"Broken pictures are no normal: {lost[0].words}. Mend the input first.")
    answered = np.isfinite(np.concatenate([batch.probabilities, batch.embedding], axis=1)).all(axis=1)
    whole = np.asarray(answered & np.isfinite(batch.statistics).any(axis=1))
    first = {image: place for place, image in reversed(list(enumerate(sample.images))) if whole[place]}
    if len(first) < LEAST_ROWS:
        raise UserError(
            f"Only {len(first)} different, whole pictures have come since the change ({when}); {LEAST_ROWS} are "
            f"needed to say what is normal now. Wait for {LEAST_ROWS - len(first)} more."
        )
    return sample.take(sorted(first.values()))


def fitted(place: WatchPlace, profile: ReferenceProfile, sample: BlockSample) -> ReferenceProfile:
    """A profile of these predictions. What they truly show is known of those with a label; of the others it is ""."""
    data, labels = place.settings.data, place.log.last_labels(sample.ids)
    batch = sample.batch(profile)
    known = [{name: value} for name, column in profile.columns.items() for value in column.values]
    known += [{name: str(end)} for name, column in profile.columns.items() if not column.values
              for end in (column.low, column.high)]  # fmt: skip
    columns = columns_of(
        batch.metadata,
        known,
        frozenset([*data.subgroups, *([data.source] if data.source else [])]),
        frozenset([data.group] if data.group else []),
    )
    return fit(
        batch,
        [labels[one].label if one in labels else "" for one in sample.ids],
        version=profile.version,
        classes=profile.classes,
        rounds=1,
        judged_errors=profile.judged_errors,
        columns=columns,
    )
