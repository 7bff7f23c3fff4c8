"""From settings to a plan: nothing that a person sets is lost on the way to the trainer."""

import dataclasses
from pathlib import Path

import pytest

from flows.overrides import Overrides
from flows.plans import first_plan
from infra.errors import UserError
from infra.settings import load
from infra.settings_sections import TrainSettings
from models.training.plan import TrainingPlan, check_plan

CLASSES = ("blue", "red")
# What concerns the flow around training, and not the job.
FOR_THE_FLOW = {"replay_images", "devices", "share_gpu"}


def plan_with(root, **variables):
    return first_plan(load(root, variables), CLASSES, "first")


def test_every_training_setting_is_a_field_of_the_plan_or_concerns_the_flow():
    settings = {field.name for field in dataclasses.fields(TrainSettings)}
    plan = {field.name for field in dataclasses.fields(TrainingPlan)}

    assert settings - plan - FOR_THE_FLOW == set()


def test_the_default_settings_make_a_plan_that_can_be_used(tmp_path):
    check_plan(plan_with(tmp_path))


def test_what_is_set_is_what_the_plan_says(tmp_path):
    plan = plan_with(
        tmp_path, KEDGE_TRAIN__EMA_DECAY="0.99", KEDGE_TRAIN__STRATEGY="auto", KEDGE_GATE__MIN_RECALL="0.7"
    )

    assert (plan.ema_decay, plan.strategy, plan.min_recall) == (0.99, "auto", 0.7)
    assert plan.features_dir == str(tmp_path / ".kedge" / "features")


@pytest.mark.parametrize(("weights", "start"), [("auto", "timm-if-reachable"), ("timm", "timm"), ("none", "scratch")])
def test_weights_are_wished_for_insisted_on_or_done_without(tmp_path, weights, start):
    assert plan_with(tmp_path, KEDGE_MODEL__WEIGHTS=weights).start == start


def test_a_weights_file_is_found_beside_the_settings_and_its_absence_is_told(tmp_path):
    (tmp_path / "own.safetensors").write_bytes(b"")

    assert plan_with(tmp_path, KEDGE_MODEL__WEIGHTS="own.safetensors").start == f"pretrained:{tmp_path}/own.safetensors"
    with pytest.raises(UserError, match=r"gone\.safetensors, which is not there"):
        plan_with(tmp_path, KEDGE_MODEL__WEIGHTS="gone.safetensors")


def test_the_size_that_the_settings_name_goes_before_the_one_that_suits_the_images(tmp_path):
    settings = load(tmp_path, {})

    assert first_plan(settings, CLASSES, "first", image_size=64).image_size == 64
    settings = Overrides(image_size=96).applied(settings)
    assert first_plan(settings, CLASSES, "first", image_size=64).image_size == 96


def test_a_command_line_changes_what_it_names_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load(tmp_path, {"KEDGE_TRAIN__AUGMENTATION": "none"})

    changed = Overrides(data=Path("photos"), strategy="head", weights="own.safetensors").applied(settings)

    assert changed.data.manifest == tmp_path / "photos"
    assert changed.model.weights == str(tmp_path / "own.safetensors")
    assert (changed.train.strategy, changed.train.augmentation) == ("head", "none")
    assert Overrides().applied(settings) == settings
