"""Two real processes with gloo, started as torchrun starts them."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.training.loop import train
from models.training.report import read_report
from tests.models import coloured_cards as cards

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def torchrun(*arguments: str, returncode: int = 0) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*TORCHRUN, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == returncode, done.stderr
    return done.stderr


@pytest.mark.slow
def test_after_each_unfreeze_two_ranks_have_the_gradients_of_one(tmp_path):
    torchrun(str(Path(__file__).with_name("two_ranks.py")), str(tmp_path / "found.json"))

    found = json.loads((tmp_path / "found.json").read_text())

    assert [stage["trained"] for stage in found] == sorted({stage["trained"] for stage in found})
    assert len(found) == 3
    for stage in found:
        assert stage["size"] > 1e-3, "gradients of nothing would be equal, too"
        assert stage["between"] == 0
        assert stage["alone"] < 1e-5


@pytest.mark.slow
def test_a_job_on_two_ranks_learns_what_one_learns(tmp_path):
    # Without BatchNorm, augmentation and dropout the two differ by rounding alone.
    plan = replace(cards.PLAN, backbone="test_vit", image_size=32, strategy="full", augmentation="none", batch_images=8)
    alone, together = (cards.run_folder(tmp_path / name, plan) for name in ("alone", "together"))

    train(alone)
    torchrun("-m", "models.training", "--run-dir", str(together))

    assert (
        read_report(together / "candidate").select_macro_recall == read_report(alone / "candidate").select_macro_recall
    )
    expected, found = cards.weights(alone), cards.weights(together)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_staged_training_on_two_ranks_ends_with_a_candidate_and_one_account_of_it(tmp_path):
    plan = replace(cards.PLAN, start="champion", strategy="staged")
    champion = cards.run_folder(tmp_path / "champion")
    train(champion)
    folder = cards.successor(tmp_path / "run", champion, plan)

    torchrun("-m", "models.training", "--run-dir", str(folder))

    told = [(line["stage"], line["epoch"]) for line in cards.progress(folder) if line["kind"] == "epoch"]
    assert len(told) == len(set(told)), "only the first process tells"
    assert read_report(folder / "candidate").select_macro_recall > 0.9


@pytest.mark.slow
def test_two_ranks_that_diverge_stop_together_and_say_so(tmp_path):
    folder = cards.run_folder(tmp_path / "run", replace(cards.PLAN, learning_rate=1e30))

    said = torchrun("-m", "models.training", "--run-dir", str(folder), returncode=1)

    assert "lower train.learning_rate (now 1e+30)" in said
    told = [line["words"] for line in cards.progress(folder) if line["kind"] == "remark"]
    assert told == ["The loss was no longer a number in stage 'whole network'; it begins again at a fifth of the rate."]
