from dataclasses import replace

import pytest
import torch

from models.training.plan import TrainingPlan
from models.training.sampling import batch_images, batches, epoch_order, loss_weights

PLAN = TrainingPlan("test_resnet", ("a", "b"))
LABELS = torch.tensor([0] * 900 + [1] * 100)
NEW = torch.tensor([False] * 800 + [True] * 200)


def order(plan: TrainingPlan, new: torch.Tensor = NEW, seed: int = 0) -> torch.Tensor:
    return epoch_order(plan, LABELS, new, torch.Generator().manual_seed(seed))


def test_an_epoch_shows_every_image_once():
    assert sorted(order(PLAN).tolist()) == list(range(1000))


def test_an_epoch_is_repeatable_and_the_next_one_differs():
    assert torch.equal(order(PLAN, seed=1), order(PLAN, seed=1))
    assert not torch.equal(order(PLAN, seed=1), order(PLAN, seed=2))


def test_balanced_sampling_shows_both_classes_equally_often():
    shown = LABELS[order(replace(PLAN, imbalance="sampling"))]

    assert float(shown.float().mean()) == pytest.approx(0.5, abs=0.05)


def test_new_images_get_the_share_that_was_asked_for():
    shown = NEW[order(replace(PLAN, new_share=0.6))]

    assert float(shown.float().mean()) == pytest.approx(0.6, abs=0.05)


def test_without_new_images_the_share_changes_nothing():
    none = torch.zeros(1000, dtype=torch.bool)

    assert sorted(order(replace(PLAN, new_share=0.6), none).tolist()) == list(range(1000))


def test_balancing_by_weights_gives_every_class_the_same_say():
    weights = loss_weights(replace(PLAN, imbalance="weights"), LABELS, torch.ones(1000))

    assert float(weights[LABELS == 0].sum()) == pytest.approx(float(weights[LABELS == 1].sum()), rel=1e-4)
    assert float(weights.mean()) == pytest.approx(1.0)


@pytest.mark.parametrize(("images", "most"), [(33, 32), (65, 32), (2, 32), (97, 8)])
def test_no_batch_is_a_lone_image(images, most):
    sizes = [len(batch) for batch in batches(torch.arange(images), most)]

    assert sum(sizes) == images
    assert min(sizes) > 1
    assert max(sizes) <= most


@pytest.mark.parametrize(
    ("images", "on_gpu", "expected"), [(60, False, 8), (1000, False, 32), (1e6, False, 64), (1e6, True, 256)]
)
def test_an_automatic_batch_suits_the_number_of_images(images, on_gpu, expected):
    assert batch_images(replace(PLAN, batch_images=0), int(images), on_gpu=on_gpu) == expected


def test_a_batch_size_of_the_plan_is_kept():
    assert batch_images(replace(PLAN, batch_images=48), 10, on_gpu=False) == 48
