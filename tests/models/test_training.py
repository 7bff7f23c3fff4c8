"""The training job as its users meet it: a process, a run directory, a candidate."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infra.errors import UserError
from models.training.loop import train
from models.training.plan import write_plan
from models.training.report import read_report
from tests.models.coloured_cards import PLAN, epochs_told, progress, run_folder, start, successor, weights


def finished(champion: Path, folder: Path) -> Path:
    return Path(shutil.copytree(champion, folder))


def test_a_network_learns_three_colours_from_scratch(tmp_path):
    folder = run_folder(tmp_path / "run", replace(PLAN, most_epochs_per_stage=6), images=40)

    report = train(folder)

    assert report.select_macro_recall == 1.0
    assert report.licence == "none"
    assert report.images["role"] == {"select": 30, "train": 90}
    assert read_report(folder / "candidate") == report
    assert [line["epoch"] for line in epochs_told(folder)] == list(range(1, len(epochs_told(folder)) + 1))


def test_a_successor_starts_from_the_champion_in_stages(tmp_path, champion):
    report = train(successor(tmp_path / "run", champion, PLAN))

    assert [stage.name for stage in report.stages] == ["head", "top 3 of 6 groups", "whole network"]
    assert report.select_macro_recall >= read_report(champion / "candidate").select_macro_recall


@pytest.mark.parametrize("strategy", ["full", "layerwise", "surgical", "auto"])
def test_every_strategy_hands_on_a_candidate_no_worse_than_its_start(tmp_path, champion, strategy):
    report = train(successor(tmp_path / "run", champion, replace(PLAN, strategy=strategy)))

    assert report.select_macro_recall >= read_report(champion / "candidate").select_macro_recall


def test_climbing_stops_at_the_first_rung_that_is_good_enough(tmp_path, champion):
    plan = replace(PLAN, strategy="auto", good_enough=0.5, min_precision=0.1, min_recall=0.1)
    folder = successor(tmp_path / "run", champion, plan)

    report = train(folder)

    assert [stage.name for stage in report.stages] == ["statistics"]
    assert any("is enough; not needed: head, top 3 of 6 groups" in line.get("words", "") for line in progress(folder))


@pytest.mark.parametrize(
    "changes",
    [
        {"ema_decay": 0.9},
        {"l2_sp": 0.1, "label_smoothing": 0.1},
        {"mixup": 0.2, "cutmix": 1.0},
        {"imbalance": "sampling", "micro_batch_images": 4},
        {"schedule": "plateau", "metric": "macro_f1"},
        {"batch_images": 0},
        {"dropout": 0.1, "interpolate": True},
    ],
    ids=str,
)
def test_options_train_and_resume_to_the_same_candidate(tmp_path, champion, changes):
    plan = replace(PLAN, strategy="full", **changes)
    folder = successor(tmp_path / "run", champion, plan)

    report = train(folder)

    assert report.select_macro_recall > 0.9
    first = weights(folder)
    shutil.rmtree(folder / "candidate")
    train(folder)
    assert all(torch.equal(first[name], tensor) for name, tensor in weights(folder).items())


def test_bf16_is_not_for_a_cpu_and_the_job_says_so(tmp_path, champion):
    # At 16 pixels the last maps have one, where oneDNN's bf16 gradients hold whatever the memory held.
    folders = {precision: tmp_path / precision for precision in ("fp32", "bf16")}
    for precision, folder in folders.items():
        train(successor(folder, champion, replace(PLAN, strategy="full", precision=precision)))

    told = [line["words"] for line in progress(folders["bf16"]) if line["kind"] == "remark"]
    assert [words[:40] for words in told] == ['train.precision = "bf16" was left out: o']
    asked_for, given = (weights(folder) for folder in folders.values())
    assert all(torch.equal(asked_for[name], given[name]) for name in asked_for)


def test_l2_sp_keeps_the_weights_near_their_start(tmp_path, champion):
    def moved(folder: Path) -> float:
        before, after = weights(champion), weights(folder)
        return sum(float((after[name] - before[name]).norm()) for name in after if name.endswith("conv1.weight"))

    free, held = (
        successor(tmp_path / str(pull), champion, replace(PLAN, strategy="full", l2_sp=pull, clip_norm=0.0))
        for pull in (0.0, 100.0)
    )
    for folder in (free, held):
        train(folder)

    assert moved(held) < moved(free)


def test_the_head_strategy_leaves_the_base_as_it_was(tmp_path, champion):
    folder = successor(tmp_path / "run", champion, replace(PLAN, strategy="head", learning_rate=0.05))

    train(folder)

    before, after = weights(champion), weights(folder)
    assert {name for name in before if not torch.equal(before[name], after[name])} <= {"fc.weight", "fc.bias"}


def test_a_finished_job_run_again_gives_the_same_candidate(tmp_path, champion):
    folder = finished(champion, tmp_path / "run")

    train(folder)

    assert all(torch.equal(weights(champion)[name], tensor) for name, tensor in weights(folder).items())
    assert progress(folder) == progress(champion)


def test_another_class_list_does_not_resume(tmp_path, champion):
    folder = finished(champion, tmp_path / "run")
    text = (folder / "examples.csv").read_text()
    (folder / "examples.csv").write_text(text.replace("dark1.png,dark", "dark1.png,white"))
    write_plan(replace(PLAN, classes=(*PLAN.classes, "white")), folder)

    with pytest.raises(UserError) as caught:
        train(folder)

    assert "classes: was ['dark', 'light', 'red'], is ['dark', 'light', 'red', 'white']" in str(caught.value)


def test_a_budget_that_is_too_small_still_gives_a_candidate(tmp_path):
    folder = run_folder(tmp_path / "run", replace(PLAN, most_epochs_per_stage=500, budget_minutes=0.01))

    report = train(folder)

    assert report.stages[0].ended == "budget"
    assert (folder / "candidate" / "model.safetensors").is_file()


def test_a_damaged_checkpoint_is_named(tmp_path):
    folder = run_folder(tmp_path / "run")
    (folder / "checkpoint.pt").write_bytes(b"half a checkp")

    with pytest.raises(UserError, match=r"checkpoint\.pt is damaged"):
        train(folder)


def test_images_that_cannot_be_read_are_named_together(tmp_path):
    folder = run_folder(tmp_path / "run")
    (folder / "images" / "dark0.png").write_bytes(b"nothing")
    (folder / "images" / "red1.png").unlink()

    with pytest.raises(UserError) as caught:
        train(folder)

    assert "2 of 60 images cannot be read" in str(caught.value)
    assert "images/red1.png: No such file or directory" in str(caught.value)
    assert not (folder / "candidate").exists()


def test_training_that_diverges_begins_again_once_and_then_says_so(tmp_path):
    folder = run_folder(tmp_path / "run", replace(PLAN, learning_rate=1e30))

    with pytest.raises(UserError, match=r"for the second time .* lower train\.learning_rate"):
        train(folder)

    told = [line["words"] for line in progress(folder) if line["kind"] == "remark"]
    assert told == ["The loss was no longer a number in stage 'whole network'; it begins again at a fifth of the rate."]
    assert not (folder / "candidate").exists()


def test_an_unknown_strategy_brings_a_suggestion(tmp_path):
    with pytest.raises(UserError, match=r"strategy 'stage' is not known; .* did you mean 'staged'"):
        write_plan(replace(PLAN, strategy="stage"), tmp_path)

    assert not (tmp_path / "plan.json").exists()


def test_a_class_without_training_images_is_named(tmp_path):
    folder = run_folder(tmp_path / "run", replace(PLAN, classes=("dark", "light", "red", "white")))

    with pytest.raises(UserError, match="classes without an image to train on: white"):
        train(folder)


@pytest.mark.slow
def test_a_user_mistake_ends_the_process_with_one_message(tmp_path):
    process = start(tmp_path, said=subprocess.PIPE)
    _, errors = process.communicate(timeout=120)

    assert process.returncode == 1
    assert errors.strip() == f"{tmp_path} is no run directory: it has no plan.json"
