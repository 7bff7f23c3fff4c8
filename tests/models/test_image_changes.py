"""What each change does to an image, by amounts that are given."""

import math

import pytest
import torch

from models.training.varied.image_changes import blurred, moved, recoloured, rectangles


def dotted(row, column, side=33):
    image = torch.zeros(1, 3, side, side)
    image[:, :, row, column] = 255
    return image


def brightest(image):
    return divmod(int(image.sum(dim=0).argmax()), image.shape[-1])


def through(image, angle=0.0, width=1.0, height=1.0, right=0.0, down=0.0):
    return moved(image, *(torch.tensor([value]) for value in (angle, width, height, right, down)))


def lit(image, contrast=1.0, brightness=0.0, saturation=1.0, hue=0.0):
    return recoloured(image, *(torch.tensor([value]) for value in (contrast, brightness, saturation, hue)))


@pytest.mark.parametrize(
    ("window", "place"),
    [
        ({}, (16, 28)),
        ({"angle": math.pi / 2}, (4, 16)),  # the window turns to the right, its content to the left
        ({"angle": math.pi}, (16, 4)),
        ({"right": 4 / 16.5}, (16, 24)),  # half sides: 16.5 pixels
        ({"down": 4 / 16.5}, (12, 28)),
    ],
)
def test_a_mark_moves_as_the_window_moves(window, place):
    marked = dotted(16, 28)

    assert brightest(through(marked, **window)[0]) == place


def test_a_window_of_half_the_width_shows_things_twice_as_wide():
    bar = torch.zeros(1, 3, 32, 32)
    bar[:, :, 12:20, 14:18] = 255

    wide = through(bar, width=0.5)[0, 0]

    assert (wide[16] > 127).sum() == 8
    assert (wide[:, 16] > 127).sum() == 8


def test_beyond_the_edge_the_edge_goes_on():
    image = torch.full((1, 3, 16, 16), 90.0)

    assert torch.allclose(through(image, angle=0.7, width=1.5, height=1.5, right=0.4), image)


def test_a_blur_spreads_a_dot_evenly_and_keeps_its_light():
    dot = dotted(16, 16)

    soft = blurred(dot, torch.tensor([1.0]))

    assert soft.sum() == pytest.approx(dot.sum())
    assert torch.equal(soft, soft.flip(2))
    assert torch.equal(soft, soft.transpose(2, 3))
    assert soft[0, 0, 16, 15:18].tolist() == [255 / 8, 255 / 4, 255 / 8]


def test_only_images_with_a_strength_are_blurred():
    images = dotted(16, 16).repeat(3, 1, 1, 1)

    soft = blurred(images, torch.tensor([0.0, 0.5, 0.0]))

    assert torch.equal(soft[[0, 2]], images[[0, 2]])
    assert soft[1, 0, 16, 16] == 255 * (0.5 + 0.5 / 4)


def test_larger_images_are_blurred_more_widely():
    reach = [
        int((blurred(dotted(side // 2, side // 2, side), torch.ones(1))[0, 0, side // 2] > 0).sum())
        for side in (32, 127, 128, 256)
    ]

    assert reach == [3, 3, 7, 15]


def test_the_smallest_images_can_be_blurred():
    for side in (1, 2, 3):
        images = torch.full((2, 3, side, side), 7.0)
        assert torch.allclose(blurred(images, torch.ones(2)), images)


def test_neutral_amounts_leave_the_colours():
    image = 255 * torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    assert torch.allclose(lit(image), image, atol=1e-3)


def test_contrast_turns_about_the_mean_and_brightness_adds():
    image = torch.tensor([50.0, 150.0]).repeat(1, 3, 2, 1)

    assert lit(image, contrast=0.5, brightness=10.0)[0, 0, 0].tolist() == pytest.approx([85, 135])


def test_without_saturation_every_colour_becomes_its_grey():
    red = torch.tensor([200.0, 0, 0]).view(1, 3, 1, 1).repeat(1, 1, 4, 4)

    grey = lit(red, saturation=0.0)

    assert torch.allclose(grey, torch.full_like(grey, 0.2126 * 200), atol=1e-3)


def test_a_third_of_the_colour_circle_turns_red_to_green_and_leaves_grey():
    red, grey = torch.tensor([200.0, 0, 0]).view(1, 3, 1, 1), torch.full((1, 3, 1, 1), 80.0)

    turned = lit(red, hue=2 * math.pi / 3).flatten()

    assert turned.argmax() == 1
    assert torch.allclose(lit(grey, hue=2.0), grey, atol=0.5)


def test_rectangles_lie_where_they_should_and_are_cut_at_the_edge():
    numbers = [torch.tensor(values) for values in ([1, -2], [2, 3], [2, 4], [3, 9])]

    inside = rectangles(*numbers, (4, 6))

    assert inside[0].nonzero().tolist() == [[row, column] for row in (1, 2) for column in (2, 3, 4)]
    assert inside[1].nonzero().tolist() == [[row, column] for row in (0, 1) for column in (3, 4, 5)]
