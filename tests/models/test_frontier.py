"""Any timm classifier in two parts: what is frozen, and what trains."""

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layer_groups import layer_groups
from models.training.freezing import set_mode
from models.training.frozen.frontier import NoSplit, Split, split

# The smallest of their classes in timm, with the size of image that they are quick with.
QUICK = (
    "test_resnet", "test_vit", "test_convnext", "test_efficientnet", "test_mambaout", "test_byobnet", "test_coatnet",
    "test_vit_relpos", "lcnet_035", "starnet_s050", "edgenext_xx_small", "levit_128s",
)  # fmt: skip
OTHERS = (
    "test_nfnet", "dla46x_c", "ese_vovnet19b_slim_dw", "cpubone_nano", "resnetv2_18", "hgnetv2_b0",
    "legacy_seresnet18", "repghostnet_050", "efficientvit_b0", "ghostnet_050", "poolformerv2_s12", "csatv2",
    "cait_xxs24_224", "inception_next_atto", "fasternet_t0", "cspnext_tiny",
    "pvt_v2_b0", "densenet121", "gmlp_ti16_224", "regnetx_002",
    "cs3darknet_focus_s", "efficientvit_m0", "convit_tiny", "shvit_s1", "rexnet_100", "swiftformer_xs",
    "vit_tiny_patch16_dinov3_qkvb", "deit_tiny_distilled_patch16_224",
)  # fmt: skip
# Several tensors pass their frontier, or tuples.
UNCUT = (("coat_tiny", 224, 2), ("crossvit_tiny_240", 240, 1), ("efficientvim_m1", 64, 1))
SIZE = 64


def network(name: str, size: int = SIZE, **options: float) -> nn.Module:
    torch.manual_seed(0)
    try:
        return timm.create_model(name, num_classes=5, img_size=size, **options)
    except TypeError:
        return timm.create_model(name, num_classes=5, **options)


def top_trains(model: nn.Module, groups: int) -> set[str]:
    names = {name for group in layer_groups(model)[-groups:] for name in group.parameters}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    set_mode(model, batch_images=32)
    return names


def images(count: int, size: int = SIZE) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))


def assert_parts_give_the_whole(name: str, *depths: int) -> None:
    model = network(name)
    for groups in depths:
        parts = split(model, top_trains(model, groups), images(4))

        assert isinstance(parts, Split), (name, groups, parts)
        model.eval()
        with torch.no_grad():
            for count in (2, 5):
                given = images(count)
                torch.testing.assert_close(parts.suffix(parts.prefix(given)), model(given), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", QUICK)
def test_the_parts_give_what_the_whole_gives(name):
    assert_parts_give_the_whole(name, 1, 2, 3)


# All depths of so many networks take minutes; here each network has one of them, and each depth a third of them.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "depth"), [(name, 1 + number % 3) for number, name in enumerate(OTHERS)])
def test_the_parts_of_less_common_networks_give_what_the_whole_gives(name, depth):
    assert_parts_give_the_whole(name, depth)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "groups"), UNCUT)
def test_a_network_that_cannot_be_cut_says_why(name, size, groups):
    model = network(name, size)

    found = split(model, top_trains(model, groups), images(4, size))

    assert isinstance(found, NoSplit)
    assert "frontier" in found.reason


def test_the_frontier_lies_where_training_begins():
    model = network("test_resnet")
    frontiers = []
    for groups in (1, 2, 3):
        parts = split(model, top_trains(model, groups), images(4))
        assert isinstance(parts, Split)
        frontiers.append(parts.frontier)

    assert frontiers == ["network_global_pool", "network_layer3", "network_layer2"]


def test_nothing_frozen_cannot_be_cut():
    model = network("test_resnet")

    found = split(model, top_trains(model, 6), images(4))

    assert found == NoSplit("nothing is frozen between the images and what trains")


def test_the_parts_follow_the_weights_of_the_network():
    model = network("test_vit")
    parts = split(model, top_trains(model, 2), images(4))
    assert isinstance(parts, Split)

    torch.manual_seed(9)
    model.load_state_dict(timm.create_model("test_vit", num_classes=5, img_size=SIZE).state_dict())

    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(parts.suffix(parts.prefix(images(3))), model(images(3)))


def test_batch_norm_that_trains_learns_from_what_passes_and_frozen_does_not():
    model = network("test_resnet")
    parts = split(model, top_trains(model, 2), images(4))
    assert isinstance(parts, Split)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}

    parts.suffix(parts.prefix(images(4)))

    changed = {
        name.partition(".")[0] for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])
    }
    assert changed == {"layer4"}


@pytest.mark.parametrize(
    ("name", "option"),
    [("test_resnet", "drop_rate"), ("test_vit", "drop_rate"), ("test_vit", "drop_path_rate"),
     ("test_convnext", "drop_path_rate"), ("test_convnext", "drop_rate")],
)  # fmt: skip
def test_what_is_left_out_by_chance_is_left_out_of_what_trains_only_and_only_in_training(name, option):
    model = network(name, **{option: 0.5})
    parts = split(model, top_trains(model, 3), images(4))
    assert isinstance(parts, Split)
    with torch.no_grad():
        given = parts.prefix(images(4))
        assert torch.equal(given, parts.prefix(images(4)))

        training = [parts.suffix(given) for _ in range(2)]
        model.eval()
        evaluation = [parts.suffix(given) for _ in range(2)]

    assert not torch.equal(*training)
    assert torch.equal(*evaluation)


def test_after_chance_nothing_is_computed_once():
    model = network("test_vit", pos_drop_rate=0.5)

    parts = split(model, top_trains(model, 2), images(4))

    assert isinstance(parts, Split)
    assert not any("blocks" in name for name in parts.prefix.state_dict())


class Hurried(nn.Module):
    """Behaves otherwise in training by code of its own, in a module that the frontier runs through."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, given: Tensor) -> Tensor:
        features = self.body(self.stem(given).relu())
        if self.training:
            features = functional.dropout(features * 2, p=0.5, training=self.training)
        return self.fc(features.mean((2, 3)))


def test_code_that_asks_whether_it_trains_is_asked_in_both_modes():
    model = Hurried()
    for parameter in model.stem.parameters():
        parameter.requires_grad_(False)
    set_mode(model, 32)

    parts = split(model, ["body.weight", "body.bias", "fc.weight", "fc.bias"], images(4))

    assert isinstance(parts, Split)
    assert parts.frontier == "relu"
    with torch.no_grad():
        given = parts.prefix(images(4))
        assert not torch.equal(parts.suffix(given), parts.suffix(given))
        model.eval()
        torch.testing.assert_close(parts.suffix(given), model(images(4)))


class Unsteady(nn.Module):
    """Frozen layers that give other features in training than in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, given: Tensor) -> Tensor:
        features = self.stem(given)
        return self.fc((features * 2 if self.training else features).mean((2, 3)))


def test_frozen_layers_that_depend_on_the_mode_are_not_computed_once():
    model = Unsteady()
    for parameter in model.stem.parameters():
        parameter.requires_grad_(False)
    set_mode(model, 32)

    found = split(model, ["fc.weight", "fc.bias"], images(4))

    assert isinstance(found, NoSplit)


class Undecided(nn.Module):
    """Looks at its values to decide what to do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, given: Tensor) -> Tensor:
        features = self.stem(given).mean((2, 3))
        return self.fc(features if features.sum() > 0 else -features)


def test_code_that_looks_at_its_values_cannot_be_cut():
    model = Undecided()
    for parameter in model.stem.parameters():
        parameter.requires_grad_(False)
    modes = [module.training for module in model.modules()]

    found = split(model, ["fc.weight", "fc.bias"], images(4))

    assert isinstance(found, NoSplit)
    assert "it cannot be traced" in found.reason
    assert [module.training for module in model.modules()] == modes
