import json

import pytest
import safetensors.torch
import torch

from infra.errors import UserError
from models import backbone

SMALL = ("test_resnet", "test_vit", "test_byobnet", "test_convnext", "test_efficientnet")


@pytest.mark.parametrize("name", SMALL)
def test_groups_cover_every_parameter_once_and_end_with_the_head(name):
    model = backbone.build(name, {}, 3)

    groups = backbone.layer_groups(model)

    names = [parameter for group in groups for parameter in group.parameters]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert groups[-1].parameters == backbone.head_parameters(model)
    assert len(groups) >= 4


def test_an_unknown_network_brings_a_suggestion():
    with pytest.raises(UserError, match="'test_resnett' is not a timm network; did you mean 'test_resnet'"):
        backbone.build("test_resnett", {}, 3)


def test_options_that_the_network_does_not_take_are_named():
    with pytest.raises(UserError, match=r"test_resnet cannot be built with model\.options {'colour': 'red'}"):
        backbone.build("test_resnet", {"colour": "red"}, 3)


def saved(path, classes: tuple[str, ...], **texts: str):
    torch.manual_seed(1)
    model = backbone.build("test_resnet", {}, len(classes))
    safetensors.torch.save_file(model.state_dict(), path, {"classes": json.dumps(classes), **texts})
    return backbone.read_weights(path)


def test_a_pretrained_file_fills_all_but_the_head(tmp_path):
    weights = saved(tmp_path / "other.safetensors", ("a", "b", "c", "d"))
    model = backbone.build("test_resnet", {}, 3)
    head = model.get_classifier().weight.clone()

    backbone.load_pretrained(model, weights)

    assert torch.equal(model.state_dict()["conv1.0.weight"], weights.tensors["conv1.0.weight"])
    assert torch.equal(model.get_classifier().weight, head)


def test_a_champions_head_is_matched_by_class_name(tmp_path):
    weights = saved(tmp_path / "champion.safetensors", ("cat", "dog"))
    model = backbone.build("test_resnet", {}, 3)

    backbone.load_champion(model, weights, ("ant", "cat", "dog"))

    assert torch.equal(model.get_classifier().weight[1:], weights.tensors["fc.weight"])


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    weights = saved(tmp_path / "champion.safetensors", ("cat", "dog"))

    with pytest.raises(UserError, match="does not fit VisionTransformer") as caught:
        backbone.load_pretrained(backbone.build("test_vit", {}, 2), weights)

    assert "model.backbone and model.options must be those the weights were made with" in str(caught.value)


def test_damaged_and_missing_weights_are_refused(tmp_path):
    (tmp_path / "damaged.safetensors").write_bytes(b"not tensors at all")

    with pytest.raises(UserError, match="is damaged or of another kind"):
        backbone.read_weights(tmp_path / "damaged.safetensors")
    with pytest.raises(UserError, match="does not exist"):
        backbone.read_weights(tmp_path / "gone.safetensors")


def test_a_weights_file_says_how_its_images_were_prepared(tmp_path):
    weights = saved(tmp_path / "w.safetensors", ("a", "b"), mean="0.1,0.2,0.3", std="0.4,0.5,0.6")

    prepared = backbone.network_input(backbone.build("test_resnet", {}, 2), weights)

    assert (prepared.mean, prepared.std, prepared.image_size) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 160)
