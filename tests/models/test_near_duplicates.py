"""What counts as the same picture, on pictures that are known to be the same or not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from models.images import Pixels, decode
from models.near_duplicates import fingerprint, joined, near_pairs

DISTANCE = 4  # the default of data.near_duplicate_distance


def scene(seed: int, size: tuple[int, int] = (90, 60)) -> Image.Image:
    """Soft shapes, large and small, as a camera sees things."""
    chance = np.random.default_rng(seed)
    coarse = chance.integers(40, 215, (14, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def digit(text: str) -> Pixels:
    """A digit on a meter's drum: light on dark, between two neighbours' edges."""
    image = Image.new("RGB", (40, 60), (45, 40, 42))
    drawing = ImageDraw.Draw(image)
    drawing.rectangle((0, 0, 39, 5), fill=(190, 185, 170))
    drawing.text((8, 4), text, fill=(225, 222, 210), font_size=46)
    return np.asarray(image)


def as_jpeg(image: Image.Image, quality: int) -> Pixels:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return decode(buffer.getvalue()).pixels


def brighter(image: Image.Image) -> Pixels:
    return np.clip(np.asarray(image, dtype=np.float64) * 1.08, 0, 255).astype(np.uint8)


def noisy(image: Image.Image) -> Pixels:
    noise = np.random.default_rng(7).normal(0, 3, (image.height, image.width, 3))
    return np.clip(np.asarray(image, dtype=np.float64) + noise, 0, 255).astype(np.uint8)


def are_near(one: Pixels, other: Pixels, most_bits: int = DISTANCE) -> bool:
    return len(near_pairs([fingerprint(one), fingerprint(other)], most_bits)) == 1


@pytest.mark.parametrize(
    "again",
    [
        lambda image: as_jpeg(image, 60),
        lambda image: np.asarray(image.resize((180, 120), Image.Resampling.BILINEAR)),
        lambda image: np.asarray(image.resize((68, 45), Image.Resampling.BILINEAR)),
        brighter,
        noisy,
    ],
    ids=["saved as JPEG", "twice the size", "three quarters of the size", "brighter", "noisy"],
)
def test_a_picture_is_known_again(again):
    image = scene(1)

    assert are_near(np.asarray(image), again(image))


def test_pictures_of_different_things_are_no_near_duplicates():
    prints = [fingerprint(np.asarray(scene(seed))) for seed in range(300)]

    assert len(near_pairs(prints, DISTANCE)) == 0


def test_two_different_digits_on_one_drum_are_no_near_duplicates():
    prints = [fingerprint(digit(text)) for text in "0123456789"]

    assert len(near_pairs(prints, DISTANCE)) == 0


def test_colour_tells_pictures_of_one_shape_apart():
    red, green = np.asarray(scene(2)).copy(), np.asarray(scene(2)).copy()
    red[..., 1] //= 2
    green[..., 0] //= 2

    assert not are_near(red, green, most_bits=100)


def test_pictures_without_contrast_are_nobodys_near_duplicates():
    grey, also_grey = (np.full((20, 20, 3), level, dtype=np.uint8) for level in (120, 121))

    assert not are_near(grey, also_grey)


def test_all_pairs_are_found_across_blocks_and_each_once():
    # 1,300 pictures are compared in three blocks; five of them come a second time, far from the first.
    chance = np.random.default_rng(0)
    pictures = [chance.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(1300)]
    for first, second in ((0, 1299), (3, 511), (3, 512), (600, 1100), (1023, 1024)):
        pictures[second] = pictures[first]

    pairs = near_pairs([fingerprint(picture) for picture in pictures], 0)

    assert sorted(map(tuple, pairs.tolist())) == [(0, 1299), (3, 511), (3, 512), (511, 512), (600, 1100), (1023, 1024)]


def test_no_picture_and_one_picture_have_no_pairs():
    assert near_pairs([], DISTANCE).shape == (0, 2)
    assert near_pairs([fingerprint(digit("3"))], DISTANCE).shape == (0, 2)


def test_groups_are_joined_also_through_others():
    numbers = joined(["a", "b", "b", "c", "d"], np.array([[0, 1], [2, 3]]))

    assert numbers.tolist() == [0, 0, 0, 0, 1]
