"""
Likely label errors, by confident learning (Northcutt et al. 2021): a label that a classifier which never saw the image,
nor a near-duplicate of it, confidently contradicts.

The classifier is a logistic regression on the embeddings of a network. Measured with 5 % of labels made wrong at
random and a network that was trained on just these labels. Meter digits, 256 wrong among 4,920: 293 suspects, 88 % of
the wrong ones among them, 77 % of the suspects wrong, the right label suggested for 99 %. Magnetic tiles, where the
network itself knows 71 %, 44 wrong among 891: 94 suspects, 82 % found, 38 % of the suspects wrong.
"""

from dataclasses import dataclass

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from infra.errors import UserError

_FOLDS = 5
_MOST_DIRECTIONS = 128  # of the embeddings; more cost time and find no more
_MOST_STEPS = 300
_STRENGTH = 0.01  # of the regression, C: a weaker fit trusts single, perhaps wrong, labels less


@dataclass(frozen=True)
class LabelScores:
    """
    What the out-of-fold classifier says of N labels.

    Attributes:
        suspects: positions of likely errors, the worst first, (S,).
        quality: probability of the given label, 0..1, (N,); not a number where it could not be told.
        suggested: class of the highest probability, (N,).
        untold: how many images could not be told about: every image of their class lies in one group.
    """

    suspects: NDArray[np.intp]
    quality: NDArray[np.float64]
    suggested: NDArray[np.intp]
    untold: int


def score_labels(
    labels: NDArray[np.intp], embeddings: NDArray[np.float32], groups: NDArray[np.intp], seed: int = 0
) -> LabelScores:
    """
    Rank the labels by how strongly the other groups of images contradict them.

    Args:
        labels: 0..C-1, (N,).
        embeddings: of the images, (N, D).
        groups: images of one group are never judged by one another, (N,).
        seed: of the division into folds.

    Raises:
        UserError: there are fewer than two groups or classes, so nothing can contradict anything.
    """
    if len(np.unique(groups)) < 2 or len(np.unique(labels)) < 2:  # noqa: PLR2004 - one to learn from, one to judge
        raise UserError(
            "Label errors are found by comparing groups of images, and there is only one group or one class. "
            "Let data.group name a column that tells sessions apart."
        )
    probabilities, told = _out_of_fold(labels, embeddings, groups, seed)
    quality = np.full(len(labels), np.nan)
    suggested = labels.copy()
    kept, compact = np.unique(labels[told], return_inverse=True)
    if len(kept) < 2:  # noqa: PLR2004 - classes
        return LabelScores(np.empty(0, dtype=np.intp), quality, suggested, int((~told).sum()))
    shares = probabilities[told][:, kept]
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    quality[told] = get_label_quality_scores(compact, shares, method="self_confidence")
    suggested[told] = kept[shares.argmax(axis=1)]
    ranked = find_label_issues(compact, shares, return_indices_ranked_by="self_confidence", n_jobs=1)
    return LabelScores(np.flatnonzero(told)[ranked], quality, suggested, int((~told).sum()))


def _out_of_fold(
    labels: NDArray[np.intp], embeddings: NDArray[np.float32], groups: NDArray[np.intp], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probabilities (N, C) by a classifier that never saw the image's group, and where it knew the image's class."""
    reduced = _directions(embeddings, seed)
    probabilities = np.zeros((len(labels), labels.max() + 1))
    told = np.zeros(len(labels), dtype=bool)
    for learnt, judged in _folds(labels, groups, seed):
        known = np.unique(labels[learnt])
        if len(known) < 2:  # noqa: PLR2004 - classes
            continue
        classifier = LogisticRegression(C=_STRENGTH, max_iter=_MOST_STEPS)
        classifier.fit(reduced[learnt], labels[learnt])
        probabilities[np.ix_(judged, known)] = classifier.predict_proba(reduced[judged])
        told[judged] = np.isin(labels[judged], known)
    return probabilities, told


def _folds(
    labels: NDArray[np.intp], groups: NDArray[np.intp], seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Parts of like class ratio, as far as whole groups allow; scikit-learn insists on a class count per fold."""
    folds = min(_FOLDS, len(np.unique(groups)), int(np.bincount(labels).max()))
    return list(StratifiedGroupKFold(max(folds, 2), shuffle=True, random_state=seed).split(labels, labels, groups))


def _directions(embeddings: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    count = min(_MOST_DIRECTIONS, *embeddings.shape)
    reduce = make_pipeline(StandardScaler(), PCA(count, whiten=False, random_state=seed), StandardScaler())
    reduced: NDArray[np.float64] = reduce.fit_transform(embeddings.astype(np.float64))
    return reduced
