from dataclasses import replace

import numpy as np
import pytest

from monitoring.class_prior import calibration, priors
from monitoring.identification import BOTH, COVARIATE, LABEL, NONE, UNKNOWN, identify
from tests.monitoring.shifting_birds import EVEN, KINDS, drawn, reference

MANY_OWLS = (0.1, 0.1, 0.6, 0.2)


@pytest.fixture(scope="module")
def profile():
    return reference()


def kinds(profile, **window):
    return [identify(profile, drawn(500, **window, seed=seed)[0]).kind for seed in range(4)]


def test_the_same_birds_again_are_no_shift(profile):
    assert kinds(profile).count(NONE) >= 3


def test_more_owls_are_label_shift_and_nothing_else(profile):
    assert kinds(profile, mix=MANY_OWLS).count(LABEL) >= 3


def test_the_same_mix_of_other_looking_birds_is_covariate_shift(profile):
    assert kinds(profile, moved=0.4).count(COVARIATE) >= 3


def test_more_owls_that_look_otherwise_are_both(profile):
    assert kinds(profile, mix=MANY_OWLS, moved=0.4).count(BOTH) >= 3


def test_the_estimated_mix_is_near_the_true_one_with_an_interval_around_it(profile):
    covered = []
    for seed in range(6):
        report = identify(profile, drawn(500, MANY_OWLS, seed=seed)[0])
        assert [one.window for one in report.classes] == pytest.approx(MANY_OWLS, abs=0.08)
        covered += [one.low <= share <= one.high for one, share in zip(report.classes, MANY_OWLS, strict=True)]

    assert np.mean(covered) >= 0.88


def test_the_words_name_the_classes_that_moved_most(profile):
    report = identify(profile, drawn(500, MANY_OWLS, seed=3)[0])

    assert report.words[0].startswith("Label shift: the classes come in another mix")
    assert "owl: 2" in report.words[0]
    assert report.to_json()["classes"][2]["name"] == "owl"


def test_the_same_window_is_told_the_same_twice(profile):
    window = drawn(400, MANY_OWLS, moved=0.2, seed=4)[0]

    assert identify(profile, window) == identify(profile, window)


def test_a_mix_that_wrong_answers_alone_could_explain_is_not_claimed(profile):
    report = identify(profile, drawn(500, moved=1.0, seed=3)[0])

    assert report.p_values["prior"] < 0.05
    assert report.kind == COVARIATE
    assert "cannot be told without labels" in report.words[1]


def test_too_few_predictions_are_said_to_be_no_evidence(profile):
    report = identify(profile, drawn(12)[0])

    assert (report.kind, report.words) == (UNKNOWN, ("Not enough evidence: 12 of 200 predictions.",))
    assert identify(profile, drawn(0)[0]).kind == UNKNOWN


def test_too_small_a_reference_is_said_to_be_no_evidence():
    said = "What kind of change this is cannot be told: of what is normal, {} of the 100 pictures needed have a label."

    assert identify(reference(60), drawn(400)[0]).words == (said.format(60),)
    # So it is after a person has accepted pictures without labels as the new normal.
    unlabelled = replace(reference(300), truth=("",) * 300)
    assert identify(unlabelled, drawn(400)[0]).words == (said.format(0),)


def test_answers_that_are_no_numbers_are_left_out(profile):
    window = drawn(400)[0]
    probabilities = window.probabilities.copy()
    probabilities[:150] = np.nan
    embedding = window.embedding.copy()
    embedding[150:170] = np.nan

    report = identify(profile, replace(window, probabilities=probabilities, embedding=embedding))

    assert report.rows == 230
    assert report.kind == NONE


def test_without_any_embedding_the_answers_alone_are_compared(profile):
    window = drawn(400, MANY_OWLS)[0]

    report = identify(profile, replace(window, embedding=np.full_like(window.embedding, np.nan)))

    assert report.kind == LABEL
    assert report.words[-1] == "The embedding could not be compared."


def test_a_window_of_one_class_alone_is_label_shift(profile):
    report = identify(profile, drawn(300, (0, 0, 1, 0))[0])

    assert report.kind == LABEL
    assert report.classes[2].window > 0.9


def test_a_class_without_reference_images_has_no_estimated_share():
    report = identify(reference(600, (0.4, 0.3, 0.3, 0.0)), drawn(400)[0])

    assert [one.name for one in report.classes] == ["crow", "duck", "owl"]
    assert report.words[-1] == "Fewer than 5 reference images of wren: their share cannot be estimated."
    assert report.kind in {COVARIATE, BOTH}


def test_classes_that_the_champion_cannot_tell_apart_do_not_stop_it(profile):
    def blurred(batch):
        probabilities = batch.probabilities.copy()
        probabilities[:, :2] = probabilities[:, :2].mean(axis=1, keepdims=True)
        return replace(batch, probabilities=probabilities)

    blind = replace(profile, batch=blurred(profile.batch))

    report = identify(blind, blurred(drawn(500, (0.1, 0.1, 0.6, 0.2))[0]))

    assert report.kind == LABEL
    assert sum(one.window for one in report.classes[:2]) == pytest.approx(0.2, abs=0.08)


def test_another_class_list_is_not_compared(profile):
    window = drawn(400)[0]

    report = identify(profile, replace(window, probabilities=window.probabilities[:, :3]))

    assert report.kind == UNKNOWN
    assert "class list" in report.words[0]


def test_very_many_classes_share_a_place_among_the_rest():
    chance = np.random.default_rng(0)
    names = tuple(f"kind {place}" for place in range(60))
    batch, truth = drawn(900, EVEN, seed=2)
    spread = chance.integers(0, 15, 900)
    many = np.zeros((900, 60))
    many[np.arange(900)[:, None], spread[:, None] + 15 * np.arange(4)] = batch.probabilities
    labels = tuple(names[KINDS.index(name) * 15 + place] for name, place in zip(truth, spread, strict=True))
    wide = replace(batch, probabilities=many, labels=tuple(names[place] for place in many.argmax(axis=1)))
    profile = replace(reference(), batch=wide.first(600), truth=labels[:600], classes=names, images=600)

    report = identify(profile, wide.take(np.arange(600, 900)))

    assert report.kind == NONE
    assert len(report.classes) == 30
    assert report.classes[-1].name == "the rest"


def test_single_precision_and_a_reduced_embedding_are_taken(profile):
    window = drawn(400, MANY_OWLS)[0]
    single = replace(
        window, probabilities=window.probabilities.astype(np.float32), embedding=window.embedding.astype(np.float32)
    )

    assert identify(profile, single).kind == LABEL


def test_a_leaning_classifier_is_not_taken_for_another_mix():
    batch, truth = drawn(2_000, seed=7)
    leaning = batch.probabilities * np.array([4.0, 1.0, 1.0, 1.0])
    leaning /= leaning.sum(axis=1, keepdims=True)
    columns = np.array([KINDS.index(name) for name in truth])

    plain = priors(leaning / 0.25, np.ones((1, 2_000)), np.array(EVEN))[0]
    mended = priors(calibration(leaning, columns).apply(leaning) / 0.25, np.ones((1, 2_000)), np.array(EVEN))[0]

    assert np.abs(mended - EVEN).max() < 0.03
    assert np.abs(plain - EVEN).max() > 2 * np.abs(mended - EVEN).max()


def test_of_a_large_window_an_even_part_decides(profile):
    report = identify(profile, drawn(30_000, seed=8)[0])

    assert report.rows == 30_000
    assert report.kind == NONE
