"""The gate's check of calibration: what fails it, and which labels would decide."""

from dataclasses import replace

import numpy as np
import pytest

from models.gate import decide
from models.gate_calibration import calibration_check
from models.gate_needs import needs_of
from models.gate_records import Answers
from tests.models.test_gate import RULES, answers, given, pair


def test_a_candidate_that_is_surer_than_it_is_right_fails_on_calibration():
    candidate, champion = pair(4_000, accuracy=0.9)

    decision = decide(given((replace(candidate, confidence=np.full(4_000, 1.0)), champion)), RULES)

    assert decision.outcome == "reject"
    assert decision.objections[0].check == "calibration"


def test_where_calibration_alone_is_undecided_it_is_told_which_labels_would_decide():
    candidate, champion = pair(400, discordance=0.0)
    rules = replace(RULES, overall_margin=0.2, class_margin=0.5, calibration_margin=0.162)
    unsure = candidate.confidence - np.random.default_rng(0).uniform(0, 0.3, 400)

    few = decide(given((replace(candidate, confidence=unsure), champion)), rules)

    (objection,) = few.objections
    assert (few.outcome, objection.check) == ("undecided", "calibration")
    assert [(one.group, one.scope) for one in needs_of(few)] == [("overall", "old")]
    assert "more labels would probably decide" in objection.words


@pytest.mark.parametrize("seed", range(5))
def test_with_as_many_images_as_it_names_an_honest_candidate_passes_on_calibration(seed):
    few = calibration_check(*honest(400, seed), 0.02)
    assert few.result == "undecided"

    enough = calibration_check(*honest(400 + few.needed, 1_000 + seed), 0.02)

    assert enough.result == "passed"


def honest(images: int, seed: int) -> list[Answers]:
    """Two models that are as often right as they say."""
    chance = np.random.default_rng(seed)
    truth, pairs = chance.integers(0, 2, images), []
    for _ in range(2):
        confidence = chance.uniform(0.6, 1.0, images)
        pairs.append(replace(answers(chance.random(images) < confidence, truth), confidence=confidence))
    return pairs
