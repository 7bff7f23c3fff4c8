import json

import pytest
import safetensors.torch

from infra.errors import UserError
from models.backbone import WeightsOutOfReach, build, network_input
from models.weights import read_weights


def test_an_unknown_network_brings_a_suggestion():
    with pytest.raises(UserError, match="'test_resnett' is not a timm network; did you mean 'test_resnet'"):
        build("test_resnett", {}, 3)


def test_options_that_the_network_does_not_take_are_named():
    with pytest.raises(UserError, match=r"test_resnet cannot be built with model\.options {'colour': 'red'}"):
        build("test_resnet", {"colour": "red"}, 3)


def test_an_option_that_is_wrong_is_not_mistaken_for_weights_out_of_reach():
    with pytest.raises(UserError, match=r"cannot be built with model\.options {'colour': 'red'}"):
        build("test_resnet", {"colour": "red"}, 3, pretrained=True)


def test_a_network_of_which_there_are_no_pretrained_weights_says_so():
    with pytest.raises(WeightsOutOfReach, match="No pretrained weights exist for test_vit_relpos"):
        build("test_vit_relpos", {}, 3, pretrained=True)


def test_dropout_and_drop_path_reach_the_network():
    model = build("test_vit", {}, 3, dropout=0.25, drop_path=0.1)

    assert model.head_drop.p == 0.25
    assert any(type(module).__name__ == "DropPath" for module in model.modules())


def test_a_network_that_takes_no_drop_path_names_the_setting():
    with pytest.raises(UserError, match=r"vgg11 takes no drop_path_rate; set train\.drop_path to 0"):
        build("vgg11", {}, 3, drop_path=0.1)


def test_a_rate_that_is_set_twice_is_refused():
    with pytest.raises(UserError, match=r"sets drop_rate = 0\.5 and train\.dropout = 0\.2; keep one of them"):
        build("test_resnet", {"drop_rate": 0.5}, 3, dropout=0.2)


def test_a_weights_file_says_how_its_images_were_prepared(tmp_path):
    model = build("test_resnet", {}, 2)
    texts = {"classes": json.dumps(("a", "b")), "mean": "0.1,0.2,0.3", "std": "0.4,0.5,0.6"}
    safetensors.torch.save_file(model.state_dict(), tmp_path / "w.safetensors", texts)

    prepared = network_input(model, read_weights(tmp_path / "w.safetensors"))

    assert (prepared.mean, prepared.std, prepared.image_size) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 160)
