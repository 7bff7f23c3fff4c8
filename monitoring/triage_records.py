"""What triage looks at, and the verdict it gives."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from monitoring.blocks.distance_from_origin import DistanceFromOrigin
from monitoring.evidence_records import Evidence
from monitoring.identification import ShiftReport
from monitoring.incoming.faults import Look
from monitoring.incoming.volume import ArrivalReport

NOTHING, LABEL_FIRST, FIX_INPUT, RETRAIN = "nothing", "label_first", "fix_input", "retrain"
LABELLED, ESTIMATED = "labels", "estimate"
NOT_ENOUGH = "Not enough evidence yet"


@dataclass(frozen=True)
class LabelsSoFar:
    """
    Labels that came after the champion was made and whose picture was kept, so that they can train.

    Attributes:
        fresh: All of them.
        in_region: Those of predictions where the change is; all of them where no region stands out.
        right_in_region: Of these, how many the champion had right.
        since_refusal: Those that came after the last refused candidate; None where none was refused.
        not_kept: Labels that came since then but whose picture was not kept.
        unlabelled: Classes of which there is no fresh label.
        by_class: How many of the fresh ones are of each class that has some.
    """

    fresh: int = 0
    in_region: int = 0
    right_in_region: int = 0
    since_refusal: int | None = None
    not_kept: int = 0
    unlabelled: Sequence[str] = ()
    by_class: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Situation:
    """
    Everything triage looks at.

    Attributes:
        predictions: The champion's, since the last reset.
        window: Predictions in a window.
        source: The declared source column; "" for none.
        feedback_is_random: Whether all labels measure harm, or only those that the audit sample asked for.
        estimated_loss_windows: So many of the newest windows in a row have a valid estimate of the accuracy, and it
            lies further below what it should be than the tolerance.
        estimated_loss: By how much, in the newest of them, 0..1; None where it is not known.
        shift: What kind of shift the newest window shows; None where it was not asked.
        arrivals: Volume, silent sources and the like; None where they were not read.
        origin_distance: Of the newest block; None before the first, or without an origin.
        changed_since: Detector of the blocks to the beginning of its change, where an alarm dates it.
    """

    evidence: Evidence
    look: Look
    labels: LabelsSoFar
    predictions: int
    window: int
    source: str
    feedback_is_random: bool
    harm_labels: int = 0
    estimated_loss_windows: int = 0
    estimated_loss: float | None = None
    shift: ShiftReport | None = None
    arrivals: ArrivalReport | None = None
    origin_distance: DistanceFromOrigin | None = None
    changed_since: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class TriageRules:
    """What a retrain needs, and how much of a known source may look strange, 0..1."""

    least_fresh_labels: int = 100
    least_labels_in_changed_region: int = 50
    retrain_on_harm: bool = True
    most_known_source_changed: float = 0.20
    least_loss_windows: int = 2


@dataclass(frozen=True)
class Verdict:
    """
    What to do.

    Attributes:
        action: "nothing", "label_first", "fix_input" or "retrain".
        reasons: Sentences, the most important first.
        would_change: What would lead to another verdict, as sentences.
        starts_retrain: Whether the watcher may queue a retrain by itself.
        avoidable_error: Error above what the champion is allowed, 0..1 of all answers; None where no harm is shown.
        avoidable_basis: What shows it: "labels" or "estimate"; "" where nothing does.
    """

    action: str
    reasons: tuple[str, ...]
    would_change: tuple[str, ...]
    starts_retrain: bool = False
    avoidable_error: float | None = None
    avoidable_basis: str = ""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
