from dataclasses import replace

import pytest
import torch

from models.training.plan import TrainingPlan
from models.training.selection import SelectScore, good_enough, select_score

PLAN = TrainingPlan("test_resnet", ("a", "b"), min_recall=0.5, min_precision=0.5, good_enough=0.9)


def test_every_class_weighs_alike():
    logits = torch.tensor([[2.0, 0, 0], [2, 0, 0], [2, 0, 0], [2, 0, 0]])

    score = select_score(logits, torch.tensor([0, 0, 0, 1]))

    assert (score.accuracy, score.macro_recall, score.least_recall) == (0.75, 0.5, 0.0)


def test_scores_are_those_of_a_confusion_counted_by_hand():
    # Class 0: 3 of 4 right; class 1: 1 of 2 right. Answers: 4 times 0 (3 right), 2 times 1 (1 right).
    logits = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1], [0, 1], [1, 0]])

    score = select_score(logits, torch.tensor([0, 0, 0, 0, 1, 1]))

    assert score.macro_recall == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert score.macro_f1 == pytest.approx((2 * 3 / 8 + 2 * 1 / 4) / 2)
    assert (score.least_recall, score.least_precision) == (0.5, 0.5)


def test_equal_metrics_are_told_apart_by_the_loss():
    calm, nervous = (SelectScore(0.9, 0.9, loss) for loss in (0.1, 0.4))

    assert calm.better_than(nervous, "macro_recall")
    assert not nervous.better_than(calm, "macro_recall")
    assert calm.better_than(nervous, "loss")


def test_climbing_ends_only_where_every_class_reaches_its_floor():
    good = SelectScore(0.95, 0.95, 0.1, least_recall=0.6, least_precision=0.6)

    assert good_enough(good, PLAN)
    assert not good_enough(replace(good, least_recall=0.4), PLAN)
    assert not good_enough(replace(good, least_precision=0.4), PLAN)
    assert not good_enough(replace(good, macro_recall=0.85), PLAN)
