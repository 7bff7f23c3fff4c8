"""What is kept out of every training: broken input, images that cannot be decoded, labels of people not trusted."""

import hashlib
import io
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.collecting.collect import first_snapshot, retrain_snapshot
from flows.collecting.from_production import production_examples
from flows.workplace import Workplace, open_workplace
from infra import schema
from infra.clock import new_id, now
from infra.database import writing
from models.prediction import Label, Prediction
from monitoring.image_stats import NAMES
from monitoring.incoming.lost_pictures import stretches
from monitoring.prediction_log import image_key
from tests.flows.card_project import card, project
from tests.service.cards import CLASSES

STARTED = now() - timedelta(hours=2)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return project(tmp_path, each=12, data='source = "camera"\n')


def sent(place: Workplace, minute: float, camera: str, *, blank: bool = False, data: bytes = b"") -> Prediction:
    """A picture that arrived so many minutes after the start."""
    pixels = np.random.default_rng(int(minute * 100)).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data = data or buffer.getvalue()
    sha = hashlib.sha256(data).hexdigest()
    place.objects.put(image_key(sha), data)
    looks = [0.5] * len(NAMES)
    looks[NAMES.index("contrast")] = 0.0 if blank else 0.3
    return Prediction(
        new_id(), STARTED + timedelta(minutes=minute), 1, "dark", 0.9, (1.0, 0.0, 0.0), np.zeros(3, np.float32),
        tuple(looks), sha, 8, 8, "png", len(data), True, {"camera": camera},
    )  # fmt: skip


def labelled(place: Workplace, *predictions: Prediction, by: str = "ann", segment: int = 1) -> None:
    place.log.append_predictions("spool", segment, list(enumerate(predictions)))
    labels = [Label(one.id, "dark", now(), by, segment * 1000 + number) for number, one in enumerate(predictions)]
    place.log.append_labels("spool", segment, list(enumerate(labels)))


def looked(
    place: Workplace, sequence: int, minute: float, action: str, *faults: tuple[str, str], seen: int = 2
) -> None:
    """A verdict of the watcher, with what it saw of the newest pictures."""
    told = [
        {"kind": kind, "source": source, "mostly": "dark", "share": 1.0, "pictures": 20, "words": kind}
        for kind, source in faults
    ]
    row = {
        "name": place.settings.project.name, "sequence": sequence, "at": STARTED + timedelta(minutes=minute),
        "model_version": 1, "action": action, "reasons": [], "window_sequence": None,
        "evidence": {"look": {"predictions": seen, "fault": "", "faults": told}},
    }  # fmt: skip
    with writing(place.engine) as connection:
        connection.execute(schema.verdicts.insert().values(**row))


def used(place: Workplace) -> tuple[set[str], dict[str, int]]:
    examples, left_out = production_examples(place, CLASSES)
    return {str(one.example.image).rpartition("/")[2] for one in examples}, dict(left_out)


def test_blank_pictures_of_a_broken_source_train_nothing_and_are_counted(place):
    before = sent(place, 1, "A", blank=True)  # a blank picture is no fault by itself
    broken = [sent(place, 10, "A", blank=True), sent(place, 11, "A", blank=True)]
    whole, other = sent(place, 10.5, "A"), sent(place, 10.7, "B", blank=True)
    labelled(place, before, *broken, whole, other)
    looked(place, 1, 12, "fix_input", ("blank", "A"), seen=4)

    images, left_out = used(place)

    assert images == {before.image_sha256, whole.image_sha256, other.image_sha256}
    assert left_out == {"of input that was broken (blank)": 2}


def test_a_fault_that_was_only_seen_beside_another_verdict_takes_no_label_away(place):
    blank = sent(place, 10, "A", blank=True)
    labelled(place, blank)
    looked(place, 1, 12, "nothing", ("blank", "A"))

    assert used(place) == ({blank.image_sha256}, {})


def test_everything_of_a_stuck_camera_is_kept_out_and_the_looks_make_one_stretch(place):
    during = [sent(place, 20 + minute, "A") for minute in range(3)]
    after = sent(place, 40, "A")
    labelled(place, *during, after)
    looked(place, 5, 21.5, "fix_input", ("stuck", "A"))
    looked(place, 6, 23, "fix_input", ("stuck", "A"))

    images, left_out = used(place)

    assert images == {after.image_sha256}
    assert left_out == {"of input that was broken (stuck)": 3}
    (stretch,) = stretches(place.log, place.engine, place.settings.project.name)
    assert (stretch.source, stretch.look) == ("A", 6)
    assert stretch.began == during[0].at


def test_a_file_that_came_again_and_again_is_kept_out_while_others_of_that_time_train(place):
    looping = card("red", 7)
    again = [sent(place, 30 + minute, "A", data=looping) for minute in range(2)]
    alone = sent(place, 30.5, "A")
    labelled(place, *again, alone)
    looked(place, 1, 32, "fix_input", ("same file", ""), seen=3)

    images, left_out = used(place)

    assert images == {alone.image_sha256}
    assert left_out == {"of input that was broken (same file)": 2}


def test_labels_of_somebody_who_is_not_trusted_do_not_count_but_an_earlier_one_does(place, tmp_path):
    one, other = sent(place, 1, "A"), sent(place, 2, "A")
    labelled(place, one, by="ann", segment=1)
    labels = [Label(one.id, "red", now(), "bot-7", 9_000), Label(other.id, "red", now(), "bot-7", 9_001)]
    place.log.append_predictions("spool", 2, [(0, other)])
    place.log.append_labels("spool", 2, list(enumerate(labels)))
    text = (tmp_path / "kedge.toml").read_text()
    (tmp_path / "kedge.toml").write_text(text.replace("[data]\n", '[data]\nuntrusted_labellers = ["bot-7"]\n', 1))
    wary = open_workplace(tmp_path)

    examples, left_out = production_examples(wary, CLASSES)

    assert [(str(each.example.image)[-64:], each.example.label) for each in examples] == [(one.image_sha256, "dark")]
    assert left_out == {"labelled by nobody who is trusted": 1}
    assert {each.example.label for each in production_examples(place, CLASSES)[0]} == {"red"}


def test_an_image_that_cannot_be_decoded_is_left_out_with_a_count(place, tmp_path):
    (tmp_path / "images" / "red3.png").write_bytes(card("red", 3)[:60])

    snapshot = first_snapshot(place)

    assert snapshot.left_out == {"cannot be decoded": 1}
    everything = (*snapshot.train, *snapshot.select, *snapshot.judge_old)
    assert tmp_path / "images" / "red3.png" not in {example.image for example in everything}


def test_all_that_is_left_out_is_in_the_snapshot_of_a_retrain(place, tmp_path):
    champion = (tmp_path / "candidate",)
    champion[0].mkdir()
    for name in ("model.onnx", "model.safetensors", "artifact.json"):
        (champion[0] / name).write_bytes(b"x")
    version = place.registry.register(champion[0], reason="first", parent_version=None)
    labelled(place, sent(place, 10, "A", blank=True), sent(place, 11, "B"))
    looked(place, 1, 12, "fix_input", ("blank", "A"))

    snapshot = retrain_snapshot(place, version, CLASSES)

    assert snapshot.left_out == {"of input that was broken (blank)": 1}
    assert sum(example.source == "production" for example in (*snapshot.train, *snapshot.select)) + len(
        snapshot.judge_recent
    ) == 1  # fmt: skip
