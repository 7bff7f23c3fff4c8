"""Predictions and labels as observations: the numbers that evidence is made of."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from math import isnan

from models.prediction import Label, Prediction
from monitoring.batch import batch_of
from monitoring.evidence import CHANNELS, GROSS, HARM, Observation
from monitoring.reference import ReferenceProfile
from monitoring.signals import atypical


def gross_observations(
    profile: ReferenceProfile, predictions: Sequence[Prediction], first_number: int, group: str
) -> list[tuple[int, Observation]]:
    """
    One observation per prediction, each with the place of its last prediction.

    Args:
        profile: The champion's.
        predictions: In order.
        first_number: Of the first observation.
        group: Metadata column of predictions that belong together (a session): those of one minute make one
            observation with their mean, since near-copies are not independent. "" = each alone.
    """
    scored = atypical(profile, batch_of(predictions, len(profile.classes), profile.embedding_size))
    bundles: dict[tuple[str, datetime | int], list[int]] = {}
    for place, row in enumerate(predictions):
        session = row.metadata.get(group, "") if group else ""
        key = (session, row.at.replace(second=0, microsecond=0)) if session else ("", place)
        bundles.setdefault(key, []).append(place)
    found = []
    for number, members in enumerate(bundles.values(), start=first_number):
        values = tuple((channel, _mean(scored[channel][place] for place in members)) for channel in CHANNELS)
        found.append((max(members), Observation(GROSS, number, values)))
    return found


def harm_observations(
    profile: ReferenceProfile,
    pairs: Iterable[tuple[Label, Prediction]],
    first_number: int,
    subgroups: Sequence[str],
) -> list[Observation]:
    """One observation per label of the champion's own predictions; labels of others say nothing about it."""
    found: list[Observation] = []
    for label, prediction in pairs:
        if prediction.model_version != profile.version or label.label not in profile.classes:
            continue
        wrong = float(label.label != prediction.label)
        names = ["overall", f"class={label.label}"]
        names += [f"{column}={prediction.metadata[column]}" for column in subgroups if column in prediction.metadata]
        found.append(Observation(HARM, first_number + len(found), tuple((name, wrong) for name in names)))
    return found


def _mean(values: Iterable[float]) -> float:
    known = [float(value) for value in values if not isnan(value)]
    return sum(known) / len(known) if known else float("nan")
