"""A new normal: a profile fitted from what production has sent since a change."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from infra.clock import now
from infra.errors import UserError
from infra.settings_sections import DataSettings
from monitoring.blocks.cutting import Span
from monitoring.blocks.reading import read_sample
from monitoring.blocks.sample import BlockSample
from monitoring.incoming.broken_pictures import LOST, faults_of
from monitoring.reference.fit import columns_of, fit
from monitoring.reference.profile import IDENTIFIER, NUMBER, Column, ReferenceProfile
from monitoring.watching.place import WatchPlace

LEAST_ROWS, _MOST_ROWS = 500, 5_000


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
    lost = [one for one in faults_of(profile, batch, sample.images, place.settings.data.source) if one.kind in LOST]
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
    labels, batch = place.log.last_labels(sample.ids), sample.batch(profile)
    return fit(
        batch,
        [labels[one].label if one in labels else "" for one in sample.ids],
        version=profile.version,
        classes=profile.classes,
        rounds=1,
        judged_errors=profile.judged_errors,
        columns=columns_now(batch.metadata, profile, place.settings.data),
    )


def columns_now(
    metadata: Sequence[Mapping[str, str]], profile: ReferenceProfile, data: DataSettings
) -> dict[str, Column]:
    """The metadata columns of a new normal; values and ranges of the profile of before stay known."""
    known = [{name: value} for name, column in profile.columns.items() for value in column.values]
    for name, column in profile.columns.items():
        if column.kind == NUMBER:
            known += [{name: str(column.low)}, {name: str(column.high)}]
    categories = {*data.subgroups, *([data.source] if data.source else [])}
    # What named pictures or sessions goes on doing so, however few of them have come since the change.
    identifiers = {name for name, column in profile.columns.items() if column.kind == IDENTIFIER} - categories
    identifiers |= {data.group} if data.group else set()
    return columns_of(metadata, known, frozenset(categories), frozenset(identifiers))
