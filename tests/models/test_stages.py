from dataclasses import replace

import pytest
import torch
from torch import nn

from infra.errors import UserError
from models.layer_groups import LayerGroup
from models.training.freezing import build_optimizer, set_mode, set_trainable, trainable_names
from models.training.stages import Circumstances, Stage, learning_rate, plan_stages, schedule_shape

HEAD_ONLY = Stage(0, "head", (1,), head_only=True, rate=1.0, spread=10.0)
STRATEGIES = ("auto", "head", "staged", "full", "layerwise", "surgical", "scratch")


def circumstances(groups: int = 9, **changes) -> Circumstances:
    return Circumstances(groups=groups, steps=tuple(sorted({groups // 2, 0}, reverse=True)), start="timm", **changes)


def small_network() -> tuple[nn.Module, tuple[LayerGroup, ...]]:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    groups = (
        LayerGroup("body", ("0.weight", "0.bias", "1.weight", "1.bias")),
        LayerGroup("head", ("3.weight", "3.bias")),
    )
    return network, groups


def test_staged_training_goes_from_the_head_downwards():
    stages = plan_stages("staged", circumstances(9))

    assert [stage.groups for stage in stages] == [(8,), (4, 5, 6, 7, 8), tuple(range(9))]
    assert [stage.head_only for stage in stages] == [True, False, False]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("start", ["timm", "champion", "scratch"])
@pytest.mark.parametrize("shift", ["", "input", "output"])
def test_every_strategy_numbers_its_stages_and_names_groups_that_exist(strategy, start, shift):
    given = replace(circumstances(6), start=start, shift=shift, batch_norm=True, schedule="wsd")

    stages = plan_stages(strategy, given)

    assert [stage.index for stage in stages] == list(range(len(stages)))
    assert all(set(stage.groups) <= set(range(6)) for stage in stages)
    assert all(stage.schedule == "wsd" for stage in stages)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_from_scratch_nothing_is_frozen(strategy):
    (stage,) = plan_stages(strategy, replace(circumstances(6), start="scratch"))

    assert (stage.groups, stage.spread) == (tuple(range(6)), 1.0)


def test_a_full_fine_tune_has_one_rate_and_a_layerwise_one_falls_towards_the_stem():
    (full,), (layerwise,) = (plan_stages(strategy, circumstances(6)) for strategy in ("full", "layerwise"))

    full_rates, layerwise_rates = (
        [learning_rate(stage, group, 6, 0.001) for group in range(6)] for stage in (full, layerwise)
    )

    assert len(set(full_rates)) == 1
    assert layerwise_rates == sorted(layerwise_rates)
    assert layerwise_rates[5] / layerwise_rates[0] == pytest.approx(10)


def test_surgery_opens_the_lowest_blocks_and_normalisation_and_leaves_a_champions_head():
    stages = plan_stages("surgical", replace(circumstances(6), start="champion", batch_norm=True))

    names = [(stage.name, stage.groups, stage.norms) for stage in stages]
    assert names == [
        ("statistics", (), False),
        ("first 2 of 6 groups and normalisation", (0, 1), True),
        ("head", (5,), False),
    ]


def test_the_ladder_looks_after_every_rung_and_ends_from_scratch():
    stages = plan_stages("auto", replace(circumstances(6), start="champion", batch_norm=True))

    assert all(stage.rung for stage in stages)
    assert [stage.name for stage in stages] == [
        "statistics", "head", "top 3 of 6 groups", "whole network", "from scratch",
    ]  # fmt: skip
    assert [stage.fresh for stage in stages] == [False, False, False, False, True]


def test_after_an_input_level_shift_the_ladder_starts_below():
    stages = plan_stages("auto", replace(circumstances(6), start="champion", shift="input", batch_norm=True))

    assert [stage.name for stage in stages][:3] == ["statistics", "first 2 of 6 groups and normalisation", "head"]


def test_few_images_leave_the_whole_network_as_it_is():
    stages = plan_stages("auto", replace(circumstances(6), images_per_class=5))

    assert all(0 not in stage.groups for stage in stages)


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_the_learning_rate_rises_then_falls_to_almost_nothing(schedule):
    rates = [schedule_shape(schedule, update, 100) for update in range(100)]

    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == pytest.approx(1.0)
    assert rates[99] < 0.06
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_warm_up_stable_decay_is_stable_for_three_quarters():
    assert {schedule_shape("wsd", update, 100) for update in range(5, 80)} == {1.0}


def test_a_plateau_keeps_its_rate_until_somebody_lowers_it():
    assert schedule_shape("plateau", 99, 100) == 1.0


def test_what_is_frozen_does_not_move_not_even_by_decay_or_in_its_statistics():
    torch.manual_seed(0)
    network, groups = small_network()
    optimizer = build_optimizer(network, groups, weight_decay=0.1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    set_trainable(network, trainable_names(network, groups, HEAD_ONLY))
    for entry in optimizer.param_groups:
        entry["lr"] = 0.1

    for _ in range(3):
        set_mode(network, batch_images=32)
        optimizer.zero_grad(set_to_none=True)
        network(torch.randn(8, 3, 4, 4)).square().mean().backward()
        optimizer.step()

    after = network.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["3.weight", "3.bias"]


def test_the_optimizer_knows_every_parameter_once_and_its_group():
    network, groups = small_network()

    entries = build_optimizer(network, groups, weight_decay=0.1).param_groups

    assert [(entry["layer_group"], entry["weight_decay"]) for entry in entries] == [
        (0, 0.1),
        (0, 0.0),
        (1, 0.1),
        (1, 0.0),
    ]
    assert sum(len(entry["params"]) for entry in entries) == 6


def test_normalisation_alone_can_be_opened():
    network, groups = small_network()

    names = trainable_names(network, groups, replace(HEAD_ONLY, groups=(1,), norms=True))

    assert names == ("1.weight", "1.bias", "3.weight", "3.bias")


def test_dropout_sleeps_with_its_frozen_block():
    network = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)), nn.Linear(4, 2))
    set_trainable(network, ("1.weight", "1.bias"))

    set_mode(network, batch_images=32)

    assert network.training
    assert not network[0][1].training


def test_a_stage_without_a_parameter_to_train_is_refused_by_name():
    network, groups = small_network()
    empty = (groups[0], LayerGroup("head", ()))

    with pytest.raises(UserError, match=r"stage 'head' has no parameter to train; choose another train\.strategy"):
        trainable_names(network, empty, HEAD_ONLY)
