"""The labels that were kept, also those that nothing can use yet: of no known prediction, or of no known class."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from flows.workplace import Workplace
from infra.objects import ObjectMissing
from models.prediction import Label


@dataclass(frozen=True)
class LabelCounts:
    """
    Labels that count: the last of each id.

    Attributes:
        orphans: Their id is of no prediction in the log (yet).
        quarantined: Their class is none of the champion's; they wait until it is. 0 where there is no champion.
    """

    labelled: int
    orphans: int
    quarantined: int


@dataclass(frozen=True)
class KeptLabel:
    """One label that counts; `orphan` and `quarantined` as in `LabelCounts`."""

    id: str
    label: str
    labelled_by: str
    at: datetime
    orphan: bool
    quarantined: bool


def count_labels(place: Workplace) -> LabelCounts:
    """Count them without reading more than three columns of the tables."""
    by_class, classes = place.log.labels_by_class(), champion_classes(place)
    quarantined = 0 if classes is None else sum(count for label, count in by_class.items() if label not in classes)
    return LabelCounts(sum(by_class.values()), place.log.orphans(), quarantined)


def kept_labels(place: Workplace) -> tuple[KeptLabel, ...]:
    """Every label that counts, the newest first."""
    orphans = {label.id for label in place.log.orphaned()}
    return _kept(list(place.log.last_labels().values()), orphans, champion_classes(place))


def champion_classes(place: Workplace) -> tuple[str, ...] | None:
    """What the champion can answer; None where there is no champion, or its artifact cannot be read."""
    champion = place.registry.champion()
    if champion is None:
        return None
    try:
        return tuple(json.loads(place.objects.get(f"{champion.artifact_prefix}/artifact.json"))["classes"])
    except (ObjectMissing, ValueError, KeyError):
        return None


def _kept(labels: Sequence[Label], orphans: Collection[str], classes: Collection[str] | None) -> tuple[KeptLabel, ...]:
    newest_first = sorted(labels, key=lambda label: label.sequence, reverse=True)
    return tuple(
        KeptLabel(
            label.id,
            label.label,
            label.labelled_by,
            label.at,
            orphan=label.id in orphans,
            quarantined=classes is not None and label.label not in classes,
        )
        for label in newest_first
    )
