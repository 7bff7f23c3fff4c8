"""What an answer says about itself: how sure it is, and how spread its probabilities are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.reference.coded import MISSING
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch, Floats, entropy_of

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Scores:
    """
    Answers whose probabilities are whole.

    Attributes:
        rows: Of the batch they come from, shape (N,): whether the row is among them.
        confidence: The largest probability; shape (n,).
        certainty: Entropy with its sign turned, so that more is surer; shape (n,).
        groups: Number of the group (a session) of each row, shape (n,); None where each stands alone.
    """

    rows: Flags
    confidence: Floats
    certainty: Floats
    groups: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.confidence)

    def of(self, member: Flags) -> "Scores":
        """The rows of a part of the batch; `member` has the batch's length."""
        inside = member[self.rows]
        groups = None if self.groups is None else np.unique(self.groups[inside], return_inverse=True)[1]
        return Scores(self.rows & member, self.confidence[inside], self.certainty[inside], groups)


@dataclass(frozen=True)
class ReferenceScores:
    """Held-out answers with their truth; `right` and the scores' rows go together."""

    scores: Scores
    right: Flags

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    def of(self, member: Flags) -> "ReferenceScores":
        """The rows of a part of the reference's plain batch."""
        return ReferenceScores(self.scores.of(member), self.right[member[self.scores.rows]])


def scores_of(batch: Batch, group: str = "") -> Scores:
    """
    The rows of a batch whose probabilities are all there.

    group: metadata column of predictions that belong together; "" = each stands alone.
    """
    whole = np.isfinite(batch.probabilities).all(axis=1) & (batch.probabilities.shape[1] > 0)
    probabilities = batch.probabilities[whole].astype(np.float64)
    return Scores(
        rows=whole,
        confidence=probabilities.max(axis=1, initial=0.0),
        certainty=-entropy_of(probabilities),
        groups=_groups(batch, group)[whole] if group else None,
    )


def reference_scores(profile: ReferenceProfile, group: str = "") -> ReferenceScores:
    """The profile's images, each once and as it is, with whether the champion was right; without truth none count."""
    plain = profile.plain
    classes = set(profile.classes)
    # A profile made of production images has no truth for some, or for any of them.
    truth = [*profile.truth[: len(plain)], *[""] * (len(plain) - len(profile.truth))]
    known = np.array([label in classes for label in truth], dtype=bool)
    right = np.array([label == said for label, said in zip(truth, plain.labels, strict=True)], dtype=bool)
    scores = scores_of(plain, group).of(known)
    return ReferenceScores(scores, right[scores.rows])


def _groups(batch: Batch, column: str) -> NDArray[np.intp]:
    """A number for each row; rows without the column are groups of one each."""
    found = batch.column(column)
    alone = found.codes == MISSING
    numbers = found.codes.astype(np.intp)
    numbers[alone] = len(found.values) + np.arange(int(alone.sum()))
    return numbers
