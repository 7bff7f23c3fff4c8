from itertools import pairwise

import pytest
import timm
import torch
from torch import nn

from infra.errors import UserError
from models.backbone import build
from models.layer_groups import (
    LayerGroup,
    class_parameters,
    head_parameters,
    layer_groups,
    norm_parameters,
    unfreezing_steps,
)

# Network, a parameter of the first group, and those whose shape follows the classes.
QUICK = (
    ("test_resnet", "conv1.0.weight", "fc"),
    ("test_vit", "cls_token", "head"),
    ("test_vit2", "reg_token", "head"),
    ("test_byobnet", "stem.conv.weight", "head.fc"),
    ("test_convnext", "stem.0.weight", "head.fc"),
    ("test_efficientnet", "conv_stem.weight", "classifier"),
    ("test_nfnet", "stem.conv1.weight", "head.fc"),
    ("resnet18", "conv1.weight", "fc"),
    ("mobilenetv3_small_050", "conv_stem.weight", "classifier"),
    ("vit_tiny_patch16_224", "pos_embed", "head"),
    ("poolformer_s12", "stem.conv.weight", "head.fc"),
    ("pit_ti_distilled_224", "pos_embed", "head head_dist"),
    ("levit_128s", "stem.conv1.linear.weight", "head.linear head_dist.linear"),
)
MORE = (
    ("test_mambaout", "stem.conv1.weight", "head.fc"),
    ("test_vit_relpos", "patch_embed.proj.weight", "head"),
    ("resnet50", "conv1.weight", "fc"),
    ("resnetv2_50", "stem.conv.weight", "head.fc"),
    ("seresnet18", "conv1.weight", "fc"),
    ("efficientnet_b0", "conv_stem.weight", "classifier"),
    ("tf_efficientnetv2_b0", "conv_stem.weight", "classifier"),
    ("mobilenetv2_100", "conv_stem.weight", "classifier"),
    ("mobilenetv3_small_100", "conv_stem.weight", "classifier"),
    ("mobilenetv4_conv_small", "conv_stem.weight", "classifier"),
    ("mobileone_s0", "stem.conv_kxk.0.conv.weight", "head.fc"),
    ("convnext_atto", "stem.0.weight", "head.fc"),
    ("convnextv2_atto", "stem.0.weight", "head.fc"),
    ("vit_small_r26_s32_224", "cls_token", "head"),
    ("vit_base_patch16_reg4_gap_256", "reg_token", "head"),
    ("deit_tiny_distilled_patch16_224", "dist_token", "head head_dist"),
    ("beit_base_patch16_224", "cls_token", "head"),
    ("eva02_tiny_patch14_224", "cls_token", "head"),
    ("swin_tiny_patch4_window7_224", "patch_embed.proj.weight", "head.fc"),
    ("swinv2_tiny_window8_256", "patch_embed.proj.weight", "head.fc"),
    ("regnetx_002", "stem.conv.weight", "head.fc"),
    ("regnety_002", "stem.conv.weight", "head.fc"),
    ("densenet121", "features.conv0.weight", "classifier"),
    ("vgg11", "features.0.weight", "head.fc"),
    ("dla34", "base_layer.0.weight", "fc"),
    ("hrnet_w18_small", "conv1.weight", "classifier"),
    ("inception_v3", "Conv2d_1a_3x3.conv.weight", "fc"),
    ("nf_resnet26", "stem.conv.weight", "head.fc"),
    ("ghostnet_050", "conv_stem.weight", "classifier"),
    ("lcnet_050", "conv_stem.weight", "classifier"),
    ("rexnet_100", "stem.conv.weight", "head.fc"),
    ("cspresnet50", "stem.conv1.conv.weight", "head.fc"),
    ("hgnet_tiny", "stem.stem.0.conv.weight", "head.fc"),
    ("repvit_m0_9", "stem.conv1.c.weight", "head.head.l head.head_dist.l"),
    ("efficientformer_l1", "stem.conv1.weight", "head head_dist"),
    ("efficientvit_b0", "stem.in_conv.conv.weight", "head.classifier.4"),
    ("edgenext_xx_small", "stem.0.weight", "head.fc"),
    ("caformer_s18", "stem.conv.weight", "head.fc.fc2"),
    ("convformer_s18", "stem.conv.weight", "head.fc.fc2"),
    ("pit_ti_224", "pos_embed", "head"),
    ("mixer_s32_224", "stem.proj.weight", "head"),
    ("xcit_nano_12_p8_224", "cls_token", "head"),
    ("cait_xxs24_224", "pos_embed", "head"),
    ("volo_d1_224", "patch_embed.conv.0.weight", "aux_head head"),
    ("crossvit_9_240", "cls_token_0", "head.0 head.1"),
    ("rdnet_tiny", "stem.0.weight", "head.fc"),
    ("csatv2", "stem_dct.conv_y.weight", "head.fc"),
    ("tiny_vit_5m_224", "patch_embed.conv1.conv.weight", "head.fc"),
    ("maxvit_rmlp_pico_rw_256", "stem.conv1.weight", "head.fc"),
)


def on_paper(name: str, classes: int) -> nn.Module:
    """The network without memory for its weights: names and shapes are all that is asked."""
    with torch.device("meta"):
        return build(name, {}, classes)


@pytest.mark.parametrize(
    ("name", "stem", "outputs"), [*QUICK, *(pytest.param(*row, marks=pytest.mark.slow) for row in MORE)]
)
def test_every_parameter_is_in_one_group_from_stem_to_head(name, stem, outputs):
    model = on_paper(name, 3)
    shapes = {key: value.shape for key, value in model.named_parameters()}
    wider = {key: value.shape for key, value in on_paper(name, 5).named_parameters()}

    found = layer_groups(model)

    named = [parameter for group in found for parameter in group.parameters]
    assert sorted(named) == sorted(shapes)
    assert all(group.parameters for group in found)
    assert len(found) >= 5
    assert stem in found[0].parameters
    assert found[-1] == LayerGroup("head", head_parameters(model))
    following = [key for key in shapes if shapes[key] != wider[key]]
    assert following == list(class_parameters(model))
    assert {key.rpartition(".")[0] for key in following} == set(outputs.split())
    assert set(following) <= set(found[-1].parameters)


def test_sixty_networks_are_in_the_table():
    assert len({row[0] for row in (*QUICK, *MORE)}) >= 60


def test_the_head_with_hidden_layers_holds_them_but_their_rows_are_no_classes():
    head = set(layer_groups(on_paper("caformer_s18", 3))[-1].parameters)

    assert {"head.fc.fc1.weight", "head.fc.norm.weight", "head.fc.fc2.weight"} <= head
    assert class_parameters(on_paper("caformer_s18", 2048)) == ("head.fc.fc2.weight", "head.fc.fc2.bias")


@pytest.mark.parametrize("name", ["gemma4_vit_167m_enc", "qwen3_vit_88m_enc"])
def test_an_encoder_without_classifier_is_refused_by_name_with_the_remedy(name):
    if not timm.is_model(name):
        pytest.skip("this timm does not have it yet")
    with pytest.raises(UserError, match=rf"^{name} is an encoder without a classifier.*set model\.backbone to"):
        on_paper(name, 3)


class Plain(nn.Module):
    """A network of nobody's library: blocks in a row, without a word about how to group them."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(4))
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(blocks))
        self.head = nn.Linear(4, 3)

    def get_classifier(self) -> nn.Module:
        return self.head


def test_a_network_that_does_not_group_itself_is_cut_at_its_blocks():
    groups = layer_groups(Plain(3))

    assert [group.name for group in groups] == ["token", "blocks.1", "blocks.2", "head"]
    assert groups[0].parameters == ("token", "blocks.0.weight", "blocks.0.bias")


def test_a_network_without_blocks_is_cut_into_equal_shares():
    model = Plain(1)
    model.blocks = nn.Sequential(nn.Sequential(*(nn.Linear(4, 4) for _ in range(9))))

    groups = layer_groups(model)

    assert len(groups) == 7
    assert groups[-1].name == "head"
    assert {len(group.parameters) for group in groups[:-1]} <= {2, 3, 4}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test_resnet", {"bn1.weight", "bn1.bias"}),
        ("resnetv2_50x1_bit", {"stages.0.blocks.0.norm1.weight", "norm.bias"}),
        ("vit_tiny_patch16_224", {"blocks.0.norm1.weight", "norm.bias"}),
        ("convnext_atto_rms", {"stem.1.weight", "stages.0.blocks.0.norm.weight"}),
        ("mobilenetv3_small_050", {"bn1.weight", "blocks.0.0.bn1.weight"}),
        ("resnetv2_50d_frn", {"stages.0.blocks.0.norm1.weight", "stages.0.blocks.0.norm1.tau"}),
        ("resnetv2_50d_evos", {"stages.0.blocks.0.norm1.weight", "stages.0.blocks.0.norm1.v"}),
    ],
)
def test_the_parameters_of_normalisation_are_found_whatever_their_kind(name, expected):
    model = on_paper(name, 3)

    found = norm_parameters(model)

    assert expected <= set(found)
    shapes = {key: value.ndim for key, value in model.named_parameters()}
    assert all(shapes[key] <= 1 for key in found)
    assert len(found) == len(set(found))


def test_a_network_without_normalisation_has_no_such_parameters():
    assert norm_parameters(on_paper("vgg11", 3)) == ()


def of_sizes(*sizes: int) -> list[LayerGroup]:
    """A body with so many tensors in its groups, and a head."""
    return [LayerGroup(str(size), ("parameter",) * size) for size in (*sizes, 2)]


@pytest.mark.parametrize(
    ("sizes", "steps", "expected"),
    [
        ((3, 12, 15, 15, 15), 1, (0,)),
        ((3, 12, 15, 15, 15), 2, (3, 0)),
        ((3, 12, 15, 15, 15), 4, (4, 3, 2, 0)),
        ((4, *(12,) * 12), 4, (10, 7, 4, 0)),  # a ViT's blocks in quarters
        ((4, *(12,) * 12, 2), 4, (10, 7, 4, 0)),  # its last norm goes with the last blocks
        ((4, 12, 12), 9, (2, 1, 0)),  # no more steps than groups
        ((5,), 3, (0,)),
        ((), 2, ()),
    ],
)
def test_unfreezing_goes_down_in_steps_of_about_the_same_depth(sizes, steps, expected):
    assert unfreezing_steps(of_sizes(*sizes), steps) == expected


@pytest.mark.parametrize("groups", range(2, 67))
def test_every_number_of_groups_and_steps_ends_at_the_stem(groups):
    sizes = [1 + (7 * number) % 5 for number in range(groups - 1)]
    for steps in range(1, 8):
        found = unfreezing_steps(of_sizes(*sizes), steps)

        assert len(found) == min(steps, groups - 1)
        assert found[0] < groups - 1
        assert found[-1] == 0
        assert all(above > below for above, below in pairwise(found))
