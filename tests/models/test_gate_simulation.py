"""The gate asked many times, with a known truth: what it lets through, and whom it keeps waiting. Seeded."""

from dataclasses import replace

import pytest

from models.noninferiority import images_needed
from tests.benchmarks.decisions_gate import uncorrected
from tests.benchmarks.decisions_gate_different import promoted_by_different
from tests.benchmarks.decisions_gate_pairs import RULES, World, pair, promoted

RUNS = 150
# Two standard errors of that many runs.
AT_MOST_5 = 0.05 + 2 * (0.05 * 0.95 / RUNS) ** 0.5
AT_LEAST_90 = 0.90 - 2 * (0.90 * 0.10 / RUNS) ** 0.5

pytestmark = pytest.mark.slow


def test_the_worlds_are_what_they_say():
    import numpy as np

    candidate, champion = pair(World(40_000, 0.03, 0.1, classes=4, losing=1, burst=10), np.random.default_rng(0))

    first = candidate.truth == 0
    assert champion.right[first].mean() - candidate.right[first].mean() == pytest.approx(0.03, abs=0.008)
    assert champion.right[~first].mean() - candidate.right[~first].mean() == pytest.approx(0.0, abs=0.005)
    assert (champion.right != candidate.right).mean() == pytest.approx(0.1, abs=0.01)
    assert len(set(candidate.groups)) == 4_000


@pytest.mark.parametrize(("images", "discordance"), [(100, 0.05), (300, 0.12)])
def test_a_loss_equal_to_the_margin_is_promoted_in_at_most_five_of_a_hundred(images, discordance):
    rules = replace(RULES, overall_margin=0.05, class_margin=0.5)

    assert promoted(World(images, 0.05, discordance), None, "schedule", RUNS, 1, rules)["promote"] <= AT_MOST_5


def test_one_class_that_loses_its_margin_keeps_the_candidate_back():
    world = World(1_500, 0.05, classes=5, losing=1)

    assert promoted(world, None, "schedule", RUNS, 2)["promote"] <= AT_MOST_5


def test_the_harmless_pass_in_nine_of_ten_at_the_printed_number_and_wait_below_it():
    rules = replace(RULES, overall_margin=0.05, class_margin=0.5)
    images = images_needed(0.05, 0.06, power=0.9)

    enough = promoted(World(images), None, "schedule", RUNS, 3, rules)
    few = promoted(World(images // 4), None, "schedule", RUNS, 4, rules)

    assert enough["promote"] >= AT_LEAST_90
    assert few["promote"] < 0.5
    assert few["reject"] <= AT_MOST_5


@pytest.mark.parametrize(("images", "discordance"), [(60, 0.2), (200, 0.1)])
def test_without_a_true_gain_nothing_is_let_through_where_one_is_required(images, discordance):
    found = promoted(World(700, 0.0, 0.02), World(images, 0.0, discordance), "harm", RUNS, 5)

    assert found["let through"] <= AT_MOST_5


@pytest.mark.parametrize(("asked", "readings"), [(5, 1), (20, 1), (40, 2)])
def test_labels_of_what_the_two_answer_differently_prove_no_gain_that_is_not_there(asked, readings):
    found = promoted_by_different(World(60, 0.0, 0.07), asked, RUNS, 7, readings=readings)

    assert found["let through"] <= AT_MOST_5


def test_forty_labels_of_what_the_two_answer_differently_prove_what_as_many_of_any_image_do_not():
    """A gain of four points: seven of a hundred are answered differently."""
    world = World(60, -0.04, 0.07)

    asked = promoted_by_different(world, 40, RUNS, 8)["let through"]
    plain = promoted(World(1_200, 0.0, 0.02), World(100, -0.04, 0.07), "harm", RUNS, 8)["let through"]

    assert asked > 0.8
    assert plain < 0.5


@pytest.mark.parametrize(("copied", "discordance"), [(1.0, 0.03), (0.5, 0.03), (0.5, 0.06)])
def test_bursts_of_near_duplicates_let_no_loss_through(copied, discordance):
    world = World(300, 0.03, discordance, burst=10, copied=copied)
    rules = replace(RULES, overall_margin=0.03, class_margin=0.5)

    assert promoted(world, None, "schedule", RUNS, 6, rules)["promote"] <= AT_MOST_5
    assert uncorrected(world, 0.03, RUNS, 6) > AT_MOST_5
