"""Labels that people were asked for: one row each, with the probability with which it was drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

ASKED, ANSWERED, SKIPPED, OVERDUE = "asked", "answered", "skipped", "overdue"
AUDIT, GATE, DRIFTED, DISAGREEMENT, UNCERTAIN = "audit", "gate", "drifted", "disagreement", "uncertain"
STRATA = (AUDIT, GATE, DRIFTED, DISAGREEMENT, UNCERTAIN)


@dataclass(frozen=True)
class LabelRequest:
    """
    One prediction that a person was asked about.

    Attributes:
        stratum: Why it was drawn: "audit" (by chance alone), "gate" (a candidate's judgement waits for it), "drifted",
            "disagreement" or "uncertain".
        probability: With which it was drawn in any way, 0..1, fixed before anybody saw its label.
        uniform_probability: With which the audit sample alone drew it, 0..1: the same for all predictions of its plan,
            less for one of several near-copies.
        in_audit: Whether the audit sample drew it, whatever else did: only these enter evidence of harm.
        policy: The plan's version, so that probabilities of two plans are never mixed unknowingly.
        state: "asked", "answered", "skipped" (a person could not say) or "overdue".
        image_sha256: Of its picture.
        same_as: Id of an earlier request for the very same picture, whose answer is its answer; None where a person
            is to be asked. It counts in estimates with its own probability, and costs nobody a second look.
        label: What was answered; None before.
    """

    name: str
    prediction_id: str
    predicted_at: datetime
    asked_at: datetime
    model_version: int
    stratum: str
    probability: float
    uniform_probability: float
    in_audit: bool
    policy: str
    state: str
    image_sha256: str = ""
    same_as: str | None = None
    label: str | None = None
    answered_at: datetime | None = None
    exported_at: datetime | None = None
    facts: Mapping[str, Any] | None = None
