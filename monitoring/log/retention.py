"""
What is kept, and for how long: the decision alone, from records and rules; who reads and deletes is elsewhere.

Of rows, whole days go. Of images, everything stays for some days; then what was labelled, what a training used, and a
sample of the rest. The sample is drawn by the image's own SHA-256, so that it is the same at every run and on every
machine, and says nothing about who sent the image or what was answered. What is left over must fit under a cap.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

# A shipper writes an image before the row that names it; one without a row after this time is nobody's.
UNNAMED_FOR = timedelta(days=7)
_HEX_DIGITS, _RANGE = 16, float(1 << 64)  # of the SHA-256, as a number between 0 and 1


class Hold(IntEnum):
    """Why an image stays; under the cap the lowest goes first, and what is pinned never."""

    UNNAMED = 0
    SAMPLED = 1
    RECENT = 2
    TRAINED = 3
    LABELLED = 4
    LABELLED_BY_SOMEBODY = 5
    PINNED = 6

    @property
    def words(self) -> str:
        return _WORDS[self]


_WORDS = {
    Hold.UNNAMED: "not named by a prediction yet",
    Hold.SAMPLED: "sample of the older ones",
    Hold.RECENT: "recent",
    Hold.TRAINED: "used by a training",
    Hold.LABELLED: "labelled",
    Hold.LABELLED_BY_SOMEBODY: "labelled by a named person",
    Hold.PINNED: "needed by the champion or a running training",
}


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """
    One image in the object store.

    Attributes:
        seen_at: When a prediction last showed it; where none names it, when its bytes were written.
        named: Whether a prediction names it.
        labelled, by_somebody: Whether one of those has a label, and one that says who gave it.
        trained: Whether a training used it.
        pinned: Whether the champion's snapshot or a running training needs it.
    """

    sha256: str
    bytes: int
    seen_at: datetime
    named: bool = True
    labelled: bool = False
    by_somebody: bool = False
    trained: bool = False
    pinned: bool = False


@dataclass(frozen=True)
class ImageRules:
    """
    How long and how much.

    Attributes:
        days: Every image stays for so long; 0 = for ever.
        sample: Share of the older ones that stays, 0..1.
        most_bytes: Of all images.
    """

    days: float
    sample: float
    most_bytes: float


@dataclass(frozen=True)
class Evictions:
    """
    What is to go and what stays.

    Attributes:
        expired: Too old, and held by nothing.
        capped: Held, but beyond the cap; the least needed first.
        capped_as: Why each of those would have stayed.
        kept: Images that stay, by why.
        kept_bytes: Of those.
        over_bytes: By how much the pinned ones alone break the cap.
    """

    expired: tuple[ImageRecord, ...]
    capped: tuple[ImageRecord, ...]
    kept: Mapping[Hold, int]
    kept_bytes: int
    over_bytes: int = 0
    capped_as: tuple[Hold, ...] = ()

    def capped_by(self) -> dict[Hold, int]:
        """How many were beyond the cap, by why they would have stayed."""
        return dict(sorted(Counter(self.capped_as).items()))

    @property
    def all(self) -> tuple[ImageRecord, ...]:
        return self.expired + self.capped


def decide(records: Iterable[ImageRecord], rules: ImageRules, at: datetime) -> Evictions:
    """Which images go. The order of the records does not matter."""
    expired: list[ImageRecord] = []
    held: list[tuple[Hold, ImageRecord]] = []
    for record in records:
        hold = _hold(record, rules, at)
        if hold is None:
            expired.append(record)
        else:
            held.append((hold, record))
    capped, kept = _under_cap(held, rules.most_bytes)
    kept_bytes = sum(record.bytes for _, record in kept)
    return Evictions(
        expired=tuple(expired),
        capped=tuple(record for _, record in capped),
        capped_as=tuple(hold for hold, _ in capped),
        kept=dict(sorted(Counter(hold for hold, _ in kept).items())),
        kept_bytes=kept_bytes,
        over_bytes=max(0, int(kept_bytes - rules.most_bytes)),
    )


def first_day_kept(days: float, at: datetime) -> str | None:
    """The date (UTC) from which on rows stay: a day goes only once all of it is too old. None: all stay."""
    return (at - timedelta(days=days)).date().isoformat() if days else None


def is_sampled(sha256: str, share: float) -> bool:
    """Whether the image is of the sample; a larger share keeps all that a smaller one kept."""
    return int(sha256[:_HEX_DIGITS], 16) < share * _RANGE


def _hold(record: ImageRecord, rules: ImageRules, at: datetime) -> Hold | None:
    if record.pinned:
        return Hold.PINNED
    if record.labelled:
        return Hold.LABELLED_BY_SOMEBODY if record.by_somebody else Hold.LABELLED
    if record.trained:
        return Hold.TRAINED
    age = at - record.seen_at
    if not record.named:
        return Hold.UNNAMED if age <= UNNAMED_FOR else None
    if not rules.days or age <= timedelta(days=rules.days):
        return Hold.RECENT
    return Hold.SAMPLED if is_sampled(record.sha256, rules.sample) else None


def _under_cap(
    held: Sequence[tuple[Hold, ImageRecord]], most_bytes: float
) -> tuple[list[tuple[Hold, ImageRecord]], list[tuple[Hold, ImageRecord]]]:
    """The least needed go, the oldest of them first, until the rest fits or only pinned ones are left."""
    over = sum(record.bytes for _, record in held) - most_bytes
    if over <= 0:
        return [], list(held)
    order = sorted(held, key=lambda each: (each[0], each[1].seen_at, each[1].sha256))
    gone: list[tuple[Hold, ImageRecord]] = []
    kept: list[tuple[Hold, ImageRecord]] = []
    for each in order:
        # What was written a moment ago may be waiting for its row: a cap is no reason to break that.
        if over <= 0 or each[0] in (Hold.PINNED, Hold.UNNAMED):
            kept.append(each)
        else:
            gone.append(each)
            over -= each[1].bytes
    return gone, kept
