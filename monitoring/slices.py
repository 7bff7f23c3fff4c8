"""Weak slices that nobody configured: where the model errs more often, found on one half and confirmed on the other."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeRegressor

from monitoring.performance import Interval, share
from monitoring.quality.labelled import Codes, Floats, LabelledAnswers
from monitoring.subgroups.permutation_tests import permutation_p_value
from monitoring.subgroups.slice_rules import Condition, Feature, features_of, holds

LEAST_IMAGES = 30

_LEVEL = 0.05
_LEAST_ROWS = 4 * LEAST_IMAGES
_MOST_SLICES, _MOST_EXAMPLES = 8, 12
_DEPTH, _TREES, _MOST_FITTED = 3, 8, 50_000
_MOST_ALIKE = 0.5
_LEAST_HEIGHT = 2.0
_SEED = 20_261_121

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Example:
    """A wrong answer within a slice."""

    id: str
    image_sha256: str
    truth: str
    answered: str
    confidence: float | None


@dataclass(frozen=True)
class WeakSlice:
    """
    Pictures among which the model errs more often than elsewhere.

    Attributes:
        words: "brightness below 0.21 and camera = B".
        images: Labelled images in it, in both halves.
        confirmed_on: Of these, those of the half that did not find it; errors, interval and p-value are theirs.
        error: Share of wrong answers, 0..1, with its interval.
        elsewhere: Share of wrong answers outside, in the same half.
        p_value: Of no more errors than elsewhere, corrected (Benjamini-Hochberg) for the slices that were tried.
        examples: Wrong answers, the surest first.
    """

    words: str
    images: int
    confirmed_on: int
    error: Interval
    elsewhere: float
    p_value: float
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class WeakSlices:
    """
    What was found, the weakest first; `words` says how many were tried, or why none could be.

    tried: Slices that one half proposed and the other examined.
    """

    found: tuple[WeakSlice, ...]
    tried: int
    words: str


def weak_slices(rows: LabelledAnswers, configured: Collection[str] = ()) -> WeakSlices:
    """
    Decision trees over image statistics and metadata propose slices on one half; the other half confirms them.

    Of proposals without truth at most one in twenty is reported (Benjamini and Hochberg 1995), so that data without
    a weak slice give none in 95 of 100 audits. Pictures of one session or one content lie in the same half, for ever.

    Args:
        rows: All labelled answers of one version.
        configured: Columns whose values are audited anyway; they appear only together with something else.
    """
    wrong = (~rows.right).astype(float)
    if len(rows) < _LEAST_ROWS:
        return WeakSlices((), 0, f"not enough labels to look for weak slices: {len(rows)} of {_LEAST_ROWS}")
    finding = _first_half(rows)
    if min(finding.sum(), (~finding).sum()) < 2 * LEAST_IMAGES:
        words = "not enough different sessions to find weak slices on one half of them and test them on the other"
        return WeakSlices((), 0, words)
    if not wrong[finding].any() or not wrong[~finding].any():
        return WeakSlices((), 0, "too few wrong answers to look for weak slices")
    features = features_of(rows, LEAST_IMAGES)
    if not features:
        return WeakSlices((), 0, "nothing is recorded of these images by which they could be sliced")
    proposed = _proposed(features, wrong, rows.units, finding, configured)
    p_values = [_p_value(rule, wrong, rows.units, ~finding) for rule in proposed]
    corrected = benjamini_hochberg(p_values)
    found = [
        _slice(rows, rule, finding, p_value)
        for rule, p_value in zip(proposed, corrected, strict=True)
        if p_value < _LEVEL
    ]
    found.sort(key=lambda one: -(one.error.low or 0.0))
    words = f"{len(proposed)} slices looked weak on one half of the labels; the other half confirms {len(found)}"
    return WeakSlices(tuple(found), len(proposed), words)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Corrected p-values; below q they hold at most a share q of false ones."""
    given = np.asarray(p_values, dtype=float)
    order = np.argsort(given)[::-1]
    ranks = np.arange(len(given), 0, -1)
    corrected = np.empty(len(given))
    corrected[order] = np.minimum.accumulate(np.minimum(1.0, given[order] * len(given) / ranks))
    return [float(value) for value in corrected]


def _first_half(rows: LabelledAnswers) -> Mask:
    """Which rows find; by a hash, so that what an audit has confirmed the next one does not find with."""
    names = [
        group or image or identifier
        for group, image, identifier in zip(
            rows.groups or ("",) * len(rows),
            rows.images or ("",) * len(rows),
            rows.ids or tuple(map(str, range(len(rows)))),
            strict=True,
        )
    ]
    return np.array([hashlib.blake2b(name.encode(), digest_size=1).digest()[0] % 2 == 0 for name in names])


def _proposed(
    features: Sequence[Feature], wrong: Floats, units: Codes, finding: Mask, configured: Collection[str]
) -> list[tuple[Condition, ...]]:
    """The weakest slices of the finding half, the surest first, without those that are mostly another one."""
    scored = []
    for rule in _rules(features, wrong, finding):
        simple = _simplest(rule, wrong, finding)
        if {condition.feature.column for condition in simple} <= set(configured):
            continue
        inside = holds(simple, len(wrong))
        if min((inside & half).sum() for half in (finding, ~finding)) >= LEAST_IMAGES:
            scored.append((_height(inside[finding], wrong[finding]), simple, inside))
    scored.sort(key=lambda each: -each[0])
    kept: list[tuple[tuple[Condition, ...], Mask]] = []
    for height, rule, inside in scored:
        distinct = all((inside & other).sum() < _MOST_ALIKE * min(inside.sum(), other.sum()) for _, other in kept)
        if height >= _LEAST_HEIGHT and distinct and len(kept) < _MOST_SLICES:
            kept.append((rule, inside))
    return [rule for rule, _ in kept]


def _rules(features: Sequence[Feature], wrong: Floats, finding: Mask) -> Iterator[tuple[Condition, ...]]:
    """Every node of trees over all features, over random thirds of them, and over each alone."""
    chance = np.random.default_rng(_SEED)
    rows = np.flatnonzero(finding)
    if len(rows) > _MOST_FITTED:
        rows = chance.choice(rows, _MOST_FITTED, replace=False)
    numbers = np.stack([feature.numbers for feature in features], axis=1)[rows]
    part = max(1, len(features) // 3)
    choices = [np.arange(len(features))]
    choices += [chance.choice(len(features), part, replace=False) for _ in range(_TREES)]
    choices += [np.array([place]) for place in range(len(features))]
    for chosen in choices:
        depth = _DEPTH if len(chosen) > 1 else 2
        tree = DecisionTreeRegressor(max_depth=depth, min_samples_leaf=LEAST_IMAGES, random_state=0)
        tree.fit(numbers[:, chosen], wrong[rows])
        yield from _nodes(tree.tree_, [features[place] for place in chosen.tolist()])


def _nodes(tree: object, features: Sequence[Feature]) -> Iterator[tuple[Condition, ...]]:
    left, right, column, threshold = (
        np.asarray(getattr(tree, name)) for name in ("children_left", "children_right", "feature", "threshold")
    )
    waiting: list[tuple[int, dict[int, tuple[float, float]]]] = [(0, {})]
    while waiting:
        node, bounds = waiting.pop()
        if bounds:
            yield tuple(Condition(features[place], *ends) for place, ends in sorted(bounds.items()))
        if left[node] < 0:
            continue
        place, at = int(column[node]), float(threshold[node])
        low, high = bounds.get(place, (-np.inf, np.inf))
        waiting.append((int(left[node]), {**bounds, place: (low, min(high, at))}))
        waiting.append((int(right[node]), {**bounds, place: (max(low, at), high)}))


def _simplest(rule: tuple[Condition, ...], wrong: Floats, finding: Mask) -> tuple[Condition, ...]:
    """The rule without conditions that add nothing: fewer words and more images."""
    found, best = rule, _height(holds(rule, len(wrong))[finding], wrong[finding])
    for condition in rule:
        shorter = tuple(each for each in found if each is not condition)
        if not shorter:
            break
        height = _height(holds(shorter, len(wrong))[finding], wrong[finding])
        if height >= best:
            found, best = shorter, height
    return found


def _height(inside: Mask, wrong: Floats) -> float:
    """How many standard errors more often the model errs inside than outside."""
    count, others = int(inside.sum()), int((~inside).sum())
    if not count or not others:
        return 0.0
    mean = float(wrong.mean())
    error = np.sqrt(max(mean * (1 - mean), 1e-12) * (1 / count + 1 / others))
    return float((wrong[inside].mean() - wrong[~inside].mean()) / error)


def _p_value(rule: tuple[Condition, ...], wrong: Floats, units: Codes, half: Mask) -> float:
    """One-sided, on the half that did not propose it."""
    inside = holds(rule, len(wrong))[half]
    errors = wrong[half]
    both = permutation_p_value(errors, np.zeros(len(errors), dtype=np.intp), inside, units[half])
    if not np.isfinite(both):
        return 1.0
    return both / 2 if errors[inside].mean() > errors[~inside].mean() else 1 - both / 2


def _slice(rows: LabelledAnswers, rule: tuple[Condition, ...], finding: Mask, p_value: float) -> WeakSlice:
    inside = holds(rule, len(rows))
    confirmed, wrong = inside & ~finding, ~rows.right
    outside = ~inside & ~finding
    return WeakSlice(
        words=" and ".join(condition.words() for condition in rule),
        images=int(inside.sum()),
        confirmed_on=int(confirmed.sum()),
        error=share(int((wrong & confirmed).sum()), int(confirmed.sum())),
        elsewhere=float(wrong[outside].mean()) if outside.any() else 0.0,
        p_value=p_value,
        examples=_examples(rows, np.flatnonzero(inside & wrong)),
    )


def _examples(rows: LabelledAnswers, places: Codes) -> tuple[Example, ...]:
    confidence = np.nan_to_num(rows.confidence[places], nan=-1.0)
    worst = places[np.argsort(-confidence, kind="stable")]
    found: dict[str, Example] = {}
    for place in worst.tolist():
        sure = float(rows.confidence[place])
        image = rows.images[place] if rows.images else ""
        example = Example(
            id=rows.ids[place] if rows.ids else "",
            image_sha256=image,
            truth=rows.truth[place],
            answered=rows.answered[place],
            confidence=sure if np.isfinite(sure) else None,
        )
        found.setdefault(image or str(place), example)
        if len(found) == _MOST_EXAMPLES:
            break
    return tuple(found.values())
