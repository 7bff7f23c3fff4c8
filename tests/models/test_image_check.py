"""Reading every image: what cannot be read, what is a copy, what contradicts a copy."""

import numpy as np
import pytest
from PIL import Image

from infra.errors import UserError
from models.examples import Example
from models.image_check import check_images


@pytest.fixture
def examples(tmp_path):
    """Twelve cats and twelve dogs, each its own picture."""
    chance = np.random.default_rng(0)
    listed = []
    for label in ("cat", "dog"):
        for number in range(12):
            cells = chance.integers(40, 215, (14, 12, 3), dtype=np.uint8)
            Image.fromarray(cells).resize((60, 70), Image.Resampling.BICUBIC).save(tmp_path / f"{label}{number}.png")
            listed.append(Example(tmp_path / f"{label}{number}.png", label))
    return listed


def test_checking_images_names_those_that_cannot_be_read(examples, tmp_path):
    (tmp_path / "dog3.png").write_bytes(b"not a picture")
    seen = []

    with pytest.raises(UserError) as caught:
        check_images(examples, progress=lambda done, of: seen.append((done, of)))

    assert "1 of 24 images cannot be read" in str(caught.value)
    assert "dog3.png: the 13 bytes are no image" in str(caught.value)
    assert seen[-1] == (24, 24)


def test_the_same_picture_with_two_labels_is_reported(examples, tmp_path):
    (tmp_path / "dog3.png").write_bytes((tmp_path / "cat5.png").read_bytes())

    check = check_images(examples)

    assert check.duplicates == 1
    assert check.conflicts == ("the same image bears 'cat' (cat5.png) and 'dog' (dog3.png)",)


def test_nearly_the_same_picture_is_counted_and_with_two_labels_reported(examples, tmp_path):
    for source, copy, label in (("cat5", "cat-again.jpg", "cat"), ("cat6", "dog-again.jpg", "dog")):
        Image.open(tmp_path / f"{source}.png").save(tmp_path / copy, quality=80)
        examples.append(Example(tmp_path / copy, label))

    check = check_images(examples, near_duplicate_distance=4)

    assert (check.duplicates, check.near_duplicates) == (0, 2)
    assert check.near_conflicts == ("nearly the same image bears 'cat' (cat6.png) and 'dog' (dog-again.jpg)",)
    assert len(check.fingerprints) == 26


def test_with_a_distance_of_nothing_near_duplicates_are_not_looked_for(examples, tmp_path):
    Image.open(tmp_path / "cat6.png").save(tmp_path / "again.jpg", quality=80)

    check = check_images([*examples, Example(tmp_path / "again.jpg", "dog")])

    assert (check.near_duplicates, check.near_conflicts) == (0, ())
