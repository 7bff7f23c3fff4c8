"""Quarters with a known truth: what changes, when, whether it harms, and what ought to be done about it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.replayed_head import LinearHead, fit_linear_head
from monitoring.backtesting.stream import UNLABELLED, Stream, answered, stream_of
from monitoring.image_stats import NAMES
from monitoring.reference.coded import CodedRows, coded
from monitoring.reference.fit import columns_of, fit
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch, Floats

DAYS = 90
CLASSES = ("a", "b", "c", "d")
CAMERAS = ("A", "B", "C", "D")
_WIDTH = 12
_APART, _OWN_WAY = 3.3, 1.5
_OLD_IMAGES, _OLD_TRAINED = 2_000, 2_000
_DAY = np.timedelta64(86_400_000_000, "us")
_BEGAN = np.datetime64("2026-01-01T00:00:00", "us")
# Brightness, contrast, sharpness, saturation, noise, aspect, megapixels, warmth, compression.
_USUAL = np.array([0.5, 0.2, 0.05, 0.3, 0.02, 0.0, 0.05, 0.1, 1.0])
_SPREAD = np.array([0.05, 0.03, 0.01, 0.05, 0.005, 0.0, 0.0, 0.03, 0.1])
_DAY_EFFECT = 0.1


@dataclass(frozen=True)
class Change:
    """
    What a quarter brings.

    Attributes:
        name: as the table has it.
        right: verdicts that are right while the change is there; before and after it, only "nothing" is.
        harms: whether the first model becomes worse.
        begin, end: days between which it is there.
        ramp_days: until it is there in full.
        moved: how far the classes' centres move towards one another, in standard deviations of a picture.
        look: how far the picture's brightness moves, in its standard deviations, without any harm.
        prior: share of the first class among all; None = all the same.
        blank: share of one camera's pictures that are blank.
        returns: days between which it is there once more; None = once is all.
    """

    name: str
    right: tuple[str, ...]
    harms: bool = False
    begin: float = 30.0
    end: float = DAYS
    ramp_days: float = 0.0
    moved: float = 0.0
    look: float = 0.0
    prior: float | None = None
    blank: float = 0.0
    returns: tuple[float, float] | None = None

    def strength(self, days: Floats) -> Floats:
        """How much of it is there at each moment, 0..1."""
        there = (days >= self.begin) & (days < self.end)
        if self.returns is not None:
            there |= (days >= self.returns[0]) & (days < self.returns[1])
        grown = np.clip((days - self.begin) / self.ramp_days, 0, 1) if self.ramp_days else 1.0
        found: Floats = there * grown
        return found


_HARM = ("retrain", "label_first")
CHANGES = (
    Change("no drift", ("nothing",), begin=DAYS),
    Change("sudden drift", _HARM, harms=True, moved=1.3),
    Change("gradual drift", _HARM, harms=True, begin=20, ramp_days=50, moved=1.3),
    Change("recurring drift", _HARM, harms=True, begin=25, end=40, returns=(60.0, 75.0), moved=1.3),
    Change("label shift", ("nothing",), prior=0.55),
    Change("harmless new look", ("nothing", "label_first"), look=5.0),
    Change("camera fault", ("fix_input",), begin=40, end=50, blank=1.0),
)


@dataclass(frozen=True)
class Quarter:
    """One quarter: what was answered, the first model's reference, and the days on which the change was there."""

    stream: Stream
    profile: ReferenceProfile
    days: Floats
    strength: Floats


def quarter(change: Change, seed: int, per_day: int = 200, labels_per_day: int = 20) -> Quarter:
    """
    A quarter of pictures from four cameras; people label what chance draws, after a day or three.

    The first model saw 2,000 pictures from before, and answers with a head that was fitted to as many others.
    """
    chance = np.random.default_rng([seed, *change.name.encode()])
    centres = _centres(chance)
    head = _first_head(centres, chance)
    profile = _reference(head, centres, chance)
    count = DAYS * per_day
    days = np.sort(chance.uniform(0, DAYS, count))
    strength = change.strength(days)
    truth = _truth(change, strength, chance)
    vectors = _vectors(centres, truth, chance) + _day_effects(days, chance)
    vectors += change.moved * strength[:, None] * _directions(centres, chance)[truth]
    statistics = _USUAL + _SPREAD * chance.standard_normal((count, len(NAMES)))
    statistics[:, 0] += change.look * _SPREAD[0] * strength
    camera = chance.integers(len(CAMERAS), size=count)
    blank = (camera == 0) & (strength > 0) & (chance.random(count) < change.blank)
    vectors[blank], statistics[blank] = 0.01 * chance.standard_normal((int(blank.sum()), _WIDTH)), _USUAL
    statistics[blank, 0:5] = 0.0
    asked = (chance.random(count) < labels_per_day / per_day) & ~blank
    delay = np.array(chance.uniform(1, 3, count) * 86_400e6, dtype="timedelta64[us]")
    times = _BEGAN + np.array(days * 86_400e6, dtype="timedelta64[us]")
    cameras = tuple(CAMERAS[number] for number in camera.tolist())
    files = tuple(f"picture {number}" for number in range(count))
    stream = stream_of(
        profile,
        _batch(head, vectors, statistics, cameras),
        times=times,
        files=files,
        kept=np.ones(count, dtype=bool),
        # Whoever simulates knows them all; those that nobody labelled come when the quarter is over.
        truth=np.where(blank, UNLABELLED, truth),
        labelled_at=np.where(blank, np.datetime64("NaT"), np.where(asked, times + delay, _BEGAN + 1_000 * _DAY)),
        drawn=asked,
        groups=files,
    )
    return Quarter(stream, profile, days, strength)


def _centres(chance: np.random.Generator) -> Floats:
    turned, _ = np.linalg.qr(chance.standard_normal((_WIDTH, _WIDTH)))
    found: Floats = _APART * turned[: len(CLASSES)]
    return found


def _directions(centres: Floats, chance: np.random.Generator) -> Floats:
    """Where each class moves to: towards the next, which harms, and a way of its own, which only a new head can use."""
    nearer = np.roll(centres, -1, axis=0) - centres
    free = np.linalg.svd(centres)[2][len(CLASSES) :]
    own = free[chance.permutation(len(free))[: len(CLASSES)]]
    found: Floats = nearer / np.linalg.norm(nearer, axis=1, keepdims=True) + _OWN_WAY * own
    return found


def _vectors(centres: Floats, truth: NDArray[np.int64], chance: np.random.Generator) -> Floats:
    found: Floats = centres[truth] + chance.standard_normal((len(truth), _WIDTH))
    return found


def _day_effects(days: Floats, chance: np.random.Generator) -> Floats:
    """What all pictures of a day share, and harms nothing."""
    effects = _DAY_EFFECT * chance.standard_normal((DAYS + 1, _WIDTH))
    found: Floats = effects[days.astype(int)]
    return found


def _truth(change: Change, strength: Floats, chance: np.random.Generator) -> NDArray[np.int64]:
    usual = chance.integers(len(CLASSES), size=len(strength))
    if change.prior is None:
        return usual
    even = 1 / len(CLASSES)
    # So many of the others have to become the first class.
    turned = chance.random(len(strength)) < strength * (change.prior - even) / (1 - even)
    return np.where(turned, 0, usual)


def _first_head(centres: Floats, chance: np.random.Generator) -> LinearHead:
    truth = chance.integers(len(CLASSES), size=_OLD_TRAINED)
    vectors = _vectors(centres, truth, chance)
    half = _OLD_TRAINED * 4 // 5
    head = fit_linear_head(vectors[:half], truth[:half], vectors[half:], truth[half:], len(CLASSES))
    assert head is not None
    return head


def _reference(head: LinearHead, centres: Floats, chance: np.random.Generator) -> ReferenceProfile:
    truth = chance.integers(len(CLASSES), size=_OLD_IMAGES)
    statistics = _USUAL + _SPREAD * chance.standard_normal((_OLD_IMAGES, len(NAMES)))
    cameras = tuple(CAMERAS[number] for number in chance.integers(len(CAMERAS), size=_OLD_IMAGES).tolist())
    batch = _batch(head, _vectors(centres, truth, chance), statistics, cameras)
    wrong = int((batch.probabilities.argmax(axis=1) != truth).sum())
    return fit(
        batch,
        [CLASSES[number] for number in truth.tolist()],
        version=0,
        classes=CLASSES,
        rounds=1,
        judged_errors={"overall": (wrong, _OLD_IMAGES)},
        columns=columns_of(list(batch.metadata), categories=frozenset({"camera"})),
    )


def _batch(head: LinearHead, vectors: Floats, statistics: Floats, cameras: tuple[str, ...]) -> Batch:
    plain = Batch(statistics, np.empty((0, 0)), vectors, (), CodedRows(len(cameras), {"camera": coded(cameras)}))
    return answered(plain, head.probabilities(vectors), CLASSES)
