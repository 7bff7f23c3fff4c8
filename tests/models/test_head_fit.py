import pytest
import torch
from sklearn.linear_model import LogisticRegression

from infra.errors import UserError
from models.training.head_fit import FittedHead, fit_head
from models.training.logistic import logistic_regression

CLASSES = 3


def blobs(seed: int, per_class: int, apart: float = 3.0, width: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Three round clouds, far from the origin and at any scale, as a network's features are."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat(per_class)
    centres = torch.eye(CLASSES, width) * apart
    return 40 + 5 * (centres[labels] + torch.randn(len(labels), width, generator=generator)), labels


def fitted(features, labels, *, select=None, weights=None, classes=CLASSES, metric="macro_recall", present=None):
    select_features, select_labels = select or blobs(99, 50)
    weights = torch.ones(len(labels)) if weights is None else weights
    return fit_head(features, labels, weights, select_features, select_labels, classes, metric, present)


def answers(head: FittedHead, features: torch.Tensor) -> torch.Tensor:
    return features @ head.weight.T + head.bias


def recall(head: FittedHead, features: torch.Tensor, labels: torch.Tensor) -> float:
    right = answers(head, features).argmax(dim=1) == labels
    return float(torch.stack([right[labels == number].double().mean() for number in labels.unique()]).mean())


def test_clouds_that_lie_apart_are_told_apart():
    head = fitted(*blobs(1, 40, apart=8), select=blobs(2, 20, apart=8))

    assert recall(head, *blobs(3, 100, apart=8)) == 1.0
    assert head.macro_recall == 1.0
    assert head.weight.shape == (CLASSES, 12)
    assert head.weight.dtype == torch.float32


def test_clouds_that_overlap_are_told_apart_nearly_as_well_as_can_be():
    head = fitted(*blobs(1, 400))

    # Whoever knows the centres is right about so many.
    features, labels = blobs(3, 2_000)
    best = (((features - 40) / 5) @ torch.eye(12, CLASSES)).argmax(dim=1)
    assert recall(head, features, labels) > float((best == labels).double().mean()) - 0.02


@pytest.mark.parametrize("strength", [1.0, 0.01])
@pytest.mark.parametrize("images", [8, 200])
def test_a_regression_is_that_of_scikit_learn_at_the_same_strength(strength, images):
    features, labels = blobs(5, images)
    features = (features.double() - 40) / 5
    weights = torch.rand(len(labels), generator=torch.Generator().manual_seed(6), dtype=torch.float64) + 0.5

    weight, bias = logistic_regression(features, labels, weights, strength)

    rival = LogisticRegression(C=1 / (strength * float(weights.sum())), tol=1e-9, max_iter=10_000)
    rival.fit(features.numpy(), labels.numpy(), sample_weight=weights.numpy())
    assert torch.allclose(weight, torch.from_numpy(rival.coef_), atol=2e-4)
    assert torch.allclose(bias, torch.from_numpy(rival.intercept_), atol=2e-4)


def test_a_regression_of_very_many_features_is_the_same_without_a_factorisation():
    generator = torch.Generator().manual_seed(7)
    features = torch.randn(30, 3_001, generator=generator, dtype=torch.float64)
    labels, weights = torch.arange(CLASSES).repeat(10), torch.ones(30, dtype=torch.float64)

    wide = logistic_regression(features, labels, weights, 0.5)
    narrow = logistic_regression(features[:, :3_000], labels, weights, 0.5)

    assert torch.allclose(wide[0][:, :3_000], narrow[0], atol=1e-2)


def test_fewer_images_than_features_make_a_head_of_full_width():
    head = fitted(*blobs(1, 5, apart=6, width=200), select=blobs(2, 40, apart=6, width=200))

    assert head.weight.shape == (CLASSES, 200)
    assert recall(head, *blobs(3, 200, apart=6, width=200)) > 0.8


def test_the_same_features_give_the_same_head_and_are_left_as_they_are():
    features, labels = blobs(1, 40)
    before = features.double()
    double = features.double()

    first, second = fitted(double, labels), fitted(double, labels)

    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)
    assert torch.equal(double, before)


def test_an_image_of_weight_two_counts_as_the_image_twice():
    features, labels = blobs(1, 30)
    twice = labels == 0

    weighted = fitted(features, labels, weights=1.0 + twice.float())
    repeated = fitted(torch.cat([features, features[twice]]), torch.cat([labels, labels[twice]]))

    # The two are standardised by slightly different means; what they answer is the same.
    probe, _ = blobs(4, 100)
    same = answers(weighted, probe).argmax(dim=1) == answers(repeated, probe).argmax(dim=1)
    assert same.double().mean() > 0.98


def test_an_image_without_weight_does_not_count():
    features, labels = blobs(1, 40, apart=8)
    wrong = torch.cat([labels, (labels + 1) % CLASSES])
    weights = torch.cat([torch.ones(len(labels)), torch.zeros(len(labels))])

    head = fitted(torch.cat([features, features]), wrong, weights=weights, select=blobs(2, 20, apart=8))

    assert recall(head, *blobs(3, 100, apart=8)) == 1.0


def test_a_class_without_images_is_never_the_answer():
    features, labels = blobs(1, 40)

    head = fitted(features, labels, classes=5)

    chances = torch.softmax(answers(head, blobs(3, 100)[0]), dim=1)
    assert torch.isfinite(head.weight).all()
    assert chances[:, CLASSES:].max() < 0.05


def test_one_image_of_each_class_makes_a_head():
    head = fitted(*blobs(1, 1, apart=8), select=blobs(2, 20, apart=8))

    assert recall(head, *blobs(3, 100, apart=8)) > 0.9


def test_a_single_class_makes_a_head_that_always_names_it():
    features, labels = blobs(1, 20)

    head = fitted(features[labels == 1], labels[labels == 1])

    assert (answers(head, blobs(3, 20)[0]).argmax(dim=1) == 1).all()


def test_features_that_are_all_the_same_leave_every_class_as_likely_as_it_is_frequent():
    head = fitted(torch.ones(30, 12), torch.arange(CLASSES).repeat(10), select=(torch.ones(9, 12), blobs(1, 3)[1]))

    assert torch.allclose(torch.softmax(answers(head, torch.ones(1, 12)), dim=1), torch.full((1, 3), 1 / 3), atol=1e-3)


def test_a_head_that_knows_more_than_the_new_images_tell_is_kept_or_hardly_moved():
    teacher = fitted(*blobs(1, 2_000))
    few = blobs(7, 1)

    alone = fitted(*few)
    helped = fitted(*few, present=(teacher.weight, teacher.bias))

    new = blobs(3, 1_000)
    assert helped.start.startswith("present")
    assert recall(helped, *new) > recall(alone, *new) + 0.05
    assert recall(helped, *new) > recall(teacher, *new) - 0.02


def test_a_head_of_another_world_gives_way():
    features, labels = blobs(1, 100)
    stale = fitted(features, (labels + 1) % CLASSES, select=(blobs(2, 50)[0], (blobs(2, 50)[1] + 1) % CLASSES))

    head = fitted(features, labels, present=(stale.weight, stale.bias))

    assert head.start != "present"
    assert recall(head, *blobs(3, 200)) > 0.8


def test_the_metric_decides_what_is_chosen():
    heads = [fitted(*blobs(1, 12, apart=1.5), metric=metric) for metric in ("loss", "macro_recall")]

    select = blobs(99, 50)
    losses = [torch.nn.functional.cross_entropy(answers(head, select[0]), select[1]) for head in heads]
    assert losses[0] <= losses[1] + 1e-6


def test_features_that_are_not_numbers_are_refused():
    features, labels = blobs(1, 10)
    features[3, 2] = float("nan")

    with pytest.raises(UserError, match="features of some images are not numbers"):
        fitted(features, labels)
