"""Report pages that show an image: its picture and its name are taken out, the rest stays for the auditor."""

import re
from collections.abc import Collection
from html import escape

from flows.workplace import Workplace
from infra.objects import ObjectMissing
from monitoring.prediction_log import image_key
from monitoring.subgroups.rows import audit_pages

# The worst mistakes are one drawing together, so that one of them cannot be taken out alone; plots are SVG and stay.
_DRAWING = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")
_BLANK = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='640' height='40'%3E%3Ctext y='25'%3E"
    "These pictures were removed: one of them had to be forgotten.%3C/text%3E%3C/svg%3E"
)
_NAME = "a forgotten image"
# Of an audit each picture stands in a figure of its own, with the id of its prediction.
_FIGURE = re.compile(r"<figure data-image=.*?</figure>", re.DOTALL)


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


def forget_in_audits(place: Workplace, names: Collection[str]) -> int:
    """Take the figures out of the audits' pages that name one of these ids or images; says of how many pages."""
    changed = 0
    for _, key in audit_pages(place.engine):
        try:
            html = place.objects.get(key).decode()
        except ObjectMissing:
            continue
        left = _FIGURE.sub(lambda figure: "" if any(escape(name) in figure[0] for name in names) else figure[0], html)
        if left != html:
            place.objects.put(key, left.encode())
            changed += 1
    return changed
