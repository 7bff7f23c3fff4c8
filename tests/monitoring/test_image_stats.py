import numpy as np
import pytest

from monitoring.image_stats import NAMES, sample_of, statistics_of, statistics_of_all


def measured(pixels: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, statistics_of(pixels).tolist(), strict=True))


def flat(value: tuple[int, int, int], height: int = 64, width: int = 64) -> np.ndarray:
    return np.broadcast_to(np.array(value, dtype=np.uint8), (height, width, 3)).copy()


def test_a_grey_card_has_its_brightness_and_nothing_else():
    found = measured(flat((128, 128, 128)))

    assert found["brightness"] == pytest.approx(128 / 255, abs=1 / 255)
    assert found["contrast"] == found["sharpness"] == found["noise"] == found["saturation"] == 0
    assert found["aspect"] == 0
    assert found["megapixels"] == pytest.approx(64 * 64 / 1e6)


def test_pure_red_is_fully_saturated_and_rather_dark():
    found = measured(flat((255, 0, 0)))

    assert found["saturation"] == 1
    assert found["brightness"] == pytest.approx(0.299, abs=0.01)


def test_black_is_neither_bright_nor_saturated():
    expected = dict.fromkeys(NAMES, 0.0) | {"megapixels": 0.004096, "compression": np.nan}
    assert measured(flat((0, 0, 0))) == pytest.approx(expected, nan_ok=True)


def test_swapped_channels_turn_the_warmth_round_and_leave_the_rest_of_a_grey_world():
    rng = np.random.default_rng(7)
    evening = (rng.integers(0, 156, (80, 90, 1)) + np.array([100, 40, 10])).astype(np.uint8)

    rightly, swapped = measured(evening), measured(evening[:, :, ::-1])

    assert rightly["warmth"] == pytest.approx(90 / 255, abs=1e-6)
    assert swapped["warmth"] == pytest.approx(-90 / 255, abs=1e-6)
    assert swapped["saturation"] == pytest.approx(rightly["saturation"])


def test_compression_is_the_bytes_sent_for_each_pixel_of_the_whole_image():
    small = np.full((75, 100, 3), 90, dtype=np.uint8)

    known, unknown = statistics_of_all([sample_of(small, 1600, 1200, 960_000), sample_of(small, 1600, 1200)])

    assert known[NAMES.index("compression")] == pytest.approx(0.5)
    assert np.isnan(unknown[NAMES.index("compression")])


def test_noise_is_measured_in_units_of_brightness_whatever_the_scene():
    rng = np.random.default_rng(7)
    slope = np.linspace(60, 190, 128)[:, None, None] + np.zeros((128, 128, 3))
    grain = rng.normal(0, 10, (128, 128, 1))

    found = measured((slope + grain).clip(0, 255).astype(np.uint8))

    assert found["noise"] == pytest.approx(10 / 255, rel=0.1)


def test_blur_takes_sharpness_and_leaves_brightness():
    rng = np.random.default_rng(7)
    sharp = np.repeat(rng.integers(0, 256, (96, 96, 1)), 3, axis=2).astype(np.uint8)
    blurred = (sharp.astype(int) + np.roll(sharp, 1, 0) + np.roll(sharp, 1, 1) + np.roll(sharp, (1, 1), (0, 1))) // 4

    before, after = measured(sharp), measured(blurred.astype(np.uint8))

    assert after["sharpness"] < 0.7 * before["sharpness"]
    assert after["brightness"] == pytest.approx(before["brightness"], abs=0.01)


def test_a_large_image_is_judged_on_a_sample_with_its_fine_structure_kept():
    rng = np.random.default_rng(7)
    large = np.repeat(rng.integers(0, 256, (900, 1200, 1)), 3, axis=2).astype(np.uint8)

    whole, crop = measured(large), measured(large[:128, :128])

    assert whole["noise"] == pytest.approx(crop["noise"], rel=0.1)
    assert whole["aspect"] == pytest.approx(np.log(1200 / 900))
    assert whole["megapixels"] == pytest.approx(1.08)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 300), (3, 3), (129, 1)])
def test_the_smallest_and_narrowest_images_have_statistics(shape):
    found = statistics_of(np.full((*shape, 3), 90, dtype=np.uint8))

    assert found.shape == (len(NAMES),)
    assert found.dtype == np.float32
    assert np.isfinite(np.delete(found, NAMES.index("compression"))).all()


def test_images_measured_together_are_measured_as_each_alone():
    rng = np.random.default_rng(7)
    shapes = [(96, 96), (40, 60), (96, 96), (300, 200), (1, 5), (96, 96)]
    pictures = [rng.integers(0, 256, (*shape, 3)).astype(np.uint8) for shape in shapes]

    together = statistics_of_all([sample_of(picture) for picture in pictures])

    alone = np.stack([statistics_of(picture) for picture in pictures])
    assert together == pytest.approx(alone, rel=1e-5, nan_ok=True)


def test_an_image_decoded_at_a_lower_scale_keeps_its_own_shape():
    small = np.full((75, 100, 3), 90, dtype=np.uint8)

    found = dict(zip(NAMES, statistics_of_all([sample_of(small, 1600, 1200)])[0].tolist(), strict=True))

    assert found["megapixels"] == pytest.approx(1.92)
    assert found["aspect"] == pytest.approx(np.log(1600 / 1200))
