"""The gallery as a page for people, which needs nothing else."""

from collections.abc import Callable
from pathlib import Path

import jinja2

from monitoring.gallery.disagreements import Gallery
from monitoring.subgroups.page import thumbnail

_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
)


def render_gallery_html(name: str, found: Gallery, picture: Callable[[str], bytes | None]) -> str:
    """
    One HTML document.

    Args:
        name: The model's.
        found: What is shown.
        picture: The bytes of an image by its SHA-256; None where it is gone.
    """
    shown = [(one, thumbnail(picture(one.image_sha256)) if one.image_sha256 else "") for one in found.shown]
    return _PAGES.get_template("gallery.html").render(name=name, found=found, shown=shown)
