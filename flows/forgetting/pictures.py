"""Report pages that show an image: its picture and its name are taken out, the rest stays for the auditor."""

import re
from collections.abc import Collection

from flows.workplace import Workplace
from infra.objects import ObjectMissing
from monitoring.prediction_log import image_key

# The worst mistakes are one drawing together, so that one of them cannot be taken out alone; plots are SVG and stay.
_DRAWING = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")
_BLANK = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='640' height='40'%3E%3Ctext y='25'%3E"
    "These pictures were removed: one of them had to be forgotten.%3C/text%3E%3C/svg%3E"
)
_NAME = "a forgotten image"


def without_pictures(html: str, images: Collection[str]) -> str:
    """The page with all of its pictures blank and the images' names gone."""
    blank = _DRAWING.sub(_BLANK, html)
    for image in images:
        blank = blank.replace(image_key(image), _NAME).replace(image, _NAME)
    return blank


def forget_in_reports(place: Workplace, images: Collection[str]) -> int:
    """Blank the training reports in the object store that name one of the images; says how many."""
    changed = 0
    for version in place.registry.versions():
        key = f"{version.artifact_prefix}/report.html"
        try:
            html = place.objects.get(key).decode()
        except ObjectMissing:
            continue
        if any(image in html for image in images):
            place.objects.put(key, without_pictures(html, images).encode())
            changed += 1
    return changed
