"""How far the presets vary images, and that a seed says all."""

from dataclasses import fields, replace

import pytest
import torch

from infra.settings_sections import TrainSettings
from models.training.varied.augmentation import PRESETS, Augmentation, augment, varied

NOTHING = Augmentation(rotation=0, scale=0, shift=0, brightness=0, contrast=0, noise=0, blurred=0)
VARYING = [name for name, amounts in PRESETS.items() if amounts]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=6, side=24, seed=3):
    """Smooth colours, so that a small change is a small difference."""
    coarse = torch.rand(count, 3, 4, 4, generator=seeded(seed))
    smooth = torch.nn.functional.interpolate(coarse, size=side, mode="bilinear")
    return (255 * smooth).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def planes(batch):
    return batch.permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("preset", VARYING)
def test_the_same_seed_gives_the_same_images_whatever_else_draws(preset, flip):
    batch = pictures()

    torch.manual_seed(1)
    first = augment(batch, preset, seeded(5), flip=flip)
    torch.manual_seed(2)
    again, other = augment(batch, preset, seeded(5), flip=flip), augment(batch, preset, seeded(6), flip=flip)

    assert first.shape == (6, 3, 24, 24)
    assert first.dtype == torch.float32
    assert 0 <= first.min() <= first.max() <= 255
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("preset", VARYING)
def test_nobody_elses_chance_is_touched(preset):
    torch.manual_seed(7)
    expected = torch.rand(3)

    torch.manual_seed(7)
    augment(pictures(), preset, seeded())

    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("preset", VARYING)
def test_each_image_of_a_batch_is_varied_by_itself(preset):
    batch = pictures(1).repeat(5, 1, 1, 1)

    images = augment(batch, preset, seeded())

    assert all(not torch.equal(images[a], images[b]) for a in range(5) for b in range(a))


@pytest.mark.parametrize("preset", list(PRESETS))
def test_the_batch_itself_is_left_alone(preset):
    batch = pictures()
    before = batch.clone()

    augment(batch, preset, seeded(), flip=True)

    assert torch.equal(batch, before)


@pytest.mark.parametrize("preset", VARYING)
@pytest.mark.parametrize("shape", [(1, 24), (3, 1), (2, 2)])
def test_a_single_image_and_the_smallest_images_can_be_varied(preset, shape):
    count, side = shape

    assert augment(pictures(count, side), preset, seeded(), flip=True).isfinite().all()


def test_nought_of_everything_changes_nothing():
    batch = pictures()

    assert torch.allclose(varied(batch, NOTHING, seeded()), planes(batch), atol=0.01)


def test_with_flip_about_half_are_mirrored_exactly_and_without_none_ever():
    one_sided = torch.zeros(200, 8, 8, 3, dtype=torch.uint8)
    one_sided[:, :, :4] = 200

    flipped = augment(one_sided, "none", seeded(), flip=True)
    mirrored = (flipped == planes(one_sided).flip(3)).all(dim=(1, 2, 3))

    assert 70 < mirrored.sum() < 130
    assert torch.equal(flipped[~mirrored], planes(one_sided)[~mirrored])
    assert torch.equal(augment(one_sided, "none", seeded()), planes(one_sided))


@pytest.mark.parametrize("preset", VARYING)
def test_without_flip_left_stays_left(preset):
    # Erasing fills in by chance, so that it would blur the question.
    amounts = replace(PRESETS[preset], erased=0.0)
    ramp = torch.arange(32, dtype=torch.uint8).mul(6).view(1, 1, 32, 1).repeat(300, 32, 1, 3)

    images = varied(ramp, amounts, seeded())
    slope = images[..., 22:28].mean(dim=(1, 2, 3)) - images[..., 4:10].mean(dim=(1, 2, 3))

    # RandAugment turns dark to light, where it solarizes: that is no mirroring, and rare.
    assert (slope > 0).float().mean() > (0.95 if amounts.policy else 0.999)


@pytest.mark.parametrize("degrees", [10, 30])
def test_a_rotation_stays_within_its_degrees_and_reaches_them(degrees):
    needle = torch.zeros(200, 65, 65, 3, dtype=torch.uint8)
    needle[:, 31:34, 48:60] = 255

    turned = varied(needle, replace(NOTHING, rotation=degrees), seeded())[:, 0]
    place = torch.arange(65.0) - 32
    right, down = ((turned * axis).sum(dim=(1, 2)) for axis in (place.view(1, 1, -1), place.view(1, -1, 1)))
    angle = torch.rad2deg(torch.atan2(down, right))

    assert angle.abs().max() == pytest.approx(degrees, rel=0.06)
    assert angle.min() < -0.8 * degrees
    assert angle.max() > 0.8 * degrees


def test_a_shift_stays_within_its_share_of_the_side():
    dot = torch.zeros(200, 41, 41, 3, dtype=torch.uint8)
    dot[:, 20, 20] = 255

    shifted = varied(dot, replace(NOTHING, shift=0.1), seeded())[:, 0]
    rows, columns = shifted.amax(dim=2).argmax(dim=1), shifted.amax(dim=1).argmax(dim=1)

    for places in (rows, columns):
        assert places.min() == 16
        assert places.max() == 24


def test_a_crop_shows_no_less_than_its_share_and_nothing_from_outside():
    # The pixels count up along the sides, so that a corner's value tells its place.
    count, side = 200, 64
    ramp = torch.arange(side, dtype=torch.uint8).mul(4)
    batch = torch.zeros(count, side, side, 3, dtype=torch.uint8)
    batch[..., 0], batch[..., 1] = ramp.view(1, 1, -1), ramp.view(1, -1, 1)

    images = varied(batch, replace(NOTHING, crop=0.5, aspect=1.3), seeded())
    width = (images[:, 0, 0, -1] - images[:, 0, 0, 0]) / 4 / (side - 1)
    height = (images[:, 1, -1, 0] - images[:, 1, 0, 0]) / 4 / (side - 1)

    assert (width * height).min() > 0.48
    assert (width * height).min() < 0.6
    assert max((width / height).max(), (height / width).max()) < 1.32
    assert images[:, :2].max() <= 252.01


def test_brightness_contrast_saturation_and_hue_stay_within_their_amounts():
    grey, red = torch.full((200, 4, 4, 3), 128, dtype=torch.uint8), torch.zeros(200, 4, 4, 3, dtype=torch.uint8)
    red[..., 0], red[..., 1:] = 160, 100
    two_toned = grey.clone()
    two_toned[:, :2] = 64

    bright = varied(grey, replace(NOTHING, brightness=0.2), seeded())
    steep = varied(two_toned, replace(NOTHING, contrast=0.4), seeded())
    coloured = varied(red, replace(NOTHING, saturation=0.3), seeded())
    turned = varied(red, replace(NOTHING, hue=20), seeded())

    assert (bright - 128).abs().max() == pytest.approx(51, rel=0.05)
    difference = steep[:, 0, 3, 0] - steep[:, 0, 0, 0]
    assert difference.min() == pytest.approx(64 * 0.6, rel=0.05)
    assert difference.max() == pytest.approx(64 * 1.4, rel=0.05)
    spread = coloured.amax(dim=1) - coloured.amin(dim=1)
    assert spread.min() == pytest.approx(60 * 0.7, rel=0.05)
    assert spread.max() == pytest.approx(60 * 1.3, rel=0.05)
    assert (turned.argmax(dim=1) == 0).all()  # by 20 degrees red stays mostly red
    assert (turned[:, 1] - turned[:, 2]).abs().max() > 5


def test_noise_has_at_most_its_deviation():
    grey = torch.full((200, 32, 32, 3), 128, dtype=torch.uint8)

    deviation = varied(grey, replace(NOTHING, noise=0.1), seeded()).std(dim=(1, 2, 3)) / 255

    assert deviation.max() < 0.103
    assert deviation.mean() == pytest.approx(0.05, rel=0.1)


def test_erasing_hides_a_rectangle_of_a_fiftieth_to_a_fifth_in_its_share_of_the_images():
    grey = torch.full((400, 40, 40, 3), 128, dtype=torch.uint8)

    # A pixel at random is hardly ever grey in all three colours.
    hidden = (varied(grey, replace(NOTHING, erased=0.3), seeded()) - 128).abs().amax(dim=1) > 0.1
    touched = hidden[hidden.any(dim=(1, 2))]
    area = touched.float().mean(dim=(1, 2))

    assert 90 < len(touched) < 150
    assert area.min() > 0.015
    assert 0.17 < area.max() < 0.22
    rows, columns = touched.any(dim=2).sum(dim=1), touched.any(dim=1).sum(dim=1)
    assert torch.equal(rows * columns, touched.sum(dim=(1, 2)))


def test_the_presets_are_ordered_in_strength():
    light, medium, strong = PRESETS["light"], PRESETS["medium"], PRESETS["strong"]

    for field in fields(Augmentation):
        amounts = [getattr(preset, field.name) for preset in (light, medium, strong)]
        assert amounts == sorted(amounts, reverse=field.name == "crop"), field.name
    batch = pictures(100)
    moved = [float((augment(batch, name, seeded()) - planes(batch)).abs().mean()) for name in VARYING]
    assert moved == sorted(moved)


def test_only_strong_hides_parts_or_distorts_colours_out_of_hand():
    for preset in (PRESETS["light"], PRESETS["medium"]):
        assert (preset.erased, preset.policy) == (0, 0)


def test_every_preset_can_be_chosen_in_the_settings():
    [choices] = [field.metadata["choices"] for field in fields(TrainSettings) if field.name == "augmentation"]

    assert tuple(choices) == tuple(PRESETS)
