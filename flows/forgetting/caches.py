"""Caches of this home that hold something of an image; all of them can be made again."""

import csv
import io
import shutil
from collections.abc import Collection
from pathlib import Path

from flows.fingerprints import drop_fingerprints
from flows.workplace import Workplace
from infra.files import write_atomically
from monitoring.prediction_log import image_key


def forget_in_caches(place: Workplace, images: Collection[str], *, trained: bool) -> int:
    """
    Remove what is kept of the images, and say how many places held something.

    trained: whether a training may have seen one of them. What frozen layers gave for it is kept under a digest of
        its pixels as that training saw them, which cannot be told from here: the whole cache goes.
    """
    home = place.settings.storage.home
    changed = int(drop_fingerprints(place.settings, images))
    features = home / "features"
    if trained and features.is_dir():
        shutil.rmtree(features, ignore_errors=True)  # a training that uses it may be writing: it computes anew
        changed += 1
    return changed + _forget_suspects(home / "label-errors", images)


def _forget_suspects(folder: Path, images: Collection[str]) -> bool:
    """Take the images off the list of likely label errors; the page that shows them as pictures goes as a whole."""
    path, keys = folder / "suspects.csv", {image_key(image) for image in images}
    if not path.is_file():
        return False
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    left = [row for row in rows if not keys & set(row)]
    if len(left) == len(rows):
        return False
    (folder / "suspects.html").unlink(missing_ok=True)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(left)
    write_atomically(path, text.getvalue())
    return True
