"""The licence of pretrained weights: read from timm, and held against what the gate allows."""

import pytest

from models import backbone
from models.gate_records import GateRules


@pytest.mark.parametrize(
    ("network", "licence", "allowed"),
    [("test_resnet.r160_in1k", "apache-2.0", True), ("convnextv2_atto.fcmae_ft_in1k", "cc-by-nc-4.0", False)],
)
def test_a_licence_is_what_timm_says_of_the_weights(network, licence, allowed):
    model = backbone.build(network, {}, 2)

    assert backbone.licence_of(model) == licence
    assert (licence in GateRules().licences) is allowed


def test_where_nobody_names_a_licence_it_is_unknown_and_not_allowed():
    model = backbone.build("test_resnet", {}, 2)
    model.pretrained_cfg = {}

    assert backbone.licence_of(model) == "unknown"
    assert "unknown" not in GateRules().licences
