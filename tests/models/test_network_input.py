"""How large images are made for a network, from what it wants and what they have."""

import io
import json
import subprocess
import sys

import pytest
from PIL import Image

from models.network_input import OwnInput, longer_sides, own_input, suited_size

CONVOLUTIONAL = OwnInput(224, fixed=False)


@pytest.mark.parametrize(
    ("own", "sides", "pixels"),
    [
        (CONVOLUTIONAL, [57, 57, 60], 64),
        (CONVOLUTIONAL, [8, 8], 64),
        (CONVOLUTIONAL, [65], 96),
        (CONVOLUTIONAL, [96, 96, 4000], 96),
        (CONVOLUTIONAL, [1920], 224),
        (CONVOLUTIONAL, [], 224),
        (OwnInput(224, fixed=True), [57], 224),
        (OwnInput(48, fixed=False), [640], 48),
    ],
)
def test_small_images_are_not_enlarged_to_a_size_that_they_do_not_have(own, sides, pixels):
    assert suited_size(own, sides) == pixels


def test_the_longer_side_is_read_from_the_header_and_what_is_no_image_is_left_out():
    file = io.BytesIO()
    Image.new("RGB", (29, 57)).save(file, "PNG")

    assert longer_sides([file.getvalue(), b"hello", file.getvalue()[:60]]) == [57, 57]


@pytest.mark.parametrize(
    ("backbone", "own"),
    [
        ("mobilenetv3_small_100", OwnInput(224, fixed=False)),
        ("resnet10t.c3_in1k", OwnInput(176, fixed=False)),
        ("test_vit", OwnInput(160, fixed=True)),
        ("nosuch", OwnInput(224, fixed=False)),
    ],
)
def test_the_network_says_what_it_wants(backbone, own):
    assert own_input(backbone) == own


@pytest.mark.slow
def test_a_network_is_asked_in_a_process_of_its_own():
    command = [sys.executable, "-m", "models.network_input", "test_resnet"]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == {"image_size": 160, "fixed": False}
