"""What is told of one prediction, and of the version that gave it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monitoring.decisions.records import Proof, Reign, Story


@dataclass(frozen=True)
class Answer:
    """
    What a prediction was answered.

    Attributes:
        model: As the answer named it, "name:version".
        role: "champion", "canary", "earlier champion" (its worker had not changed yet) or "unknown".
        role_words: The same as a sentence, with since when.
        image_kept: Whether its picture was kept then.
    """

    id: str
    at: datetime
    model: str
    version: int
    role: str
    role_words: str
    label: str
    confidence: float
    image_kept: bool
    repeated: bool


@dataclass(frozen=True)
class LabelSaid:
    """What somebody said the answer should have been; the last one, where several did."""

    label: str
    at: datetime
    labelled_by: str
    right: bool


@dataclass(frozen=True)
class Gone:
    """
    A prediction that was forgotten.

    Attributes:
        finished_at: None while the request is open.
        outcome: What was deleted, by counts; empty while it is open.
    """

    pseudonym: str
    asked_at: datetime
    asked_by: str
    finished_at: datetime | None
    outcome: Mapping[str, Any]
    proofs: tuple[Proof, ...]


@dataclass(frozen=True)
class Training:
    """
    What a version was trained on.

    Attributes:
        data_fingerprint: Of the whole snapshot, judge images included, as the ledger has it; "" where unknown.
        images: How many, by role, then by where they came from.
        left_out: How many labelled images were not used, by reason.
        forgotten: How many of them were forgotten since.
        run: The run directory; it may have been tidied away, or lie on another machine.
        told_by: Where the counts come from, for people.
        proofs: The ledger's row that names the fingerprint.
    """

    data_fingerprint: str
    images: Mapping[str, Mapping[str, int]]
    left_out: Mapping[str, int]
    forgotten: int
    labels_until: datetime | None
    backbone: str
    strategy: str
    seed: int | None
    trained_at: str
    run: str
    told_by: str
    proofs: tuple[Proof, ...]


@dataclass(frozen=True)
class VersionExplained:
    """
    How a version came to be and to answer.

    Attributes:
        stories: Every decision about it, oldest first; the first is that of its making.
        reigns: When it was champion.
        missing: What ought to be there and is not, a sentence each.
    """

    title: str
    version: int
    state: str
    made_at: datetime
    parent_version: int | None
    reason: str
    onnx_sha256: str
    training: Training
    stories: tuple[Story, ...]
    reigns: tuple[Reign, ...]
    proofs: tuple[Proof, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """
    Everything about one prediction, or about a version alone.

    Attributes:
        answer: None for a version alone, and for what was forgotten.
        gone: None unless it was, or is to be, forgotten.
        version: None where nobody can tell any more which it was.
    """

    answer: Answer | None
    label: LabelSaid | None
    gone: Gone | None
    version: VersionExplained | None
    missing: tuple[str, ...]
