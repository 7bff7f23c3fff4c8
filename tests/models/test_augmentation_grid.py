"""A picture of augmentation: every cell where it should be, and showing what it says."""

import numpy as np
import pytest
from PIL import Image

from infra.errors import UserError
from models.training.varied.augmentation_grid import draw_grid

CELL, GAP, MARGIN = 128, 8, 36


@pytest.fixture
def images():
    chance = np.random.default_rng(0)
    return [np.kron(chance.integers(40, 220, (8, 8, 3)), np.ones((4, 4, 1))).astype(np.uint8) for _ in range(3)]


def cells(path, rows, columns=8):
    """The pixels of each cell, found from the right and from below, where no text stands."""
    page = pixels(path)
    height, width = page.shape[:2]
    pitch = CELL + GAP
    lefts = [width - MARGIN - CELL - pitch * (columns - 1 - column) for column in range(columns)]
    lefts[0] -= 2 * GAP
    tops = [height - MARGIN - CELL - pitch * (rows - 1 - row) for row in range(rows)]
    return [[page[top : top + CELL, left : left + CELL] for left in lefts] for top in tops]


def pixels(path, mode="RGB"):
    with Image.open(path) as page:
        return np.asarray(page.convert(mode))


def inner(cell):
    return cell[8:-8, 8:-8].astype(int)  # without the rounded corners


def test_each_row_is_the_image_itself_and_seven_variants_that_all_differ(images, tmp_path):
    draw_grid(images, ["zero", "one", "two"], tmp_path / "grid.png", preset="light")

    for row, image in zip(cells(tmp_path / "grid.png", 3), images, strict=True):
        assert np.array_equal(inner(row[0]), inner(np.kron(image, np.ones((4, 4, 1), dtype=np.uint8))))
        differences = [abs(inner(a) - inner(b)).mean() for number, a in enumerate(row) for b in row[:number]]
        assert min(differences) > 1


def test_the_page_grows_by_a_cell_per_image_and_variant(images, tmp_path):
    sizes = []
    for count, variants in ((1, 7), (3, 7), (3, 9)):
        draw_grid(images[:count], ["a"] * count, tmp_path / "grid.png", preset="light", variants=variants)
        sizes.append(pixels(tmp_path / "grid.png").shape[:2])

    assert sizes[1][0] - sizes[0][0] == 2 * (CELL + GAP)
    assert sizes[2][1] - sizes[1][1] == 2 * (CELL + GAP)


def test_the_same_seed_draws_the_same_page(images, tmp_path):
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        draw_grid(
            images, ["a", "b", "c"], tmp_path / name, preset="strong", flip=True, mixup=0.4, cutmix=1.0, seed=seed
        )

    pages = [(tmp_path / name).read_bytes() for name in ("first", "again", "other")]
    assert pages[0] == pages[1] != pages[2]


def test_without_augmentation_every_cell_is_the_image(images, tmp_path):
    draw_grid(images, ["a", "b", "c"], tmp_path / "grid.png", preset="none")

    assert all(np.array_equal(cell, row[0]) for row in cells(tmp_path / "grid.png", 3) for cell in row)


def test_mixing_is_shown_in_the_last_columns_with_a_line_beneath_that_says_of_what(images, tmp_path):
    whole = [np.full((32, 32, 3), value, dtype=np.uint8) for value in (40, 120, 200)]
    for name, alpha in (("plain", 0.0), ("mixed", 1.0)):
        draw_grid(whole, ["a", "b", "c"], tmp_path / name, preset="none", cutmix=alpha)

    plain, mixed = (pixels(tmp_path / name, "L").astype(int) for name in ("plain", "mixed"))
    assert mixed.shape[0] > plain.shape[0]
    first_row = mixed.shape[0] - MARGIN - 3 * (CELL + GAP + 20) + GAP + 64
    levels = [
        len(np.unique(mixed[first_row - 56 : first_row + 56, left : left + CELL - 8]))
        for left in range(mixed.shape[1] - MARGIN - 7 * (CELL + GAP) + GAP + 4, mixed.shape[1] - MARGIN, CELL + GAP)
    ]
    assert levels[:4] == [1, 1, 1, 1]
    assert max(levels[4:]) == 2


@pytest.mark.parametrize("side", [1, 33, 150, 400])
def test_images_of_any_size_fit_on_the_page(side, tmp_path):
    image = np.full((side, side, 3), 99, dtype=np.uint8)

    draw_grid([image], ["of one colour"], tmp_path / "grid.png", preset="medium")

    assert 8 * 112 < pixels(tmp_path / "grid.png").shape[1] < 8 * 160 + 300


@pytest.mark.parametrize(
    "title", ["", "Gerät – groß", "裂纹", "a class whose name goes on and on and on and on and on"]
)
def test_a_class_may_be_called_anything(title, images, tmp_path):
    draw_grid(images[:2], [title, "b"], tmp_path / "grid.png", preset="light", mixup=0.4)

    assert pixels(tmp_path / "grid.png").shape[1] < 8 * (CELL + GAP) + 2 * MARGIN + 230


def test_no_image_is_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="no image to show"):
        draw_grid([], [], tmp_path / "grid.png", preset="light")

    assert not (tmp_path / "grid.png").exists()
