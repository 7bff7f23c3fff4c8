"""The gate's bootstrap checks: calibration error and precision, resampled by groups, candidate beside champion."""

import hashlib
from functools import lru_cache
from math import ceil
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from models.gate_records import OLD, UNDECIDED, Answers, CheckRow, ClassPrecision

_BINS = 10
_RESAMPLES = 400
# The spread that leaves room for a growth seen by chance in nine runs of ten, in that of the upper bound of 95 %.
_SURELY = (NormalDist().inv_cdf(0.95) + NormalDist().inv_cdf(0.9)) / NormalDist().inv_cdf(0.95)


def calibration_check(candidate: Answers, champion: Answers, margin: float) -> CheckRow:
    """Growth of the expected calibration error in the champion's bins; its 95 % upper bound must stay in the margin."""
    edges = np.quantile(champion.confidence, np.linspace(0, 1, _BINS + 1)[1:-1])
    weights = _weights(candidate)
    ours, theirs = _gaps(candidate, edges), _gaps(champion, edges)
    growth = float(np.abs(ours.sum(0)).sum() - np.abs(theirs.sum(0)).sum()) / candidate.images
    size = np.maximum(1, weights @ np.bincount(_members(candidate), minlength=weights.shape[1]))
    resampled = (np.abs(weights @ ours).sum(1) - np.abs(weights @ theirs).sum(1)) / size
    lower, upper = float(np.quantile(resampled, 0.05)), float(np.quantile(resampled, 0.95))
    result = "passed" if upper <= margin else "failed" if growth > margin and lower > 0 else UNDECIDED
    needed = _needed(candidate.images, growth, upper, margin) if result == UNDECIDED else None
    return CheckRow("calibration", OLD, "overall", candidate.images, growth, upper, margin, "judged", result, needed)


def _needed(images: int, growth: float, upper: float, margin: float) -> int:
    """Further images with which growth as it was seen would probably pass: its spread falls with their root."""
    room = margin - min(max(0.0, growth), 0.8 * margin)
    return max(1, ceil(images * (_SURELY * (upper - growth) / room) ** 2) - images)


def precisions(candidate: Answers, champion: Answers) -> tuple[ClassPrecision, ...]:
    """Each class's precision with a paired interval of its change; classes that neither ever answers are left out."""
    weights = _weights(candidate)
    found = []
    for index, label in enumerate(candidate.classes):
        shares = [_precision(answers, index, weights) for answers in (candidate, champion)]
        if all(share is not None for share in shares):
            (ours, our_resamples), (theirs, their_resamples) = (share for share in shares if share is not None)
            low, high = np.nanquantile(our_resamples - their_resamples, [0.025, 0.975])
            found.append(ClassPrecision(label, ours, theirs, float(low), float(high)))
    return tuple(found)


def _precision(answers: Answers, index: int, weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]] | None:
    answered = answers.answer == index
    if not answered.any():
        return None
    right = answered & answers.right
    by_group = [_by_group(answers, column.astype(np.float64)[:, None])[:, 0] for column in (right, answered)]
    number_right, number_answered = (weights @ column for column in by_group)
    # A resample without any answer of this class says nothing about it.
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = np.where(number_answered > 0, number_right / number_answered, right.sum() / answered.sum())
    return float(right.sum() / answered.sum()), resampled


def _gaps(answers: Answers, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shape (groups, bins): sums of right minus confidence."""
    place = np.searchsorted(edges, answers.confidence, side="right")
    gaps = np.zeros((answers.images, _BINS))
    gaps[np.arange(answers.images), place] = answers.right - answers.confidence
    return _by_group(answers, gaps)


def _by_group(answers: Answers, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    member = _members(answers)
    sums = np.zeros((int(member.max()) + 1, rows.shape[1]))
    np.add.at(sums, member, rows)
    return sums


def _members(answers: Answers) -> NDArray[np.int64]:
    return np.unique(np.asarray(answers.groups), return_inverse=True)[1].astype(np.int64)


def _weights(answers: Answers) -> NDArray[np.float64]:
    """Shape (resamples, groups): how often each group is drawn; the same images always give the same draws."""
    return _draws(answers.fingerprint, len(set(answers.groups)))


@lru_cache(maxsize=1)
def _draws(fingerprint: str, groups: int) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(fingerprint.encode()).digest()[:8])
    # Drawing each group a Poisson number of times is the bootstrap without its costly multinomial.
    return np.random.default_rng(seed).poisson(1.0, (_RESAMPLES, groups)).astype(np.float64)
