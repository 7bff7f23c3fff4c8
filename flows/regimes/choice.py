"""
Which archived version fits the new images, if any: a pure function of what each answered to them.

Re-using a model that once served a recurring concept, before another is trained, is an old idea of learning under
drift (FLORA3: Widmer and Kubat, Machine Learning 23, 1996); here it is a test on *select* images, and the gate
has the last word on *judge* images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from models.intervals import wilson
from models.noninferiority import PairedCounts, no_worse

# With fewer the test below would rest on three images.
LEAST_IMAGES = 20
# Of taking one for better that is not, shared by all that are tried.
LEVEL = 0.05
_LIKE_ITSELF = 0.90  # two-sided, so that either end alone is at 95 %


@dataclass(frozen=True)
class Tried:
    """
    What an archived version answered to the fresh *select* images, beside the champion.

    Attributes:
        counts: "lost" are images that the champion had right and this version has wrong; divided by the design effect.
        right: Share of the images that it has right, 0..1.
        when_judged: Its accuracy when it was made, 0..1; None where it was never judged.
    """

    version: int
    counts: PairedCounts
    right: float
    when_judged: float | None


@dataclass(frozen=True)
class Choice:
    """The version that goes to the gate; None where none fits, and why in one sentence."""

    version: int | None
    words: str


def choose(tried: Sequence[Tried], images: int, tolerance: float) -> Choice:
    """
    The best version that is surely better than the champion, and not surely worse than it was when it was made.

    The second keeps a version out that is merely less bad: where no version knows the new world, one has to be trained.

    Args:
        tried: Each on the same images.
        images: How many those are.
        tolerance: Accuracy below that of its making which is still fine, 0..1.
    """
    if images < LEAST_IMAGES:
        needed = f"{images} fresh images select; {LEAST_IMAGES} are needed to tell whether an archived version fits."
        return Choice(None, needed)
    if not tried:
        return Choice(None, "No archived version can be compared with the champion.")
    better = [one for one in tried if no_worse(one.counts, 0.0, LEVEL / len(tried))]
    if not better:
        return Choice(None, f"None of {len(tried)} archived versions is surely better on {images} fresh images.")
    best = min(better, key=lambda one: (one.counts.loss, -one.version))
    points = f"{100 * -best.counts.loss:.1f} points better than the champion on {images} fresh images"
    if not _is_as_when_made(best, tolerance):
        return Choice(
            None,
            f"Version {best.version} is {points}, but with {best.right:.0%} right does not know them as well as what "
            f"it was made for ({best.when_judged or 0:.0%}).",
        )
    return Choice(best.version, f"Version {best.version} is {points}.")


def _is_as_when_made(one: Tried, tolerance: float) -> bool:
    if one.when_judged is None:
        return False
    _, highest = wilson(one.right * one.counts.images, one.counts.images, _LIKE_ITSELF)
    return highest >= one.when_judged - tolerance
