"""Predictions and labels as observations: the numbers that evidence is made of."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.prediction import Label, Prediction
from monitoring.evidence_records import CHANNELS, GROSS, HARM, Observation
from monitoring.reference.coded import MISSING, Coded
from monitoring.reference.profile import ReferenceProfile
from monitoring.signals import atypical
from monitoring.watching.batch import Batch, Floats


def gross_observations(
    profile: ReferenceProfile, batch: Batch, times: NDArray[np.datetime64], first_number: int, group: str
) -> list[tuple[int, Observation]]:
    """
    One observation per prediction, each with the place of its last prediction.

    Args:
        profile: The champion's.
        batch: Its predictions, in order.
        times: When each was answered.
        first_number: Of the first observation.
        group: Metadata column of predictions that belong together (a session): those of one minute make one
            observation with their mean, since near-copies are not independent. "" = each alone.
    """
    scored = atypical(profile, batch)
    bundle, last = _bundles(batch.column(group), times) if group else (None, np.arange(len(batch)))
    means = [_means(scored[channel], bundle).tolist() for channel in CHANNELS]
    return [
        (place, Observation(GROSS, number, tuple(zip(CHANNELS, values, strict=True))))
        for number, (place, *values) in enumerate(zip(last.tolist(), *means, strict=True), start=first_number)
    ]


def harm_observations(
    profile: ReferenceProfile,
    pairs: Iterable[tuple[Label, Prediction]],
    first_number: int,
    subgroups: Sequence[str],
    group: str = "",
) -> list[Observation]:
    """
    One observation per label of the champion's own predictions; labels of others say nothing about it.

    Labels of near-copies, which come together, make one observation with their mean: of one picture, and of one
    session's predictions of a minute, where `group` names the metadata column of sessions.
    """
    bundles: dict[tuple[str, str], list[tuple[Label, Prediction]]] = {}
    for label, prediction in pairs:
        if prediction.model_version == profile.version and label.label in profile.classes:
            bundles.setdefault(_kin(prediction, group), []).append((label, prediction))
    return [
        Observation(HARM, number, _errors(members, subgroups))
        for number, members in enumerate(bundles.values(), start=first_number)
    ]


def _kin(prediction: Prediction, group: str) -> tuple[str, str]:
    session = prediction.metadata.get(group, "") if group else ""
    if not session:
        return "", prediction.image_sha256 or prediction.id
    return session, prediction.at.replace(second=0, microsecond=0).isoformat()


def _errors(members: Sequence[tuple[Label, Prediction]], subgroups: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Share of errors among the members, for all of them, by class and by subgroup."""
    errors: dict[str, list[float]] = {}
    for label, prediction in members:
        names = ["overall", f"class={label.label}"]
        names += [f"{column}={prediction.metadata[column]}" for column in subgroups if column in prediction.metadata]
        for name in names:
            errors.setdefault(name, []).append(float(label.label != prediction.label))
    return tuple((name, sum(values) / len(values)) for name, values in errors.items())


def _bundles(sessions: Coded, times: NDArray[np.datetime64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Each row's bundle, numbered in the order in which they begin, and the place of each bundle's last row."""
    rows = np.arange(len(sessions))
    minutes = times.astype("datetime64[m]").astype(np.int64)
    alone = sessions.codes == MISSING
    pairs = np.stack([np.where(alone, -1 - rows, sessions.codes), np.where(alone, 0, minutes)], axis=1)
    _, first, inverse = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    order = np.empty(len(first), dtype=np.intp)
    order[np.argsort(first)] = np.arange(len(first))
    bundle = order[inverse.ravel()]
    last = np.zeros(len(first), dtype=np.intp)
    np.maximum.at(last, bundle, rows)
    return bundle, last


def _means(values: Floats, bundle: NDArray[np.intp] | None) -> Floats:
    """Each bundle's mean of the values that are numbers; NaN where none is."""
    if bundle is None or not len(bundle):
        return values
    known = np.isfinite(values)
    total = np.bincount(bundle, weights=np.where(known, values, 0.0))
    count = np.bincount(bundle, weights=known)
    mean: Floats = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return mean
