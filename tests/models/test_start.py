import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from infra.errors import UserError
from models.backbone import build
from models.training.plan import TrainingPlan
from models.training.start import starting_network

# A network of which timm has no weights at all, so they are out of reach on any machine.
PLAN = TrainingPlan("test_vit_relpos", ("a", "b", "c"), start="timm-if-reachable", licence="cc-by-nc-4.0")


def test_weights_that_cannot_be_had_may_be_done_without_but_loudly(tmp_path):
    start = starting_network(PLAN, tmp_path)

    assert start.scratch
    assert "pretrained weights of test_vit_relpos cannot be fetched" in start.remark
    assert "trained from scratch" in start.remark
    assert start.licence == "none"  # the licence of the plan is that of the weights it did not get
    assert json.loads((tmp_path / "start.json").read_text())["scratch"] is True


def test_who_insists_on_them_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"set model\.weights to a \.safetensors file of this network"):
        starting_network(replace(PLAN, start="timm"), tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_resumed_job_begins_with_the_same_numbers_and_remark(tmp_path):
    first = starting_network(PLAN, tmp_path)
    torch.manual_seed(123)  # whatever has happened meanwhile

    again = starting_network(PLAN, tmp_path)

    assert again.remark == first.remark
    assert all(torch.equal(*pair) for pair in zip(first.model.parameters(), again.model.parameters(), strict=True))


def test_what_was_decided_once_in_a_run_is_kept_when_the_weights_can_be_had_or_not(tmp_path):
    (tmp_path / "start.json").write_text(json.dumps({"scratch": False, "remark": ""}))

    with pytest.raises(UserError, match="cannot be fetched"):
        starting_network(PLAN, tmp_path)


def reachable(folder: Path) -> TrainingPlan:
    """Of a network whose pretrained weights lie at hand, as in the hub's cache."""
    torch.manual_seed(7)
    safetensors.torch.save_file(build("test_resnet", {}, 1000).state_dict(), folder / "hub.safetensors")
    overlay = {"pretrained_cfg_overlay": {"file": str(folder / "hub.safetensors")}}
    return TrainingPlan("test_resnet", ("a", "b"), options=overlay, start="timm-if-reachable")


def test_weights_that_can_be_had_are_used_under_their_licence(tmp_path):
    start = starting_network(reachable(tmp_path), tmp_path)

    pretrained = safetensors.torch.load_file(tmp_path / "hub.safetensors")
    assert torch.equal(start.model.conv1[0].weight, pretrained["conv1.0.weight"])
    assert not start.model.fc.weight.any()  # a new head that says nothing yet
    assert (start.scratch, start.remark, start.licence) == (False, "", "apache-2.0")
    assert json.loads((tmp_path / "start.json").read_text())["scratch"] is False


def test_a_run_that_began_from_scratch_does_not_change_its_mind(tmp_path):
    plan = reachable(tmp_path)
    (tmp_path / "start.json").write_text(json.dumps({"scratch": True, "remark": "There were none."}))

    start = starting_network(plan, tmp_path)

    pretrained = safetensors.torch.load_file(tmp_path / "hub.safetensors")
    assert not torch.equal(start.model.conv1[0].weight, pretrained["conv1.0.weight"])
    assert (start.scratch, start.remark) == (True, "There were none.")


def test_from_scratch_by_plan_needs_no_remark(tmp_path):
    start = starting_network(replace(PLAN, start="scratch"), tmp_path)

    assert (start.scratch, start.remark, start.licence) == (True, "", "none")


def test_weights_from_a_file_bring_their_licence_and_no_remark(tmp_path):
    model = build("test_resnet", {}, 5)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "w.safetensors", {"license": "mit"})
    plan = TrainingPlan("test_resnet", ("a", "b"), start="pretrained:w.safetensors")

    start = starting_network(plan, tmp_path)

    assert (start.scratch, start.remark, start.licence) == (False, "", "mit")
    assert torch.equal(start.model.conv1[0].weight, model.conv1[0].weight)


def test_dropout_and_drop_path_of_the_plan_reach_the_network(tmp_path):
    plan = TrainingPlan("test_vit", ("a", "b"), dropout=0.3, drop_path=0.2)

    model = starting_network(plan, tmp_path).model

    assert model.head_drop.p == 0.3
    assert any(type(module).__name__ == "DropPath" for module in model.modules())


SCRIPT = """
import sys
from pathlib import Path
from infra.errors import UserError
from models.training.hub import stay_offline_without_network
from models.training.plan import TrainingPlan

plan = TrainingPlan("test_resnet", ("a", "b"), start=sys.argv[2])
stay_offline_without_network(plan)
from models.training.start import starting_network
try:
    start = starting_network(plan, Path(sys.argv[1]))
except UserError as problem:
    print("refused:", problem)
else:
    print(start.scratch, start.remark)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wish", "answer"),
    [
        ("timm", "refused: the pretrained weights of test_resnet cannot be fetched ("),
        ("timm-if-reachable", "True The pretrained weights of test_resnet cannot be fetched ("),
    ],
)
def test_a_hub_that_does_not_answer_is_told_in_one_sentence(tmp_path, wish, answer):
    with socket.socket() as taken:  # bound but not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        environment |= {
            "HF_ENDPOINT": f"http://127.0.0.1:{taken.getsockname()[1]}",
            "HF_HOME": str(tmp_path / "cache"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path), wish],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    assert done.stdout.startswith(answer), done.stderr
    assert "Traceback" not in done.stderr
