"""The bytes of an example, wherever they lie."""

from pathlib import Path

from flows.workplace import Workplace
from infra.errors import UserError
from infra.files import sha256_of
from infra.objects import ObjectMissing
from models.examples import Example


def read_image(place: Workplace, example: Example) -> bytes:
    """
    The bytes of an example, from the manifest's folder or from the object store.

    Raises:
        UserError: a production image that is not kept any more.
    """
    if isinstance(example.image, Path):
        return example.image.read_bytes()
    try:
        return place.objects.get(example.image)
    except ObjectMissing as error:
        raise UserError(
            f"The image {example.image} is not kept any more: it was forgotten, or past its time by [retention]. "
            "Run the same command again: it then chooses among the images that are left."
        ) from error


def content_of(example: Example) -> str:
    """The SHA-256 of an example's bytes; of a production image it is in its key."""
    return sha256_of(example.image) if isinstance(example.image, Path) else example.image.rpartition("/")[2]
