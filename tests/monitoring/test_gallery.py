"""The page of images on which a shadow and the champion part, from a real log and a real object store."""

import hashlib
import io
import re
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image

from infra.clock import new_id, now
from infra.objects import open_objects
from infra.settings import load
from models.prediction import Label, Prediction, ShadowAnswer
from monitoring.gallery.disagreements import gallery
from monitoring.gallery.page import render_gallery_html
from monitoring.prediction_log import PredictionLog, image_key

SINCE = now() - timedelta(hours=1)
CLASSES = ("cat", "dog", "owl")


class Place:
    def __init__(self, folder):
        storage = load(folder, {}).storage
        self.log, self.objects, self.segment = PredictionLog(storage), open_objects(storage), 0

    def both(self, theirs: str, ours: str, sure: float = 0.9, *, kept: bool = True, **metadata: str) -> str:
        """One image with a picture of its own, answered by the champion and by the shadow."""
        self.segment += 1
        at = now()
        picture = _picture(self.segment)
        sha256 = hashlib.sha256(picture).hexdigest()
        if kept:
            self.objects.put(image_key(sha256), picture)
        given = Prediction(
            id=new_id(at), at=at, model_version=1, label=theirs, confidence=0.9, probabilities=(0.9, 0.1),
            embedding=None, statistics=(0.5,), image_sha256=sha256, image_width=1, image_height=1, image_format="png",
            image_bytes=len(picture), image_kept=kept, metadata=metadata, forward_ms=1.0,
        )  # fmt: skip
        shadow = ShadowAnswer(given.id, at, 1, theirs, 0.9, 1.0, 2, ours, sure, 1.0, metadata)
        self.log.append_predictions("spool", self.segment, [(0, given)])
        self.log.append_shadows("spool", self.segment, [(0, shadow)])
        return given.id

    def picture(self, sha256: str) -> bytes | None:
        return self.objects.get(image_key(sha256))

    def gallery(self, most: int = 60):
        return gallery(self.log, 1, 2, SINCE, CLASSES, most)


def _picture(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_the_surest_of_every_pair_of_answers_come_first_and_what_agrees_is_left_out(place):
    place.both("cat", "cat")
    unsure, sure = place.both("cat", "dog", 0.6), place.both("cat", "dog", 0.95)
    other = place.both("owl", "dog", 0.5)

    found = place.gallery()

    assert (found.compared, found.parted) == (4, 3)
    assert found.pairs == (("cat", "dog", 2), ("owl", "dog", 1))
    assert [one.id for one in found.shown] == [sure, other, unsure]
    assert [one.id for one in place.gallery(most=2).shown] == [sure, other]


def test_the_page_shows_the_pictures_both_answers_and_who_was_right(place):
    one = place.both("cat", "dog", camera="A <b>")
    place.both("cat", "owl", kept=False)
    place.log.append_labels("spool", 99, [(0, Label(one, "dog", now(), "ada", 1))])

    page = render_gallery_html("birds", place.gallery(), place.picture)

    assert len(re.findall(r'<img src="data:image/png;base64,', page)) == 1
    assert "picture not kept" in page
    assert re.search(r'class="wrong">champion: cat 90 %', page)
    assert re.search(r'class="right">shadow: dog 90 %', page)
    assert "A &lt;b&gt;" in page
    assert "they part on <strong>2</strong> (100.0 %)" in page


def test_before_the_first_answer_the_page_says_so(place):
    page = render_gallery_html("birds", place.gallery(), place.picture)

    assert "No image has been answered by both yet." in page
