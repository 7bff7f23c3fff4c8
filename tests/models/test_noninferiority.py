import numpy as np
import pytest

from models.noninferiority import (
    LEVEL,
    PairedCounts,
    chance_of_passing,
    design_effect,
    images_needed,
    lower_bound,
    no_worse,
    paired_counts,
    score,
    upper_bound,
)


def test_paired_counts_say_what_was_lost_and_won():
    counts, effect = paired_counts([True, True, True, False, False], [True, False, False, True, False])

    assert counts == PairedCounts(images=5, lost=2, won=1)
    assert counts.loss == pytest.approx(0.2)
    assert counts.discordance == pytest.approx(0.6)
    assert effect == 1.0


def test_tangos_score_has_its_closed_form_where_nothing_differs():
    # Without discordant pairs z = -sqrt(n d / (1 - d)).
    assert score(PairedCounts(100, 0, 0), 0.05) == pytest.approx(-np.sqrt(100 * 0.05 / 0.95))


def test_at_a_margin_of_zero_the_score_is_mcnemars():
    assert score(PairedCounts(200, 12, 30), 0.0) == pytest.approx((12 - 30) / np.sqrt(12 + 30))


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (3, 8), (8, 3), (1, 30), (40, 40)])
def test_bounds_are_where_the_test_turns(lost, won):
    counts = PairedCounts(120, lost, won)

    upper, lower = upper_bound(counts, LEVEL), lower_bound(counts, LEVEL)

    assert lower <= counts.loss <= upper
    assert no_worse(counts, upper + 1e-6)
    assert not no_worse(counts, upper - 1e-6)
    swapped = PairedCounts(120, won, lost)
    assert lower == pytest.approx(-upper_bound(swapped, LEVEL))


def test_without_images_nothing_is_shown():
    counts, effect = paired_counts([], [])

    assert effect == 1.0
    assert not no_worse(counts, 0.5)
    assert (lower_bound(counts, LEVEL), upper_bound(counts, LEVEL)) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("margin", "discordance", "specified"),
    [(0.03, 0.03, 387), (0.03, 0.06, 669), (0.03, 0.10, 1095), (0.05, 0.03, 171), (0.05, 0.06, 272), (0.05, 0.10, 387),
     (0.02, 0.03, 776), (0.02, 0.06, 1471), (0.02, 0.10, 2403), (0.01, 0.03, 2924), (0.01, 0.06, 5801)],
)  # fmt: skip
def test_the_printed_number_of_images_is_that_of_the_specification(margin, discordance, specified):
    assert images_needed(margin, discordance, power=0.9) == pytest.approx(specified, rel=0.06)


@pytest.mark.parametrize(("margin", "discordance"), [(0.03, 0.03), (0.05, 0.03), (0.05, 0.06), (0.05, 0.10)])
def test_a_harmless_candidate_passes_about_nine_times_in_ten_at_the_printed_number(margin, discordance):
    images = images_needed(margin, discordance, power=0.9)

    assert 0.88 <= chance_of_passing(images, margin, discordance) <= 0.94


@pytest.mark.parametrize("images", [60, 150, 400])
def test_a_loss_equal_to_the_margin_passes_in_at_most_five_of_a_hundred(images):
    worst = max(
        chance_of_passing(images, margin, discordance, loss=margin)
        for margin in (0.01, 0.03, 0.05)
        for discordance in (margin, 0.06, 0.12)
        if discordance >= margin
    )

    assert worst <= 0.05


@pytest.mark.parametrize(
    ("gain", "discordance", "images", "specified"),
    [(0.10, 0.2, 200, 0.95), (0.20, 0.3, 50, 0.85), (0.20, 0.3, 100, 0.99)],
)
def test_the_power_to_prove_a_gain_is_that_of_the_specification(gain, discordance, images, specified):
    assert chance_of_passing(images, 0.0, discordance, loss=-gain, level=0.05) == pytest.approx(specified, abs=0.03)


def test_half_copied_frames_count_for_less_than_independent_ones():
    chance = np.random.default_rng(0)
    bursts, frames = 80, 10
    of_burst = chance.choice([-1, 0, 1], size=bursts, p=[0.05, 0.9, 0.05])
    copied = chance.random((bursts, frames)) < 0.5
    own = chance.choice([-1, 0, 1], size=(bursts, frames), p=[0.05, 0.9, 0.05])
    difference = np.where(copied, of_burst[:, None], own).ravel()
    names = [f"burst-{number}" for number in range(bursts) for _ in range(frames)]

    # Of two frames of a burst both are copies in a quarter: 1 + 9 * 0.25 = 3.25.
    assert 2.0 < design_effect(difference, names) < 4.8
    assert design_effect(difference, None) == 1.0
    assert design_effect(difference, [str(number) for number in range(800)]) == 1.0


@pytest.mark.slow
def test_bursts_pass_a_loss_equal_to_the_margin_no_more_often_than_single_images():
    chance = np.random.default_rng(1)
    passed = []
    for _ in range(1_000):
        of_burst = chance.choice([-1, 0, 1], size=60, p=[0.015, 0.94, 0.045])
        copied = chance.random((60, 10)) < 0.5
        own = chance.choice([-1, 0, 1], size=(60, 10), p=[0.015, 0.94, 0.045])
        difference = np.where(copied, of_burst[:, None], own).ravel()
        counts, _ = paired_counts(difference >= 0, difference <= 0, [str(place // 10) for place in range(600)])
        passed.append(no_worse(counts, 0.03))

    # The specification has 4 to 6 %; two standard errors of 1,000 runs are 1.5 points.
    assert np.mean(passed) <= 0.075


def test_a_few_bursts_of_copies_rule_out_no_loss_even_where_none_is_seen():
    bursts = [str(number // 10) for number in range(300)]
    right = [True] * 300

    counts, effect = paired_counts(right, right, bursts)
    alone, _ = paired_counts(right, right)

    assert effect == 10.0
    assert no_worse(alone, 0.03)
    assert not no_worse(counts, 0.03)
