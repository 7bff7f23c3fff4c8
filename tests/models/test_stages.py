import pytest
import torch
from torch import nn

from models.backbone import LayerGroup
from models.training.augmentation import augment
from models.training.freezing import build_optimizer, set_mode, set_trainable
from models.training.selection import select_score
from models.training.stages import Stage, learning_rate, plan_stages

HEAD_ONLY = Stage(0, "head", 1, head_only=True, rate=1.0, spread=100.0)


def small_network() -> tuple[nn.Module, tuple[LayerGroup, ...]]:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    groups = (
        LayerGroup("body", ("0.weight", "0.bias", "1.weight", "1.bias")),
        LayerGroup("head", ("3.weight", "3.bias")),
    )
    return network, groups


def test_staged_training_goes_from_the_head_downwards():
    stages = plan_stages(9, "staged", "timm")

    assert [stage.first_group for stage in stages] == [8, 4, 0]
    assert [stage.head_only for stage in stages] == [True, False, False]


@pytest.mark.parametrize("groups", range(2, 70))
def test_whatever_the_number_of_groups_the_last_stage_trains_all(groups):
    for start in ("timm", "champion"):
        stages = plan_stages(groups, "staged", start)

        firsts = [stage.first_group for stage in stages]
        assert 2 <= len(stages) <= 3
        assert firsts == sorted(set(firsts), reverse=True)
        assert firsts[-1] == 0


@pytest.mark.parametrize("strategy", ["staged", "full", "head", "scratch"])
def test_from_scratch_nothing_is_frozen(strategy):
    (stage,) = plan_stages(6, strategy, "scratch")

    assert (stage.first_group, stage.spread) == (0, 1.0)


def test_the_learning_rate_falls_a_hundredfold_from_head_to_stem():
    stage = Stage(0, "whole network", 0, head_only=False, rate=1.0, spread=100.0)

    rates = [learning_rate(stage, group, 6, 40, 100, 0.001) for group in range(6)]

    assert rates == sorted(rates)
    assert rates[5] / rates[0] == pytest.approx(100)


def test_the_learning_rate_rises_then_falls_to_almost_nothing():
    stage = Stage(0, "whole network", 0, head_only=False, rate=1.0, spread=1.0)

    rates = [learning_rate(stage, 0, 6, update, 100, 1.0) for update in range(100)]

    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == pytest.approx(1.0)
    assert rates[99] < 0.02


def test_a_frozen_group_has_no_learning_rate():
    assert learning_rate(HEAD_ONLY, 0, 2, 5, 10, 1.0) == 0.0


def test_what_is_frozen_does_not_move_not_even_by_decay_or_in_its_statistics():
    torch.manual_seed(0)
    network, groups = small_network()
    optimizer = build_optimizer(network, groups, weight_decay=0.1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    set_trainable(network, groups, HEAD_ONLY)
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


def test_select_scores_weigh_every_class_alike():
    logits = torch.tensor([[2.0, 0, 0], [2, 0, 0], [2, 0, 0], [2, 0, 0]])

    score = select_score(logits, torch.tensor([0, 0, 0, 1]))

    assert (score.accuracy, score.macro_recall) == (0.75, 0.5)


@pytest.mark.parametrize("preset", ["light", "strong"])
def test_augmentation_varies_images_and_is_repeatable(preset):
    batch = torch.randint(0, 256, (5, 16, 16, 3), dtype=torch.uint8)

    first, again, other = (augment(batch, preset, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))

    assert first.shape == (5, 3, 16, 16)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0 <= first.min() <= first.max() <= 255


def test_light_augmentation_leaves_an_image_recognisable():
    batch = torch.zeros(64, 32, 32, 3, dtype=torch.uint8)
    batch[:, 10:22, 10:22] = 200

    moved = augment(batch, "light", torch.Generator().manual_seed(0))

    assert (moved[:, :, 13:19, 13:19].mean(dim=(1, 2, 3)) > 150).all()
    assert (moved[:, :, :3, :3].mean(dim=(1, 2, 3)) < 60).all()


def test_no_augmentation_changes_nothing():
    batch = torch.randint(0, 256, (5, 8, 8, 3), dtype=torch.uint8)

    assert torch.equal(augment(batch, "none", torch.Generator()), batch.permute(0, 3, 1, 2).float())
