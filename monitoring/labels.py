"""
What to label next: whom to ask about, each prediction with the probability with which it is drawn. Pure.

Poisson sampling (Särndal, Swensson and Wretman 1992, Model Assisted Survey Sampling, section 3.5): every prediction is
drawn by itself, by two keyed hashes of its id. One is held against the audit's probability, the same for all and fixed
before any of them was seen; the other against a probability that grows where a label is worth most. Both are known for
every prediction and depend on no label, so that weights of 1 / probability give unbiased estimates.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from monitoring.labelling.requests import ASKED, AUDIT, DISAGREEMENT, DRIFTED, GATE, UNCERTAIN, LabelRequest
from monitoring.watching.batch import Floats

POLICY = "poisson-1"
# How the labels that are asked for on purpose are shared out; what one stratum cannot use goes to the next.
# What the gate waits for comes first, and takes as much as all the rest: it is wanted now, and only for a while.
SHARES = {GATE: 1.0, DRIFTED: 0.5, DISAGREEMENT: 0.25, UNCERTAIN: 0.25}
_HASH_BYTES = 8
_RANGE = float(1 << 8 * _HASH_BYTES)
_ROUNDS = 30

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Wanted:
    """
    What the judgement of a candidate waits for.

    Attributes:
        weights: Shape (N,): how much each prediction is wanted; 0 = not at all.
        purposes: Of each, what it is asked for, to be kept with the request; None where it is not wanted.
        most: Labels that are waited for; more are not asked.
    """

    weights: Floats
    purposes: Sequence[Mapping[str, object] | None]
    most: float


@dataclass(frozen=True)
class Candidates:
    """
    Predictions of one model version that a person may be asked about, as columns of one length.

    Attributes:
        answers: What the model said.
        images: SHA-256 of each picture.
        kin: Predictions that share this word are near-copies, of which one is asked about; "" = each alone.
        drifted: Where the change is.
        disagrees: Where the shadow answered otherwise.
        uncertainty: Entropy over its largest value, 0..1; NaN where it is not known.
        wanted: By the gate; None while no candidate waits.
    """

    model_version: int
    ids: Sequence[str]
    at: Sequence[datetime]
    answers: Sequence[str]
    confidences: Sequence[float]
    images: Sequence[str]
    kin: Sequence[str]
    drifted: Bools
    disagrees: Bools
    uncertainty: Floats
    wanted: Wanted | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Budget:
    """
    What one plan may ask.

    Attributes:
        uniform: Probability with which the audit draws each prediction, 0..1.
        targeted: Labels that may be asked for on purpose, on average.
    """

    uniform: float
    targeted: float


@dataclass(frozen=True)
class PlanRules:
    """
    Who asks, when, and by which key.

    Attributes:
        key: Of the hashes, 16 to 64 bytes: nobody without it can choose an id that is drawn, or is not.
        asked_images: SHA-256 of pictures that were asked about before to the id under which they were.
    """

    name: str
    key: bytes
    at: datetime
    asked_images: Mapping[str, str] = field(default_factory=dict)


def plan(candidates: Candidates, budget: Budget, rules: PlanRules) -> tuple[LabelRequest, ...]:
    """
    The predictions to ask about, in the order in which they came; the same candidates give the same ones.

    Of m near-copies the one with the smallest audit hash stands for all. It is equally likely to be any of them, so
    each is drawn with 1/m of 1 - (1 - A)(1 - t), where A = 1 - (1 - uniform)^m, and t is what it is drawn with on
    purpose. A picture that was asked about before is not asked about again: its request waits for the same answer.
    """
    if not len(candidates):
        return ()
    drawn_by_chance, drawn_on_purpose = hashes(candidates.ids, rules.key)
    standing, size = _standing(candidates.kin, drawn_by_chance)
    chances = _purposes(candidates, budget.targeted, size)
    on_purpose = np.minimum(1.0, sum(chances.values(), np.zeros(len(candidates))))
    audit = 1 - (1 - budget.uniform) ** size
    uniform = audit / size
    probability = (1 - (1 - audit) * (1 - on_purpose)) / size
    in_audit = drawn_by_chance < budget.uniform
    wanted = in_audit | (drawn_on_purpose < on_purpose)
    asked, images = [], dict(rules.asked_images)
    for row in standing[wanted[standing]].tolist():
        stratum = AUDIT if in_audit[row] else _purpose(chances, row, float(drawn_on_purpose[row]))
        first = images.setdefault(candidates.images[row], candidates.ids[row])
        asked.append(
            LabelRequest(
                name=rules.name,
                prediction_id=candidates.ids[row],
                predicted_at=candidates.at[row],
                asked_at=rules.at,
                model_version=candidates.model_version,
                stratum=stratum,
                probability=float(probability[row]),
                uniform_probability=float(uniform[row]),
                in_audit=bool(in_audit[row]),
                policy=POLICY,
                state=ASKED,
                image_sha256=candidates.images[row],
                same_as=None if first == candidates.ids[row] else first,
                facts=_facts(candidates, row, int(size[row]), stratum),
            )
        )
    return tuple(asked)


def hashes(ids: Sequence[str], key: bytes) -> tuple[Floats, Floats]:
    """For each id two numbers in [0, 1), for the audit and for the rest: by chance, to whoever lacks the key."""
    keyed = hashlib.blake2b(digest_size=2 * _HASH_BYTES, key=key, person=b"label requests")
    digests = []
    for one in ids:
        own = keyed.copy()
        own.update(one.encode())
        digests.append(own.digest())
    numbers = np.frombuffer(b"".join(digests), dtype=f">u{_HASH_BYTES}").astype(np.float64) / _RANGE
    # The largest of 64 bits would be rounded up to 1, which even a probability of 1 would not draw.
    both = np.minimum(numbers, np.nextafter(1.0, 0.0)).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _standing(kin: Sequence[str], drawn: Floats) -> tuple[Ints, Floats]:
    """Rows that stand for their near-copies, and for every row how many there are of it."""
    if not any(kin):
        return np.arange(len(kin)), np.ones(len(kin))
    numbers: dict[str | int, int] = {}
    group = np.array([numbers.setdefault(word or place, len(numbers)) for place, word in enumerate(kin)])
    order = np.lexsort((drawn, group))
    first = np.r_[True, np.diff(group[order]) != 0]
    return np.sort(order[first]), np.bincount(group)[group].astype(np.float64)


def _purposes(candidates: Candidates, targeted: float, size: Floats) -> dict[str, Floats]:
    """Per stratum the probability of each row to be drawn for it; together they ask `targeted` on average."""
    uncertainty = np.clip(np.nan_to_num(candidates.uncertainty), 0.0, 1.0)
    wanted = candidates.wanted
    weights = {
        GATE: np.zeros(len(candidates)) if wanted is None else wanted.weights,
        DRIFTED: candidates.drifted.astype(np.float64),
        DISAGREEMENT: candidates.disagrees.astype(np.float64),
        # Squared, so that what is nearly certain is left alone, and yet never quite.
        UNCERTAIN: uncertainty**2,
    }
    able = {name: share for name, share in SHARES.items() if weights[name].any()}
    found, left, shares = {}, targeted, sum(able.values())
    for name, share in able.items():
        expected = left * share / shares
        if name == GATE and wanted is not None:
            expected = min(expected, wanted.most)
        found[name], used = _scaled(weights[name], expected, size)
        left, shares = left - used, shares - share
    return found


def _scaled(weights: Floats, expected: float, size: Floats) -> tuple[Floats, float]:
    """Weights times one factor, none above 1, so that `expected` rows are drawn on average, or all that there are."""
    expected = min(expected, float(((weights > 0) / size).sum()))
    factor = 0.0
    chances = np.zeros_like(weights)
    for _ in range(_ROUNDS):
        used = float((chances / size).sum())
        free = float((weights / size)[chances < 1].sum())
        if expected - used <= 1e-9 * max(1.0, expected) or free <= 0:
            break
        factor += (expected - used) / free
        chances = np.minimum(1.0, factor * weights)
    return chances, float((chances / size).sum())


def _purpose(chances: dict[str, Floats], row: int, drawn: float) -> str:
    """The stratum that a draw falls into: each has a part of [0, 1) as wide as its probability."""
    reached = 0.0
    for name, values in chances.items():
        reached += float(values[row])
        if drawn < reached:
            return name
    return list(chances)[-1]


def _facts(candidates: Candidates, row: int, copies: int, stratum: str) -> dict[str, object]:
    purpose = candidates.wanted.purposes[row] if stratum == GATE and candidates.wanted else None
    return {
        **({"gate": dict(purpose)} if purpose else {}),
        "answer": candidates.answers[row],
        "confidence": _known(candidates.confidences[row]),
        "uncertainty": _known(candidates.uncertainty[row]),
        "drifted": bool(candidates.drifted[row]),
        "disagrees": bool(candidates.disagrees[row]),
        "copies": copies,
    }


def _known(value: float) -> float | None:
    """JSON has no number for what is not finite."""
    return round(float(value), 6) if np.isfinite(value) else None
