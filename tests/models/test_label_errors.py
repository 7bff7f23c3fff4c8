"""Wrong labels are planted among right ones; how many are found is known."""

import numpy as np
import pytest

from infra.errors import UserError
from models.label_errors import score_labels

CLASSES, EACH, WRONG = 4, 150, 30


def planted(seed: int = 0):
    """Embeddings in overlapping clouds, labels of which 30 in 600 are wrong, and groups of five neighbours."""
    chance = np.random.default_rng(seed)
    truth = np.repeat(np.arange(CLASSES), EACH)
    centres = chance.normal(0, 1, (CLASSES, 16))
    embeddings = (centres[truth] + chance.normal(0, 0.6, (len(truth), 16))).astype(np.float32)
    wrong = np.sort(chance.choice(len(truth), WRONG, replace=False))
    labels = truth.copy()
    labels[wrong] = (truth[wrong] + chance.integers(1, CLASSES, WRONG)) % CLASSES
    return truth, labels, embeddings, np.arange(len(truth)) // 5, wrong


def test_planted_errors_are_found_and_stand_first():
    truth, labels, embeddings, groups, wrong = planted()

    scores = score_labels(labels, embeddings, groups)

    found = np.isin(scores.suspects, wrong)
    # The clouds overlap: of 30 wrong labels a few lie where nobody can tell.
    assert found.sum() >= 24
    assert found.mean() >= 0.9
    assert (scores.suggested[wrong] == truth[wrong]).mean() >= 0.9
    assert scores.untold == 0


def test_the_ranking_is_by_the_probability_of_the_given_label():
    _, labels, embeddings, groups, _ = planted()

    scores = score_labels(labels, embeddings, groups)

    assert np.all(np.diff(scores.quality[scores.suspects]) >= 0)
    assert scores.quality.min() >= 0
    assert scores.quality.max() <= 1


def test_the_same_seed_gives_the_same_suspects():
    _, labels, embeddings, groups, _ = planted()

    first, again = (score_labels(labels, embeddings, groups, seed=3) for _ in range(2))

    assert first.suspects.tolist() == again.suspects.tolist()


def test_copies_in_one_group_cannot_vouch_for_each_other():
    _, labels, embeddings, groups, wrong = planted()
    # Every wrong image comes six times: apart, each would be found right by its five copies.
    copies = np.repeat(wrong, 5)
    all_labels = np.concatenate([labels, labels[copies]])
    all_embeddings = np.concatenate([embeddings, embeddings[copies]])
    together = np.concatenate([groups, groups[copies]])
    apart = np.arange(len(all_labels))

    grouped = score_labels(all_labels, all_embeddings, together)
    leaking = score_labels(all_labels, all_embeddings, apart)

    assert np.isin(wrong, grouped.suspects).mean() >= 0.5
    assert grouped.quality[wrong].mean() < leaking.quality[wrong].mean()


def test_a_class_that_lives_in_one_group_cannot_be_told_about():
    _, labels, embeddings, groups, _ = planted()
    alone = np.concatenate([labels, np.full(20, CLASSES)])
    all_embeddings = np.concatenate([embeddings, embeddings[:20] + 5])
    all_groups = np.concatenate([groups, np.full(20, groups.max() + 1)])

    scores = score_labels(alone, all_embeddings, all_groups)

    assert scores.untold == 20
    assert np.isnan(scores.quality[-20:]).all()
    assert scores.suspects.max() < len(labels)


@pytest.mark.parametrize("what", ["groups", "classes"])
def test_with_one_group_or_one_class_there_is_nothing_to_compare(what):
    _, labels, embeddings, groups, _ = planted()
    given = (labels, embeddings, np.zeros_like(groups)) if what == "groups" else (labels * 0, embeddings, groups)

    with pytest.raises(UserError, match=r"Let data\.group name a column"):
        score_labels(*given)
