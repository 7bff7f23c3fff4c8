"""
What kind of shift a window shows: another mix of the same classes, other pictures of each class, or both.

After Roschewitz, Mehta, Jones and Glocker (2025): estimate the class prior, give the reference that prior, compare
again. What the new mix explains is label shift; what it leaves is covariate shift.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.class_prior import calibration, gained, priors
from monitoring.reference.adjusted import Rows, class_weights, difference, drawn, fourier_features, p_value
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch, Floats, entropy_of

NONE, LABEL, COVARIATE, BOTH = "no shift", "label shift", "covariate shift", "label and covariate shift"
UNKNOWN = "not enough evidence"
LEAST_ROWS = 200

_LEAST_REFERENCE, _LEAST_IN_CLASS = 100, 5
# Enough for every figure below; more rows would cost time and decide nothing.
_MOST_ROWS, _MOST_CLASSES, _MOST_COLUMNS = 2_000, 30, 20
_FALSE_ALARMS, _DRAWS = 0.05, 200
# The calibration is not fitted anew in every draw, so that draws differ a little less than windows do: at 5 % one
# window in eight of nothing but label shift (digits, 1,000 rows) seemed to leave a remainder.
_FALSE_REMAINDERS = 0.02
_NAMED = 5
_REST = "the rest"


@dataclass(frozen=True)
class ClassShare:
    """A class's share of the reference and of the window, 0..1, with a 95 % interval of the latter."""

    name: str
    reference: float
    window: float
    low: float
    high: float


@dataclass(frozen=True)
class ShiftReport:
    """
    What a window was found to be.

    Attributes:
        kind: "no shift", "label shift", "covariate shift", "label and covariate shift" or "not enough evidence".
        rows: Usable predictions of the window.
        classes: The estimated class prior; its intervals hold if the pictures of each class are as they were.
        p_values: "outputs", "embedding" and "prior" against the reference as it is; "outputs, adjusted" and
            "embedding, adjusted" against the reference with the estimated prior.
        doubt: By how much the estimated prior may be wrong because the pictures changed, total variation, 0..1.
        words: Sentences, the most important first.
    """

    kind: str
    rows: int
    classes: tuple[ClassShare, ...] = ()
    p_values: Mapping[str, float] = field(default_factory=dict)
    doubt: float = 0.0
    words: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "ShiftReport":
        classes = tuple(ClassShare(**one) for one in document["classes"])
        return cls(**{**document, "classes": classes, "words": tuple(document["words"])})


def identify(profile: ReferenceProfile, batch: Batch, least_rows: int = LEAST_ROWS) -> ShiftReport:
    """
    The kind of shift in a window of at least `least_rows` usable predictions; the same window gives the same answer.

    It is one comparison at 5 %, not sequential evidence: it explains an alarm and never raises one.
    """
    if batch.probabilities.shape[1] != len(profile.classes) and len(batch):
        return _unknown(0, "The window's class list is not the reference's, so their answers cannot be compared.")
    reference, window = _usable(profile.plain, profile), _usable(batch, profile)
    if len(window) < least_rows:
        return _unknown(len(window), f"Not enough evidence: {len(window)} of {least_rows} predictions.")
    truth_of = {name: place for place, name in enumerate(profile.classes)}
    known = np.array([place for place in reference if profile.truth[place] in truth_of], dtype=np.intp)
    if len(known) < _LEAST_REFERENCE:
        few = f"of what is normal, {len(known)} of the {_LEAST_REFERENCE} pictures needed have a label"
        return _unknown(len(window), f"What kind of change this is cannot be told: {few}.")
    columns = np.array([truth_of[profile.truth[place]] for place in known])
    counts = np.bincount(columns, minlength=len(profile.classes))
    known, columns = known[counts[columns] >= _LEAST_IN_CLASS], columns[counts[columns] >= _LEAST_IN_CLASS]
    present = np.flatnonzero(counts >= _LEAST_IN_CLASS)
    if not len(present):
        return _unknown(len(window), f"No class has {_LEAST_IN_CLASS} reference images.")
    kept = _evenly(len(known))
    left_out = [name for name, count in zip(profile.classes, counts, strict=True) if count < _LEAST_IN_CLASS]
    return _compared(
        profile, batch, known[kept], columns[kept], window[_evenly(len(window))], present, left_out, len(window)
    )


def _compared(
    profile: ReferenceProfile,
    batch: Batch,
    known: NDArray[np.intp],
    columns: NDArray[np.intp],
    window: NDArray[np.intp],
    present: NDArray[np.intp],
    left_out: Sequence[str],
    rows: int,
) -> ShiftReport:
    groups = _groups(columns, present)
    truth = groups[columns]
    size = int(truth.max()) + 1
    names = [_name(profile.classes, groups, group) for group in range(size)]
    before, now = profile.plain.probabilities[known], batch.probabilities[window]
    first, second = _pooled(before, groups, size), _pooled(now, groups, size)
    fitted = calibration(first, truth)
    sure, unsure = fitted.apply(first), fitted.apply(second)
    share = np.bincount(truth, minlength=size) / len(truth)
    features = _features(profile, batch, known, window)
    common = np.argsort(-np.bincount(columns, minlength=len(profile.classes)), kind="stable")[:_MOST_COLUMNS]
    reference = Rows(_outputs(before, common), features[0], sure / share)
    seen = Rows(_outputs(now, common), features[1], unsure / share)

    once = np.ones((1, len(window)))
    prior = priors(seen.likelihood, once, share)[0]
    even = np.ones((1, len(known)))
    weights = class_weights(prior[None], truth, even)[0]
    plain, adjusted = difference(reference, even[0] / len(known), seen), difference(reference, weights, seen)
    chance, draws = np.random.default_rng(0), _DRAWS
    unmoved = drawn(reference, truth, share, len(window), draws, chance)
    moved = drawn(reference, truth, prior, len(window), draws, chance)
    gain = float(gained(seen.likelihood, once, share[None], prior[None])[0])
    p_values = {
        "outputs": p_value(unmoved.plain.outputs, plain.outputs[0]),
        "embedding": p_value(unmoved.plain.embedding, plain.embedding[0]),
        "prior": p_value(unmoved.gain, gain),
        "outputs, adjusted": p_value(moved.adjusted.outputs, adjusted.outputs[0]),
        "embedding, adjusted": p_value(moved.adjusted.embedding, adjusted.embedding[0]),
    }
    doubt = _doubt(sure, unsure, truth, weights, prior)
    usual = float(np.quantile(np.abs(unmoved.prior - share).sum(axis=1) / 2, 1 - _FALSE_ALARMS))
    beyond_doubt = float(np.abs(prior - share).sum()) / 2 > usual + doubt
    kind = _kind(p_values, beyond_doubt=beyond_doubt)
    low, high = _interval(prior, moved.prior, reference.likelihood, truth, chance)
    shares = tuple(map(ClassShare, names, share.tolist(), prior.tolist(), low.tolist(), high.tolist()))
    words = _words(kind, shares, p_values, doubt, beyond_doubt=beyond_doubt)
    if left_out:
        few = ", ".join(left_out[:_NAMED]) + (f" and {more} more" if (more := len(left_out) - _NAMED) > 0 else "")
        words.append(f"Fewer than {_LEAST_IN_CLASS} reference images of {few}: their share cannot be estimated.")
    if not features[0].any():
        words.append("The embedding could not be compared.")
    return ShiftReport(kind, rows, shares, p_values, doubt, tuple(words))


def _kind(p_values: Mapping[str, float], *, beyond_doubt: bool) -> str:
    if min(p_values["outputs"], p_values["embedding"], p_values["prior"]) > _FALSE_ALARMS / 3:
        return NONE
    remains = min(p_values["outputs, adjusted"], p_values["embedding, adjusted"]) <= _FALSE_REMAINDERS / 2
    mixed = p_values["prior"] <= _FALSE_ALARMS
    if not remains:
        return LABEL if mixed else COVARIATE
    # Wrong answers look like another mix: only what they cannot explain counts beside changed pictures.
    return BOTH if mixed and beyond_doubt else COVARIATE


def _doubt(sure: Floats, unsure: Floats, truth: NDArray[np.intp], weights: Floats, prior: Floats) -> float:
    """
    How far wrong answers may have carried the prior off, total variation.

    Twice the larger of two signs, each of which showed about half of the error on digits under noise, blur, turning
    and dimming (measured): the loss of confidence, and what a second estimate (BBSE, Lipton, Wang and Smola 2018)
    says differently. Under label shift alone both are near 0.
    """
    lost = float(weights @ sure.max(axis=1) - unsure.max(axis=1).mean())
    size, share = len(prior), np.bincount(truth, minlength=len(prior)) / len(truth)
    confusion = np.zeros((size, size))
    np.add.at(confusion, (sure.argmax(axis=1), truth), 1 / len(truth))
    answered = np.bincount(unsure.argmax(axis=1), minlength=size) / len(unsure)
    # Classes that cannot be told apart make the matrix singular: then the smallest change of the mix that explains it.
    change = np.linalg.lstsq(confusion, answered - confusion.sum(axis=1), rcond=1e-3)[0]
    second = np.clip(share * (1 + change), 0.0, None)
    second /= max(float(second.sum()), 1e-12)
    return min(1.0, 2 * max(lost, float(np.abs(second - prior).sum()) / 2, 0.0))


def _interval(
    prior: Floats, redrawn: Floats, likelihood: Floats, truth: NDArray[np.intp], chance: np.random.Generator
) -> tuple[Floats, Floats]:
    """A 95 % bootstrap interval: the window's rows are drawn anew, and within each class the reference's."""
    counts = np.zeros((len(redrawn), len(truth)))
    for group in range(len(prior)):
        members = np.flatnonzero(truth == group)
        counts[:, members] = chance.multinomial(len(members), np.full(len(members), 1 / len(members)), len(redrawn))
    again = priors(likelihood, class_weights(np.tile(prior, (len(redrawn), 1)), truth, counts), prior + 1e-6)
    spread = (redrawn - redrawn.mean(axis=0)) + (again - again.mean(axis=0))
    low, high = np.quantile(spread, (0.025, 0.975), axis=0)
    return np.clip(prior + np.minimum(low, 0.0), 0, 1), np.clip(prior + np.maximum(high, 0.0), 0, 1)


def _words(
    kind: str, shares: Sequence[ClassShare], p_values: Mapping[str, float], doubt: float, *, beyond_doubt: bool
) -> list[str]:
    largest = sorted(shares, key=lambda one: -abs(one.window - one.reference))[:3]
    moved = "; ".join(
        f"{one.name}: {one.reference:.0%} → {one.window:.0%} ({one.low:.0%} to {one.high:.0%})" for one in largest
    )
    smallest = min(p_values["outputs, adjusted"], p_values["embedding, adjusted"])
    if kind == NONE:
        return ["The window differs from the reference by no more than chance."]
    if kind == LABEL:
        return [f"Label shift: the classes come in another mix, and that explains the difference ({moved})."]
    rest = f"pictures of a class look different from before (p = {smallest:.3f} with the class mix adjusted)"
    if kind == BOTH:
        return [f"Label and covariate shift: {rest}, and the classes come in another mix ({moved})."]
    if p_values["prior"] <= _FALSE_ALARMS and not beyond_doubt:
        untold = "Whether the class mix changed as well cannot be told without labels"
        return [f"Covariate shift: {rest}.", f"{untold}: wrong answers alone could move it by {doubt:.0%}."]
    return [f"Covariate shift: {rest}; another class mix does not explain it."]


def _usable(batch: Batch, profile: ReferenceProfile) -> NDArray[np.intp]:
    """Places of rows whose probabilities are some; rows without an embedding too, where hardly any has one."""
    answered = np.isfinite(batch.probabilities).all(axis=1) & (batch.probabilities.sum(axis=1) > 0)
    embedded = _embedded(batch, profile)
    rows = np.flatnonzero(answered & embedded)
    return rows if 2 * len(rows) >= answered.sum() else np.flatnonzero(answered)


def _embedded(batch: Batch, profile: ReferenceProfile) -> NDArray[np.bool_]:
    if not profile.embedding_size or batch.embedding.shape[1] != profile.embedding_size:
        return np.zeros(len(batch), dtype=bool)
    return np.asarray(np.isfinite(batch.embedding).all(axis=1), dtype=np.bool_)


def _features(
    profile: ReferenceProfile, batch: Batch, known: NDArray[np.intp], window: NDArray[np.intp]
) -> tuple[Floats, Floats]:
    if not (_embedded(profile.plain, profile)[known].all() and _embedded(batch, profile)[window].all()):
        return np.zeros((len(known), 1)), np.zeros((len(window), 1))
    before, now = (
        profile.projection.apply(np.asarray(rows, dtype=np.float64))
        for rows in (profile.plain.embedding[known], batch.embedding[window])
    )
    return fourier_features(before, now)


def _outputs(probabilities: Floats, columns: NDArray[np.intp]) -> Floats:
    whole = np.asarray(probabilities, dtype=np.float64)
    return np.column_stack([whole[:, columns], whole.max(axis=1), entropy_of(whole)])


def _groups(columns: NDArray[np.intp], present: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of each class: its place among those estimated; the rarest of very many share one, and -1 is left out."""
    counts = np.bincount(columns)
    order = sorted(present, key=lambda column: -counts[column])
    alone = sorted(order if len(order) <= _MOST_CLASSES else order[: _MOST_CLASSES - 1])
    groups = np.full(max(len(counts), int(present.max()) + 1), -1, dtype=np.intp)
    groups[present] = len(alone)
    groups[alone] = np.arange(len(alone))
    return groups


def _pooled(probabilities: Floats, groups: NDArray[np.intp], size: int) -> Floats:
    pooled = np.zeros((len(probabilities), size))
    for column, group in enumerate(groups):
        if group >= 0:
            pooled[:, group] += probabilities[:, column]
    return pooled


def _name(classes: Sequence[str], groups: NDArray[np.intp], group: int) -> str:
    members = np.flatnonzero(groups == group)
    return classes[int(members[0])] if len(members) == 1 else _REST


def _evenly(count: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_ROWS)).round().astype(np.intp))


def _unknown(rows: int, words: str) -> ShiftReport:
    return ShiftReport(UNKNOWN, rows, words=(words,))
