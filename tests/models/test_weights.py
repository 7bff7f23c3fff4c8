import json

import pytest
import safetensors.torch
import torch

from infra.errors import UserError
from models.backbone import build
from models.layer_groups import class_parameters
from models.weights import WeightsFile, calm_head, load_champion, load_pretrained, read_weights


def saved(path, classes: tuple[str, ...], backbone: str = "test_resnet", **texts: str) -> WeightsFile:
    torch.manual_seed(1)
    model = build(backbone, {}, len(classes))
    safetensors.torch.save_file(model.state_dict(), path, {"classes": json.dumps(classes), **texts})
    return read_weights(path)


def test_a_pretrained_file_fills_all_but_the_head(tmp_path):
    weights = saved(tmp_path / "other.safetensors", ("a", "b", "c", "d"))
    model = build("test_resnet", {}, 3)
    head = model.get_classifier().weight.clone()

    load_pretrained(model, weights)

    assert torch.equal(model.state_dict()["conv1.0.weight"], weights.tensors["conv1.0.weight"])
    assert torch.equal(model.get_classifier().weight, head)


def test_a_pretrained_file_without_a_head_will_do(tmp_path):
    whole = saved(tmp_path / "other.safetensors", ("a", "b"))
    bare = WeightsFile(whole.path, {key: value for key, value in whole.tensors.items() if key[:3] != "fc."}, {})
    model = build("test_resnet", {}, 3)

    load_pretrained(model, bare)

    assert torch.equal(model.state_dict()["conv1.0.weight"], whole.tensors["conv1.0.weight"])


def test_the_hidden_layers_of_a_head_are_filled_as_well(tmp_path):
    weights = saved(tmp_path / "other.safetensors", ("a", "b"), "caformer_s18")
    model = build("caformer_s18", {}, 3)

    load_pretrained(model, weights)

    assert torch.equal(model.state_dict()["head.fc.fc1.weight"], weights.tensors["head.fc.fc1.weight"])
    assert model.state_dict()["head.fc.fc2.weight"].shape[0] == 3


def test_a_champions_head_is_matched_by_class_name(tmp_path):
    weights = saved(tmp_path / "champion.safetensors", ("cat", "dog"))
    model = build("test_resnet", {}, 3)

    load_champion(model, weights, ("ant", "cat", "dog"))

    assert torch.equal(model.get_classifier().weight[1:], weights.tensors["fc.weight"])


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    weights = saved(tmp_path / "champion.safetensors", ("cat", "dog"))

    with pytest.raises(UserError, match="does not fit VisionTransformer") as caught:
        load_pretrained(build("test_vit", {}, 2), weights)

    assert "model.backbone and model.options must be those the weights were made with" in str(caught.value)


def test_damaged_and_missing_weights_are_refused(tmp_path):
    (tmp_path / "damaged.safetensors").write_bytes(b"not tensors at all")

    with pytest.raises(UserError, match="is damaged or of another kind"):
        read_weights(tmp_path / "damaged.safetensors")
    with pytest.raises(UserError, match="does not exist"):
        read_weights(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("name", ["test_resnet", "poolformer_s12", "caformer_s18", "levit_128s"])
def test_a_calm_head_gives_every_class_the_same_and_can_still_learn(name):
    torch.manual_seed(0)
    model = build(name, {}, 3)

    calm_head(model)

    # In evaluation mode: a batch of two is too little for a BatchNorm's own statistics.
    logits = model.eval()(torch.randn(2, 3, 224, 224))
    assert torch.equal(logits, torch.zeros(2, 3))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    rows = [dict(model.named_parameters())[key] for key in class_parameters(model) if key.endswith("weight")]
    assert all(weight.grad.abs().sum() > 0 for weight in rows)
