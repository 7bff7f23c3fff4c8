"""What the gate is told and what it answers: plain records, and their JSON."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PROMOTE = "promote"
REJECT = "reject"
UNDECIDED = "undecided"

OLD = "old"
RECENT = "recent"
ALL = "old and recent"
# What an image was labelled for where candidate and champion answer it differently; it counts for the gain alone.
DIFFERENT = "answered differently"

# Why there is a candidate. Where the world or the answers were found wanting, it must prove that it helps.
GAIN_REASONS = frozenset({"drift", "harm", "performance", "bias"})
REASONS = GAIN_REASONS | {"first", "labels", "schedule", "requested", "manual", "classes"}


@dataclass(frozen=True)
class Answers:
    """
    What one model answered to one set of judge images.

    Attributes:
        fingerprint: Of the images and their labels; two models are compared only where it is the same.
        classes: Names, in the order of the indices below.
        truth: shape (N,), index of each image's label.
        answer: shape (N,), index of the answered class.
        confidence: shape (N,), calibrated probability of the answered class, 0..1.
        groups: One name per image; images of one group are not independent of each other.
        metadata: One mapping per image; subgroups are read from it.
        asked_for: One word per image: the group whose comparison it was labelled for, as "class=7", and in no other
            does it count, for it would shift their mix; DIFFERENT = the gain; "" = counts everywhere. Empty: all do.
        by_chance: One truth per image: whether its label was asked for without regard to any model's answer. A gain is
            proven on those alone: what people hand in of themselves is mostly what the champion got wrong. Empty: all.
    """

    fingerprint: str
    classes: tuple[str, ...]
    truth: NDArray[np.int64]
    answer: NDArray[np.int64]
    confidence: NDArray[np.float64]
    groups: tuple[str, ...]
    metadata: tuple[Mapping[str, str], ...]
    asked_for: tuple[str, ...] = ()
    by_chance: tuple[bool, ...] = ()

    @property
    def images(self) -> int:
        return len(self.truth)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Shape (N,)."""
        return np.equal(self.truth, self.answer)

    def counts_for(self, group: str) -> NDArray[np.bool_]:
        """Shape (N,): which images count in the comparison of a group."""
        if not self.asked_for:
            return np.ones(self.images, dtype=bool)
        return np.array([word in ("", group) for word in self.asked_for], dtype=bool)

    @property
    def measuring(self) -> NDArray[np.bool_]:
        """Shape (N,): which images count everywhere, and were not chosen by anybody's answer to them."""
        chance = np.array(self.by_chance, dtype=bool) if self.by_chance else np.ones(self.images, dtype=bool)
        measuring: NDArray[np.bool_] = self.counts_for("") & chance
        return measuring

    @property
    def asked_as_different(self) -> NDArray[np.bool_]:
        """Shape (N,): which images were labelled because candidate and champion answer them differently."""
        words = self.asked_for or ("",) * self.images
        return np.array([word == DIFFERENT for word in words], dtype=bool)

    def only(self, rows: NDArray[np.bool_]) -> "Answers":
        """Those of some images; the fingerprint stays that of all, so that the same choice must be made of both."""
        chosen = np.flatnonzero(rows).tolist()
        return dataclasses.replace(
            self,
            truth=self.truth[rows],
            answer=self.answer[rows],
            confidence=self.confidence[rows],
            groups=tuple(self.groups[row] for row in chosen),
            metadata=tuple(self.metadata[row] for row in chosen),
            asked_for=tuple(self.asked_for[row] for row in chosen) if self.asked_for else (),
            by_chance=tuple(self.by_chance[row] for row in chosen) if self.by_chance else (),
        )


@dataclass(frozen=True)
class ArtifactFacts:
    """The candidate as a file: one image's time on one CPU core, its size, its licence, its parity with training."""

    latency_ms: float
    size_mb: float
    licence: str
    parity_ok: bool


@dataclass(frozen=True)
class GateRules:
    """
    What a candidate must reach.

    Attributes:
        overall_margin: Loss of accuracy that must be ruled out, 0..1.
        class_margin: The same for each class and subgroup, 0..1.
        required_groups: Judged whatever their size, as "camera=A" or "class=7".
        planned_readings: Times the judge set may be read for one candidate, 1 or 2; two share the level.
        calibration_margin: Growth of the calibration error that must be ruled out, 0..1.
        relief_gain: Proven gain on recent data from which an undecided candidate may go on, 0..1.
    """

    min_precision: float = 0.5
    min_recall: float = 0.5
    overall_margin: float = 0.02
    class_margin: float = 0.05
    required_groups: tuple[str, ...] = ()
    licences: tuple[str, ...] = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "none")
    most_latency_ms: float = 1000.0
    most_artifact_mb: float = 2000.0
    planned_readings: int = 1
    calibration_margin: float = 0.02
    relief_gain: float = 0.10


@dataclass(frozen=True)
class GateInput:
    """
    Everything the gate looks at.

    Attributes:
        reason: Why there is a candidate: one of REASONS, or several with commas between; a person's words are none.
        candidate_old: Answers to judge images from before the champion's training; for a first model, to all. Of
            classes that the champion knows too, where there is one.
        champion_old: The champion's answers to the same; None when there is no champion.
        candidate_recent: Answers to judge images that came after the champion's training; None without any.
        anchor_old: Answers of the best earlier champion to the old images; None without one.
        subgroups: Metadata columns whose values are compared.
        candidate_readings: Times the judge set was read for this candidate before.
        judge_readings: Times the old judge set was read for anybody since its oldest part was last replaced.
        new_classes: That the candidate has and the champion lacks.
        candidate_floors: Answers to old and recent images of every class, new ones too; None where there is no new one.
        retrains_per_year: As they came so far; None where that is not known.
        incomparable: Why there is a champion and yet no answers of it; "" where there are.
    """

    reason: str
    artifact: ArtifactFacts
    candidate_old: Answers
    champion_old: Answers | None = None
    candidate_recent: Answers | None = None
    champion_recent: Answers | None = None
    anchor_old: Answers | None = None
    anchor_title: str = ""
    subgroups: tuple[str, ...] = ()
    candidate_readings: int = 0
    judge_readings: int = 0
    new_classes: tuple[str, ...] = ()
    candidate_floors: Answers | None = None
    retrains_per_year: float | None = None
    incomparable: str = ""

    @property
    def gain_required(self) -> bool:
        """A retrain because something was found wanting must prove that it helps where the world changed."""
        return gain_is_required(self.reason)


def gain_is_required(reason: str) -> bool:
    """Whether one of the reasons demands a proven gain; a person's own words demand none, whatever they mention."""
    named = {word.strip() for word in reason.split(",")}
    return named <= REASONS and bool(named & GAIN_REASONS)


@dataclass(frozen=True)
class CheckRow:
    """
    One comparison, whatever came of it.

    Attributes:
        scope: "old", "recent", or both of them together.
        group: "overall", "class=7", "camera=A", "camera=A, site=B".
        images: Images compared.
        loss: Observed, 0..1; below zero the candidate is better. For a floor: the observed value.
        bound: Loss that is ruled out at the test's level. For a floor: the interval's lower end.
        margin: Largest loss allowed. For a floor: the least value.
        status: "judged", "watched" (too few images to decide, enough to object) or "listed" (too few for either).
        result: "passed", "failed", "undecided" or "noted".
        needed: Further images that would probably decide, or of a watched group, with which it would be judged; None
            where none are needed or none would help.
        needed_different: So many would do of images that the two models answer differently; None where only images of
            any kind help.
        worth: Independent images that tell as much; fewer than `images` where some belong together.
    """

    name: str
    scope: str
    group: str
    images: int
    loss: float
    bound: float
    margin: float
    status: str
    result: str
    needed: int | None = None
    needed_different: int | None = None
    worth: int | None = None


@dataclass(frozen=True)
class Objection:
    """
    One reason against promoting.

    Attributes:
        outcome: "reject" or "undecided".
        needed_labels: Further labels that would probably decide; None where labels would not.
        needed_different: So many would do of images that the two models answer differently; None where they would not.
    """

    outcome: str
    check: str
    scope: str
    group: str
    words: str
    needed_labels: int | None = None
    needed_different: int | None = None


@dataclass(frozen=True)
class ClassPrecision:
    """A class's precision on the old images, candidate beside champion, with a paired 95 % interval of the change."""

    label: str
    candidate: float
    champion: float
    lowest_change: float
    highest_change: float


@dataclass(frozen=True)
class GateDecision:
    """
    The gate's answer.

    Attributes:
        outcome: "promote", "reject" or "undecided".
        relief: Undecided, but a gain of at least ten points on recent data is proven and nothing speaks against it.
        objections: Everything that stands against promoting, rejections first.
        checks: Every comparison made.
        notes: What a reader should know beside.
        relief_needed: Further labels that would probably prove such a gain, where one was seen; None where none was.
    """

    outcome: str
    relief: bool
    objections: tuple[Objection, ...]
    checks: tuple[CheckRow, ...]
    precisions: tuple[ClassPrecision, ...]
    notes: tuple[str, ...]
    relief_needed: int | None = None

    def words(self) -> list[str]:
        """The decision as sentences: the outcome, each objection, each note."""
        if self.outcome == PROMOTE:
            first = "Promote: every judged check passed."
        elif self.outcome == REJECT:
            first = "Reject: the candidate is worse, or breaks a rule."
        elif self.relief:
            first = "Undecided, but relief applies: a gain of at least 10 points on recent images is proven."
        else:
            first = "Undecided: too few labelled images to know; more labels may decide."
        return [first, *(objection.words for objection in self.objections), *self.notes]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "GateDecision":
        return cls(
            outcome=document["outcome"],
            relief=document["relief"],
            objections=tuple(Objection(**entry) for entry in document["objections"]),
            checks=tuple(CheckRow(**entry) for entry in document["checks"]),
            precisions=tuple(ClassPrecision(**entry) for entry in document["precisions"]),
            notes=tuple(document["notes"]),
            relief_needed=document.get("relief_needed"),
        )
