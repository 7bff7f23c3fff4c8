"""One p-value for a window: has anything changed that any family of detectors can see?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from monitoring.detectors import embedding, metadata, mixes, outputs, pictures, predicted_mix
from monitoring.detectors.columns import Numbers
from monitoring.detectors.detection import Detection
from monitoring.detectors.rank_bins import Bins, bins_of
from monitoring.reference.coded import Coded
from monitoring.reference.profile import CATEGORY, ReferenceProfile
from monitoring.watching.batch import Batch, Floats

LEAST_PREDICTIONS = 10
# Each family's share of the chance of a false alarm, however many numbers it looks at.
SHARES: Mapping[str, float] = {
    outputs.FAMILY: 0.35, pictures.FAMILY: 0.3, embedding.FAMILY: 0.25, predicted_mix.FAMILY: 0.05,
    metadata.FAMILY: 0.05,
}  # fmt: skip

_CERTAIN, _NOTHING = 0.001, 0.5
_MOST_PERMUTATIONS, _ENOUGH_EXCEEDED = 400, 20
_ADDED_SHARE = 0.2


@dataclass(frozen=True)
class WindowTest:
    """
    What a window says about itself.

    Attributes:
        p_value: Of all that was compared together; None where there are too few predictions to say.
        changed: Whether it is at most the chance of a false alarm that was asked for.
        detections: The most certain first.
        words: The same as a sentence.
    """

    p_value: float | None
    changed: bool
    detections: tuple[Detection, ...]
    words: str


@dataclass(frozen=True)
class _Mix:
    """One column of categories; codes of reference, then window, below 0 where missing."""

    family: str
    codes: NDArray[np.intp]
    values: int

    def p_value_of(self, rows: NDArray[np.intp], *, are_window: bool) -> float:
        mine = self._counts(self.codes[rows])
        others = self._counts(self.codes) - mine
        window, reference = (mine, others) if are_window else (others, mine)
        if not window.sum() or not reference.sum():
            return 1.0
        return float(chi2.sf(mixes.g_statistic(window, reference), self.values - 1))

    def _counts(self, codes: NDArray[np.intp]) -> Floats:
        return np.bincount(codes[codes >= 0], minlength=self.values).astype(np.float64)


@dataclass(frozen=True)
class _Compared:
    """All columns of a window beside the reference, and how much each p-value is raised."""

    bins: Bins | None
    mixes: tuple[_Mix, ...]
    factors: Floats
    reference: int
    window: int

    def smallest(self) -> float:
        """The smallest p-value, raised for all that was looked at (weighted Bonferroni): never too low."""
        rows = np.arange(self.reference, self.reference + self.window)
        numbers = self.bins.p_values() if self.bins else np.empty(0)
        return self._raised(numbers, rows, are_window=True)

    def smallest_of(self, rows: NDArray[np.intp], *, are_window: bool) -> float:
        numbers = self.bins.p_values_of(rows, are_window=are_window) if self.bins else np.empty(0)
        return self._raised(numbers, rows, are_window=are_window)

    def _raised(self, numbers: Floats, rows: NDArray[np.intp], *, are_window: bool) -> float:
        counts = [mix.p_value_of(rows, are_window=are_window) for mix in self.mixes]
        return float((np.concatenate([numbers, counts]) * self.factors).min(initial=1.0))


def compare_window(
    profile: ReferenceProfile,
    batch: Batch,
    *,
    alpha: float = 0.05,
    detections: Sequence[Detection] = (),
    added: Sequence[Detection] = (),
) -> WindowTest:
    """
    Whether a window differs from the reference, at a stated chance of a false alarm, whatever depends on what.

    The families share that chance. Between "certain" and "nothing at all" the smallest p-value is ranked among those
    of the same rows dealt out afresh, which takes dependence between the columns into account exactly (Westfall &
    Young, 1993) and stops as soon as the answer is clear (Besag & Clifford, 1991). It assumes single predictions that
    do not depend on each other, so no lane of the evidence bets on it.

    Args:
        profile: The reference.
        batch: The window.
        alpha: Chance of a false alarm, 0..1.
        detections: What the detectors said, for the words.
        added: Those among them that users' own detectors made; they get a fifth of the chance.
    """
    ordered = tuple(sorted(detections, key=lambda one: (one.p_value, -one.effect)))
    if len(batch) < LEAST_PREDICTIONS:
        words = f"not enough evidence: {len(batch)} of {LEAST_PREDICTIONS} predictions"
        return WindowTest(None, changed=False, detections=ordered, words=words)
    compared = _compared(profile, batch)
    if not len(compared.factors) and not added:
        return WindowTest(None, changed=False, detections=ordered, words="nothing could be compared")
    p_value = _with_added(_p_value(compared), added)
    changed = p_value <= alpha
    return WindowTest(p_value, changed, ordered, _words(p_value, ordered, len(batch), changed=changed))


def _p_value(compared: _Compared) -> float:
    observed = compared.smallest()
    if observed <= _CERTAIN or observed >= _NOTHING:
        return observed
    # The same window has the same answer, so that a repeated look changes nothing.
    chance = np.random.default_rng(compared.window)
    rows, fewer = compared.reference + compared.window, min(compared.reference, compared.window)
    exceeded = 0
    for dealt in range(1, _MOST_PERMUTATIONS + 1):
        chosen = chance.choice(rows, fewer, replace=False, shuffle=False)
        exceeded += compared.smallest_of(chosen, are_window=compared.window == fewer) <= observed
        if exceeded >= _ENOUGH_EXCEEDED:
            return exceeded / dealt
    return (exceeded + 1) / (_MOST_PERMUTATIONS + 1)


def _compared(profile: ReferenceProfile, batch: Batch) -> _Compared:
    numbers: list[Numbers] = [
        *outputs.columns(profile, batch),
        *pictures.columns(profile, batch),
        *embedding.columns(profile, batch),
        *metadata.numbers(profile, batch),
    ]
    bins = bins_of(numbers)
    found = (*_predicted(profile, batch), *_metadata(profile, batch))
    families = [column.family for column in bins.columns] if bins else []
    families += [mix.family for mix in found]
    whole = sum(SHARES[family] for family in set(families))
    factors = np.array([families.count(family) * whole / SHARES[family] for family in families], dtype=np.float64)
    return _Compared(bins, found, factors, len(profile.plain), len(batch))


def _predicted(profile: ReferenceProfile, batch: Batch) -> list[_Mix]:
    return _mixes(predicted_mix.FAMILY, profile.plain.coded_labels, batch.coded_labels)


def _metadata(profile: ReferenceProfile, batch: Batch) -> list[_Mix]:
    names = [name for name, column in profile.columns.items() if column.kind == CATEGORY]
    found = [_mixes(metadata.FAMILY, profile.plain.column(name), batch.column(name)) for name in names]
    return [mix for mixes_of_column in found for mix in mixes_of_column]


def _mixes(family: str, reference: Coded, window: Coded) -> list[_Mix]:
    """The column with its rare values as one; none where either side has no value, or both the same one."""
    ours, theirs = reference.counts(), window.counts()
    if not ours or not theirs:
        return []
    alone = {value: place for place, value in enumerate(mixes.frequent(ours, theirs))}
    codes = np.concatenate([_places(reference, alone), _places(window, alone)])
    different = int(codes.max()) + 1
    return [_Mix(family, codes, different)] if different > 1 else []


def _places(column: Coded, alone: Mapping[str, int]) -> NDArray[np.intp]:
    places = np.array([*(alone.get(value, len(alone)) for value in column.values), -1], dtype=np.intp)
    found: NDArray[np.intp] = places[column.codes]
    return found


def _with_added(p_value: float, added: Sequence[Detection]) -> float:
    if not added:
        return p_value
    theirs = min(one.p_value for one in added) * len(added) / _ADDED_SHARE
    return min(1.0, p_value / (1 - _ADDED_SHARE), theirs)


def _words(p_value: float, detections: Sequence[Detection], predictions: int, *, changed: bool) -> str:
    chance = f"p {'<' if p_value < _CERTAIN else '='} {max(p_value, _CERTAIN):.3f}, {predictions:,} predictions"
    if not changed:
        return f"no difference from the reference beyond chance ({chance})"
    named = ", ".join(f"{one.name} ({one.family})" for one in detections[:3])
    return f"differs from the reference ({chance})" + (f", most clearly in {named}" if named else "")
