"""`kedge train --show-augmentations`: a picture of what training would see."""

from collections import defaultdict
from pathlib import Path

from flows.collecting.collect import first_snapshot
from flows.collecting.images import read_image
from flows.input_size import chosen_size
from flows.workplace import Workplace
from infra.errors import UserError
from models.examples import Example
from models.preprocessing import Preprocessing, decode_for, resize

_ROWS = 16
_MOST_EACH = 3


def draw_augmentations(place: Workplace, out: Path) -> str:
    """
    Draw a few training images of each class under the settings' augmentation, at the size training uses.

    Gives what it shows, in words.

    Raises:
        UserError: the data cannot be used, or the picture cannot be written there.
    """
    # Only a command that draws pays for the library behind it.
    from models.training.varied.augmentation_grid import draw_grid

    if out.suffix.lower() != ".png":
        raise UserError(f"{out} should be a picture; give it a name that ends in .png")
    settings, train = place.settings, place.settings.train
    snapshot = first_snapshot(place)
    shown = few_of_each(snapshot.train)
    pixels = settings.model.image_size
    if not pixels:
        pixels = chosen_size(settings.model.backbone, snapshot.train, lambda one: read_image(place, one)).pixels
    # Normalising is no part of a picture for people; only the size matters here.
    size = Preprocessing(pixels, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")
    images = [resize(decode_for(read_image(place, example), size).pixels, size) for example in shown]
    titles = [example.label for example in shown]
    draw_grid(
        images,
        titles,
        out,
        preset=train.augmentation,
        flip=train.flip,
        mixup=train.mixup,
        cutmix=train.cutmix,
        seed=train.seed,
    )
    return f"{len(shown)} images of {len(set(titles))} classes under augmentation {train.augmentation!r}"


def few_of_each(examples: tuple[Example, ...]) -> list[Example]:
    """Up to three images of each class, of as many classes as there is room for, side by side by class."""
    by_class: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_class[example.label].append(example)
    each = max(1, min(_MOST_EACH, _ROWS // max(1, len(by_class))))
    return [example for label in sorted(by_class)[:_ROWS] for example in by_class[label][:each]]
