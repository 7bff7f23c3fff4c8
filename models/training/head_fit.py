"""A classifier's matrix in one go: fitted to features that were computed once, without an epoch of descent."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from infra.errors import UserError
from models.training.logistic import logistic_regression, products
from models.training.selection import SelectScore, select_score

# Of the L2 penalty on standardised features, against the mean loss: from nearly constant answers to nearly none.
_STRENGTHS = tuple(10.0**-step for step in range(-1, 5))
_STEPS = 25  # of descent at each strength: the next one goes on, and *select* sees no fourth digit
_PATIENCE = 2  # strengths without a better score on *select*, after which the path ends
_SCALES = tuple(4.0**step for step in range(-6, 3))  # of the prototypes' logits
_STANDARD_ERRORS = 0.5  # by which a score on *select* may lie below the best and count as the same


@dataclass(frozen=True)
class FittedHead:
    """
    Attributes:
        weight: float32 (C, D).
        bias: float32 (C,).
        strength: of the L2 penalty that was chosen; 0 where none was used.
        start: what it was made from: "logistic" (regression), "prototypes" (the classes' means), "present" (the
            head that was there, unchanged) or "present, moved" (regression that is pulled towards it).
        macro_recall: on *select*.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    start: str
    macro_recall: float


Matrix = tuple[Tensor, Tensor]  # weight (C, D) and bias (C,)


@dataclass(frozen=True)
class _Lesson:
    """
    Standardised images with a weight, for the classes that occur.

    Attributes:
        features: float64 (N, D).
        places: of the images' classes among `occurring`, (N,).
    """

    features: Tensor
    places: Tensor
    weights: Tensor
    occurring: Tensor
    classes: int


@dataclass(frozen=True)
class _Contender:
    matrix: Matrix
    strength: float
    start: str
    score: SelectScore


def fit_head(
    features: Tensor,
    labels: Tensor,
    weights: Tensor,
    select_features: Tensor,
    select_labels: Tensor,
    classes: int,
    metric: str,
    present: Matrix | None = None,
) -> FittedHead:
    """
    The best on *select*, by the metric and, where that is about the same, by the loss, of several heads.

    They are multinomial logistic regressions along a path of penalties from strong to weak, each begun where the
    last one ended (as in LP-FT, Kumar et al. 2022), and the nearest class mean, which may do better with few images;
    with a head at hand also that one, and the regressions are pulled towards it instead of towards zero.

    features: (N, D). labels: class numbers (N,). weights: of the images in the loss (N,). present: weight (C, D), bias
    (C,). A class without images gets a low bias, or keeps its row of `present`. Computed in float64, of which a copy
    of the features is made: 8 N D bytes. Nothing is random.

    Raises:
        UserError: features that are not numbers.
    """
    if not (torch.isfinite(features).all() and torch.isfinite(select_features).all()):
        raise UserError(
            "the network's features of some images are not numbers: its weights are damaged, or model.mean and "
            "model.std do not suit it; the head cannot be fitted"
        )
    with torch.no_grad():
        # One deviation for all features, so that small ones stay small. A mean for each only moves the bias, which
        # has no penalty, and shortens the search.
        inputs = features.to(torch.float64, copy=True)
        mean = inputs.mean(dim=0)
        inputs -= mean
        deviation = inputs.square().mean().sqrt().clamp(min=1e-12)
        lesson = _lesson(inputs.div_(deviation), labels, weights.double(), classes)
        select = (select_features.double() - mean) / deviation
        inside = None if present is None else _standardised(present, mean, deviation)
        contenders = list(_contenders(lesson, select, select_labels, metric, inside))
        best = _chosen(contenders, metric, len(select_labels))
        weight = best.matrix[0] / deviation
        bias = best.matrix[1] - weight @ mean
    return FittedHead(weight.float(), bias.float(), best.strength, best.start, best.score.macro_recall)


def _standardised(present: Matrix, mean: Tensor, deviation: Tensor) -> Matrix:
    weight, bias = (part.detach().double() for part in present)
    return weight * deviation, bias + weight @ mean


def _lesson(features: Tensor, labels: Tensor, weights: Tensor, classes: int) -> _Lesson:
    counted = weights > 0
    if not counted.all():
        features, labels, weights = features[counted], labels[counted], weights[counted]
    occurring, places = torch.unique(labels, return_inverse=True)
    return _Lesson(features, places, weights, occurring, classes)


def _contenders(
    lesson: _Lesson, select: Tensor, labels: Tensor, metric: str, present: Matrix | None
) -> Iterator[_Contender]:
    if present is not None:
        yield _Contender(present, 0.0, "present", _score(select, labels, present))
    # Pulled towards a head that is there, not towards zero: weakly enough, the two are the same.
    yield from _path(lesson, select, labels, metric, present)
    yield from _prototypes(lesson, select, labels)


def _path(lesson: _Lesson, select: Tensor, labels: Tensor, metric: str, present: Matrix | None) -> Iterator[_Contender]:
    """From strong to weak; it ends where *select* has got worse twice, for weaker ones take longest and overfit."""
    short, turn = _shortened(lesson.features)
    bends = products(short, lesson.weights)
    rows = None if present is None else (present[0][lesson.occurring], present[1][lesson.occurring])
    offset = None if rows is None else lesson.features @ rows[0].T + rows[1]
    found: Matrix | None = None
    best: SelectScore | None = None
    waited = 0
    for strength in _STRENGTHS:
        found = logistic_regression(short, lesson.places, lesson.weights, strength, found, offset, bends, _STEPS)
        fitted = (found[0] if turn is None else found[0] @ turn), found[1]
        matrix = _widened(lesson, fitted if rows is None else (rows[0] + fitted[0], rows[1] + fitted[1]), present)
        score = _score(select, labels, matrix)
        yield _Contender(matrix, strength, "logistic" if present is None else "present, moved", score)
        if best is None or score.better_than(best, metric):
            best, waited = score, 0
        else:
            waited += 1
        if waited == _PATIENCE:
            return


def _shortened(features: Tensor) -> tuple[Tensor, Tensor | None]:
    """Fewer images than features span a small room: the same problem in its coordinates (N, N), and the way back."""
    images, width = features.shape
    if images >= width:
        return features, None
    turn, lower = torch.linalg.qr(features.T)
    return lower.T.contiguous(), turn.T.contiguous()


def _prototypes(lesson: _Lesson, select: Tensor, labels: Tensor) -> Iterator[_Contender]:
    """The nearest class mean as a matrix: -|f - m|^2 / 2 but for what is the same for all classes."""
    member = functional.one_hot(lesson.places).double() * lesson.weights[:, None]
    means = member.T @ lesson.features / member.sum(dim=0)[:, None]
    for scale in _SCALES:
        matrix = _widened(lesson, (scale * means, -scale / 2 * means.square().sum(dim=1)), None)
        yield _Contender(matrix, 0.0, "prototypes", _score(select, labels, matrix))


def _score(select: Tensor, labels: Tensor, matrix: Matrix) -> SelectScore:
    return select_score(select @ matrix[0].T + matrix[1], labels)


def _chosen(contenders: Sequence[_Contender], metric: str, images: int) -> _Contender:
    """
    Of those that are about as good as the best by the metric, the one with the least loss.

    A metric that counts moves by chance when a few of the *select* images change sides; the largest of twenty is a
    lucky one, and often a weakly restrained head that is certain of its errors.
    """
    values = [contender.score.value(metric) for contender in contenders]
    most = max(values)
    chance = 0.0 if metric == "loss" else math.sqrt(max(0.0, most * (1 - most)) / images)
    least = most - _STANDARD_ERRORS * chance
    near = [contender for contender, value in zip(contenders, values, strict=True) if value >= least]
    return min(near, key=lambda contender: contender.score.loss)


def _widened(lesson: _Lesson, matrix: Matrix, rest: Matrix | None) -> Matrix:
    """Rows for all classes; one that does not occur keeps its old row, or is less likely than half an image."""
    if len(lesson.occurring) == lesson.classes:
        return matrix
    weight, bias = matrix
    if rest is None:
        likeliest = torch.logsumexp(lesson.features @ weight.T + bias, dim=1)
        low = float(likeliest.min()) - math.log(2 * len(lesson.features))
        rest = weight.new_zeros(lesson.classes, weight.shape[1]), bias.new_full((lesson.classes,), low)
    wide, biases = rest[0].clone(), rest[1].clone()
    wide[lesson.occurring], biases[lesson.occurring] = weight, bias
    return wide, biases
