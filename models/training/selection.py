"""How good the weights are on the *select* images: what decides when to stop and what to keep."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.training.plan import TrainingPlan


@dataclass(frozen=True)
class SelectScore:
    """
    Scores in 0..1, and mean cross-entropy; classes without images do not count.

    Attributes:
        macro_recall: mean of the classes' recall; macro_f1 likewise.
        least_recall: of the worst class; least_precision likewise.
    """

    macro_recall: float
    accuracy: float
    loss: float
    macro_f1: float = 0.0
    least_recall: float = 0.0
    least_precision: float = 0.0

    def value(self, metric: str) -> float:
        """The metric as a number of which more is better."""
        return -self.loss if metric == "loss" else float(getattr(self, metric))

    def better_than(self, other: "SelectScore", metric: str) -> bool:
        """By the metric; where that is the same, by the loss."""
        return (self.value(metric), -self.loss) > (other.value(metric), -other.loss)


def select_score(logits: Tensor, labels: Tensor) -> SelectScore:
    """logits: shape (N, C); labels: shape (N,), class numbers."""
    classes = logits.shape[1]
    answers = logits.argmax(dim=1)
    right = (answers == labels).double()
    images = torch.bincount(labels, minlength=classes).double()
    answered = torch.bincount(answers, minlength=classes).double()
    hits = torch.bincount(labels, weights=right, minlength=classes)
    present = images > 0
    recall = hits[present] / images[present]
    precision = hits[present] / answered[present].clamp(min=1)
    return SelectScore(
        macro_recall=float(recall.mean()),
        accuracy=float(right.mean()),
        loss=float(functional.cross_entropy(logits.float(), labels)),
        macro_f1=float((2 * hits[present] / (images + answered)[present]).mean()),
        least_recall=float(recall.min()),
        least_precision=float(precision.min()),
    )


def good_enough(score: SelectScore, plan: TrainingPlan) -> bool:
    """Whether `auto` may stop climbing: the gate's floors hold on *select*, and the macro recall that is asked for."""
    return floors_hold(score, plan) and score.macro_recall >= plan.good_enough


def floors_hold(score: SelectScore, plan: TrainingPlan) -> bool:
    """Whether every class reaches the gate's floors on *select*."""
    return score.least_recall >= plan.min_recall and score.least_precision >= plan.min_precision
