import math
from dataclasses import replace

import pytest

from models.training.plan import TrainingPlan
from models.training.selection import SelectScore
from models.training.stages import Circumstances, plan_stages
from models.training.standing import (
    Best,
    Standing,
    after_diverging,
    after_epoch,
    cooling,
    ended,
    share_s,
)

PLAN = TrainingPlan("test_resnet", ("a", "b"), most_epochs_per_stage=20, patience_epochs=3)
SAME = SelectScore(0.5, 0.5, 1.0)
LONG = 1e6
STAGES = plan_stages("auto", Circumstances(groups=6, steps=(3, 0), start="timm"))


def standing(**changes) -> Standing:
    return replace(Standing(Best(SAME, {})), **changes)


def run(plan: TrainingPlan, scores: list[SelectScore], share: float = LONG, took: float = 1.0) -> Standing:
    now = standing()
    for score in scores:
        now = after_epoch(now, plan, score, updates=5, took_s=took, stage_share_s=share)
        if ended(now, plan, share):
            break
    return now


def test_after_its_patience_a_stage_cools_down_before_it_ends():
    now = run(PLAN, [SAME] * 20)

    # The first epoch is better than nothing, three more wait, one cools down.
    assert (now.cooling_from, now.epoch) == (4, 5)
    assert ended(now, PLAN, LONG) == "early"


def test_while_it_cools_down_the_rate_runs_out():
    now = standing(epoch=8, epochs=20, cooling_from=8, last_epoch=10)

    left = [
        cooling(now, 0.0),
        cooling(now, 0.5),
        cooling(replace(now, epoch=9), 0.0),
        cooling(replace(now, epoch=9), 1),
    ]

    assert left == [1.0, 0.75, 0.5, 0.0]


def test_what_gets_better_goes_on_to_its_last_epoch():
    rising = [SelectScore(0.5 + epoch / 100, 0.5, 1.0) for epoch in range(20)]

    now = run(PLAN, rising)

    assert (now.epoch, ended(now, PLAN, LONG)) == (20, "epochs")


def test_no_stage_ends_before_its_least_epochs():
    now = run(replace(PLAN, least_epochs_per_stage=10), [SAME] * 20)

    assert now.cooling_from == 10


def test_a_loss_that_still_falls_clearly_keeps_a_stage_going():
    falling = [SelectScore(0.5, 0.5, 0.9**epoch) for epoch in range(20)]

    assert run(PLAN, falling).epoch == 20


def test_on_a_plateau_the_rate_falls_before_the_patience_ends():
    plan = replace(PLAN, schedule="plateau", patience_epochs=4)

    now = run(plan, [SAME] * 3)

    assert (now.waited, now.rate_factor) == (2, pytest.approx(0.3))


def test_the_first_epoch_shows_how_many_the_budget_allows():
    now = run(PLAN, [SAME], share=10.0, took=3.0)

    assert now.epochs == 3


def test_a_stage_ends_with_its_share_of_the_budget():
    now = run(PLAN, [SelectScore(0.5 + epoch / 100, 0.5, 1.0) for epoch in range(9)], share=10.0, took=3.0)

    assert (now.epoch, ended(now, PLAN, 10.0)) == (3, "budget")


def test_later_stages_are_given_more():
    shares = [share_s(standing(stage=stage), STAGES[:3], budget_minutes=1.0) for stage in range(3)]

    assert shares == pytest.approx([60 / 21, 60 / 5, 60])


def test_nothing_is_put_by_for_a_start_from_scratch():
    shares = [share_s(standing(stage=stage), STAGES, budget_minutes=1.0) for stage in (2, 3)]

    assert shares == pytest.approx([60, 60])


def test_after_diverging_the_stage_begins_again_at_a_fifth_of_the_rate():
    now = after_diverging(standing(stage=1, epoch=3, epochs=20, waited=2, rate_factor=1.0))

    assert (now.stage, now.epoch, now.waited, now.diverged) == (1, 0, 0, True)
    assert now.rate_factor == pytest.approx(0.2)
    assert now.stage_metric == -math.inf
