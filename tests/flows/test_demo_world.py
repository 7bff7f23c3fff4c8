"""The demo's data: real scans, simulated cameras, and no scan that serves two purposes."""

import io

import numpy as np
import pytest
from PIL import Image

from flows.collecting.collect import first_snapshot
from flows.demo_report import DemoResult, Share, check
from flows.demo_world import NEW_CAMERA, OLD_CAMERAS, build_world, photograph, write_project_data
from flows.workplace import open_workplace
from infra.errors import UserError


def test_no_original_serves_two_purposes():
    world = build_world(seed=0)

    purposes = [{digit.number for digit in part} for part in (world.train, world.select, world.judge, world.traffic)]

    assert sum(map(len, purposes)) == len(set.union(*purposes)) == 1797


def test_the_same_seed_gives_the_same_images_and_another_seed_others():
    first, again, other = build_world(1), build_world(1), build_world(2)

    assert [digit.number for digit in first.traffic] == [digit.number for digit in again.traffic]
    assert [digit.number for digit in first.traffic] != [digit.number for digit in other.traffic]
    pngs = [photograph(first.traffic[0], NEW_CAMERA, np.random.default_rng(3)).png for _ in range(2)]
    assert pngs[0] == pngs[1]


def test_every_sending_is_distorted_afresh():
    digit, chance = build_world(0).traffic[0], np.random.default_rng(0)

    assert photograph(digit, OLD_CAMERAS[0], chance).png != photograph(digit, OLD_CAMERAS[0], chance).png


def test_the_new_camera_sees_dark_ink_on_bright_paper_where_the_old_ones_see_the_reverse():
    digit, chance = build_world(0).traffic[0], np.random.default_rng(0)

    old, new = (brightness(photograph(digit, camera, chance).png) for camera in (OLD_CAMERAS[0], NEW_CAMERA))

    assert old < 0.5 < new


def test_the_manifest_it_writes_is_one_that_kedge_reads_with_the_purposes_as_roles(tmp_path):
    write_project_data(build_world(0), tmp_path / "data", seed=0)
    (tmp_path / "kedge.toml").write_text('[data]\nmanifest = "data/manifest.csv"\ngroup = "original"\n')

    snapshot = first_snapshot(open_workplace(tmp_path))

    assert [len(part) for part in (snapshot.train, snapshot.select, snapshot.judge_old)] == [900, 150, 250]


def test_a_demo_that_lost_a_request_or_forgot_the_old_cameras_is_no_success():
    kept = DemoResult(
        old_before=Share(98, 100), old_during=Share(98, 100), old_after=Share(97, 100), new_during=Share(10, 100),
        new_after=Share(95, 100), sent=500, failed=0, first_problem="", seconds_to_alarm=5, seconds_to_promotion=60,
        actions=("nothing", "label_first", "retrain"), alarm_lane="gross", alarm_window_ok=True, version=2,
        reports=("reports/window-1.html",), stages=("shadow", "canary", "promoting", "probation", "done"),
    )  # fmt: skip
    failed = {"failed": 1, "first_problem": "ReadTimeout", "old_after": Share(90, 100), "stages": ("shadow", "done")}
    broken = DemoResult(**{**vars(kept), **failed})

    check(kept)
    with pytest.raises(UserError) as refusal:
        check(broken)

    words = str(refusal.value)
    assert "1 requests failed, first: ReadTimeout" in words
    assert "the old cameras fell from 0.980 to 0.900" in words
    assert "the successor went by shadow, done; expected shadow, canary" in words


def brightness(png: bytes) -> float:
    return float(np.asarray(Image.open(io.BytesIO(png))).mean() / 255)
