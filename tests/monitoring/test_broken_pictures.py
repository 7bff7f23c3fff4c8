from dataclasses import replace

import numpy as np
import pytest

from monitoring.image_stats import NAMES
from monitoring.incoming.broken_pictures import BLANK, BLURRED, CHANNELS_SWAPPED, SAME_FILE, STUCK, faults_of
from monitoring.incoming.faults import Look, look
from monitoring.reference.fit import fit
from monitoring.watching.batch import batch_of
from tests.monitoring.birds import BIRDS, EMBEDDING, Birds

USUAL = {"brightness": 0.5, "contrast": 0.2, "sharpness": 0.05, "saturation": 0.3, "noise": 0.02, "warmth": 0.1}
SPREAD = {"brightness": 0.05, "contrast": 0.03, "sharpness": 0.01, "saturation": 0.05, "noise": 0.005, "warmth": 0.02}


def pictures(count: int, camera: str = "A", seed: int = 0, **changed: float):
    """Predictions of a camera of warm light; `changed` moves a statistic."""
    chance = np.random.default_rng([seed, ord(camera[0])])
    rows, _ = Birds(seed=seed).traffic(count, camera=camera)
    found = []
    for row in rows:
        numbers = {name: USUAL.get(name, 0.0) + SPREAD.get(name, 0.0) * chance.normal() for name in NAMES}
        numbers = {name: changed.get(name, value) for name, value in numbers.items()}
        found.append(replace(row, statistics=tuple(numbers.values())))
    return found


def faults(profile, rows, column="camera"):
    return look(profile, rows, column).faults


@pytest.fixture(scope="module")
def profile():
    rows = [*pictures(300, "A", 1), *pictures(300, "B", 2)]
    return fit(
        batch_of(rows, len(BIRDS), EMBEDDING),
        [row.label for row in rows],
        version=1,
        classes=BIRDS,
        rounds=1,
        judged_errors={"overall": (5, 100)},
    )


def test_pictures_as_ever_have_no_fault(profile):
    for seed in range(10, 40):
        assert faults(profile, [*pictures(100, "A", seed), *pictures(100, "B", seed)]) == ()


def test_black_frames_are_named_with_their_camera_and_what_they_came_out_as(profile):
    dark = [replace(row, label="owl") for row in pictures(40, "B", 3, contrast=0.002)]

    (found,) = faults(profile, [*pictures(160, "A", 4), *dark])

    assert (found.kind, found.source, found.mostly, found.share) == (BLANK, "B", "owl", 1.0)
    assert found.words == ("100% of the newest 40 pictures are blank (camera = B), answered as owl in 40 of 40 cases")


def test_a_camera_that_sends_the_very_same_file_is_named(profile):
    same = [replace(row, image_sha256="ab" * 32) for row in pictures(30, "A", 5)]

    (found,) = faults(profile, [*same, *pictures(60, "B", 6)])

    assert (found.kind, found.source, found.pictures) == (SAME_FILE, "A", 30)


def test_a_stuck_camera_is_named_though_every_file_is_another(profile):
    rows = pictures(40, "A", 7)
    frozen = [
        replace(
            rows[0],
            image_sha256=row.image_sha256,
            id=row.id,
            embedding=rows[0].embedding + 0.001 * place,
            statistics=tuple(value * (1 + 1e-4 * place) for value in rows[0].statistics),
        )
        for place, row in enumerate(rows)
    ]

    (found,) = faults(profile, frozen)

    assert (found.kind, found.source) == (STUCK, "A")


def test_red_and_blue_exchanged_are_named_for_a_camera_that_is_known(profile):
    swapped = [
        replace(row, statistics=(*row.statistics[:7], -row.statistics[7], *row.statistics[8:]))
        for row in pictures(60, "A", 8)
    ]
    unknown = [replace(row, metadata={"camera": "C"}) for row in swapped]

    (found,) = faults(profile, swapped)

    assert (found.kind, found.source) == (CHANNELS_SWAPPED, "A")
    assert faults(profile, unknown) == ()
    assert faults(profile, swapped, column="") == ()


def test_lost_focus_is_named_unless_the_light_changed_too(profile):
    soft = pictures(60, "B", 9, sharpness=0.01, noise=0.002)
    dusk = pictures(60, "B", 9, sharpness=0.01, noise=0.002, brightness=0.05)

    (found,) = faults(profile, soft)

    assert (found.kind, found.source) == (BLURRED, "B")
    assert faults(profile, dusk) == ()


def test_a_quieter_sensor_that_is_as_sharp_as_before_is_no_blur(profile):
    assert faults(profile, pictures(60, "B", 9, noise=0.002)) == ()


def test_another_size_is_another_camera_and_no_fault(profile):
    assert faults(profile, pictures(60, "B", 9, sharpness=0.01, noise=0.002, megapixels=2.0)) == ()


def test_many_cameras_broken_together_are_one_fault(profile):
    rows = pictures(200, "A", 10, contrast=0.0)
    rows = [replace(row, metadata={"camera": f"{place % 40}"}) for place, row in enumerate(rows)]

    (found,) = faults(profile, rows)

    assert (found.kind, found.source, found.pictures) == (BLANK, "", 200)


def test_each_camera_has_its_own_fault(profile):
    rows = [*pictures(40, "A", 11, contrast=0.0), *pictures(60, "B", 12, sharpness=0.01, noise=0.002)]

    assert [(one.kind, one.source) for one in faults(profile, rows)] == [(BLURRED, "B"), (BLANK, "A")]
    assert look(profile, rows, "camera").fault.count(";") == 1


def test_too_few_pictures_have_no_fault(profile):
    assert faults(profile, pictures(19, "A", 13, contrast=0.0)) == ()


def test_statistics_that_are_missing_are_no_fault_and_no_error(profile):
    rows = [replace(row, statistics=(), embedding=None) for row in pictures(60, "A", 14)]

    assert faults(profile, rows) == ()


def test_a_reference_without_the_newer_statistics_names_what_it_can(profile):
    older = profile.batch.statistics.copy()
    older[:, NAMES.index("warmth") :] = np.nan
    before = replace(profile, batch=replace(profile.batch, statistics=older))

    assert [one.kind for one in faults(before, pictures(60, "A", 15, sharpness=0.01, noise=0.002))] == [BLURRED]
    assert faults(before, pictures(60, "A", 15, warmth=-0.1)) == ()


def test_a_look_survives_its_row(profile):
    seen = look(profile, pictures(40, "A", 16, contrast=0.0), "camera")

    assert Look.from_json(seen.to_json()) == seen
    old = {name: value for name, value in seen.to_json().items() if name != "faults"}
    assert Look.from_json(old).fault == seen.fault


def test_a_file_for_each_row_is_all_that_is_needed(profile):
    rows = pictures(40, "A", 17)
    batch = batch_of(rows, len(BIRDS), EMBEDDING)

    assert [one.kind for one in faults_of(profile, batch, ["same"] * 40, "camera")] == [SAME_FILE]
