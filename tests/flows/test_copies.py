"""One picture, one role: copies, near-duplicates, contradictions and exclusions, from manifest to snapshot."""

import hashlib
import io
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.collecting.collect import first_snapshot, retrain_snapshot
from flows.collecting.snapshot import keep_snapshot, kept_snapshot
from flows.workplace import Workplace, open_workplace, role_key
from infra.clock import new_id, now
from infra.errors import UserError
from models.examples import role_of
from models.prediction import Label, Prediction
from monitoring.prediction_log import image_key

CLASSES = ("cat", "dog")


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """Of each class twelve pictures that train, four that select and four that judge."""
    (tmp_path / "images").mkdir()
    for label in CLASSES:
        for number in range(20):
            role = "train" if number < 12 else "select" if number < 16 else "judge"
            add(tmp_path, f"{label}{number}", label, role, png(scene(number + 100 * CLASSES.index(label))))
    (tmp_path / "kedge.toml").write_text('[data]\nmanifest = "manifest.csv"\ngroup = "session"\n')
    return open_workplace(tmp_path)


def scene(seed: int) -> Image.Image:
    cells = np.random.default_rng(seed).integers(40, 215, (14, 12, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((60, 90), Image.Resampling.BICUBIC)


def png(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=85)
    return buffer.getvalue()


def add(root: Path, name: str, label: str, role: str, data: bytes) -> None:
    (root / "images" / name).write_bytes(data)
    path = root / "manifest.csv"
    text = path.read_text() if path.exists() else "image,label,split,session\n"
    path.write_text(f"{text}images/{name},{label},{role},\n")


def settings(root: Path, words: str) -> Workplace:
    (root / "kedge.toml").write_text(f'[data]\nmanifest = "manifest.csv"\ngroup = "session"\n{words}\n')
    return open_workplace(root)


def champion(place: Workplace, tmp_path: Path, **options):
    candidate = tmp_path / "candidate"
    candidate.mkdir()
    for name in ("model.onnx", "model.safetensors", "artifact.json"):
        (candidate / name).write_bytes(b"x")
    return place.registry.register(candidate, reason="first", parent_version=None, **options)


def sent(place: Workplace, data: bytes, session: str, at=None) -> Prediction:
    sha = hashlib.sha256(data).hexdigest()
    place.objects.put(image_key(sha), data)
    return Prediction(
        new_id(), at or now(), 1, "cat", 0.9, (0.9, 0.1), np.zeros(4, np.float32), (0.0,), sha, 8, 8, "png", len(data),
        True, {"session": session},
    )  # fmt: skip


def log(place: Workplace, predictions: list[Prediction], labels: list[Label], segment: int = 1) -> None:
    place.log.append_predictions("spool", segment, list(enumerate(predictions)))
    place.log.append_labels("spool", segment, list(enumerate(labels)))


def session_of(place: Workplace, role: str, number: int = 0) -> str:
    names = (f"session-{count}" for count in range(1000))
    return [name for name in names if role_of(name, role_key(place.engine)) == role][number]


def names(examples) -> set[str]:
    return {Path(example.image).name for example in examples}


def test_a_near_duplicate_of_a_judge_or_select_image_does_not_train(place, tmp_path):
    add(tmp_path, "again-judge", "cat", "train", png(scene(18), "JPEG"))
    add(tmp_path, "again-select", "dog", "train", png(scene(113), "JPEG"))
    add(tmp_path, "selects-what-judges", "dog", "select", png(scene(119), "JPEG"))

    snapshot = first_snapshot(place)

    assert snapshot.left_out == {"near-duplicates of images that judge or select": 3}
    assert not names((*snapshot.train, *snapshot.select)) & {"again-judge", "again-select", "selects-what-judges"}
    assert {"cat18", "dog19"} <= names(snapshot.judge_old)
    assert "dog13" in names(snapshot.select)


def test_with_a_distance_of_nothing_only_equal_bytes_are_copies(place, tmp_path):
    add(tmp_path, "again", "cat", "train", png(scene(18), "JPEG"))
    add(tmp_path, "copy", "cat", "train", png(scene(18)))

    snapshot = first_snapshot(settings(tmp_path, "near_duplicate_distance = 0"))

    assert snapshot.left_out == {"copies of images that judge or select": 1}
    assert "again" in names(snapshot.train)


def test_a_labelled_production_image_that_nearly_is_a_judge_image_does_not_train(place, tmp_path):
    again = sent(place, png(scene(18), "JPEG"), session_of(place, "train"))
    log(place, [again], [Label(again.id, "cat", now())])

    snapshot = retrain_snapshot(place, champion(place, tmp_path), CLASSES)

    assert snapshot.left_out == {"near-duplicates of images that judge or select": 1}
    assert snapshot.fresh == 0


def test_one_image_with_two_labels_is_used_by_nobody(place, tmp_path):
    add(tmp_path, "contradiction", "dog", "train", png(scene(18)))

    snapshot = first_snapshot(place)

    assert snapshot.left_out == {"the same image with different labels (cat18, contradiction)": 2}
    everything = names((*snapshot.train, *snapshot.select, *snapshot.judge_old))
    assert not everything & {"cat18", "contradiction"}
    assert len(everything) == 39


def test_a_label_from_production_that_contradicts_the_manifest_silences_both(place, tmp_path):
    agreeing, contradicting = sent(place, png(scene(0)), "a"), sent(place, png(scene(1)), "a")
    log(place, [agreeing, contradicting], [Label(agreeing.id, "cat", now()), Label(contradicting.id, "dog", now())])

    snapshot = retrain_snapshot(place, champion(place, tmp_path), CLASSES)

    assert snapshot.left_out["in the manifest already"] == 1
    assert sum(count for reason, count in snapshot.left_out.items() if "different labels" in reason) == 2
    assert "cat0" in names(snapshot.train)
    assert "cat1" not in names(snapshot.train)


def test_near_duplicates_with_different_labels_are_used_and_remarked_on(place, tmp_path):
    add(tmp_path, "nearly", "dog", "train", png(scene(18), "JPEG"))

    snapshot = first_snapshot(place)

    assert snapshot.left_out == {}
    assert "nearly" in names(snapshot.train)
    assert snapshot.remarks[0].startswith(
        "1 pairs of near-duplicates bear different labels and are used as they are: cat18 is 'cat', nearly is 'dog'"
    )
    kept = tmp_path / "run"
    keep_snapshot(snapshot, kept)
    assert kept_snapshot(kept) == snapshot


def test_what_a_person_excluded_is_left_out_by_name_but_still_judges(place, tmp_path):
    (tmp_path / "wrong.csv").write_text("image,label\nimages/cat3,cat\nimages/dog14,dog\nimages/cat17,cat\n")

    snapshot = first_snapshot(settings(tmp_path, 'exclude = "wrong.csv"'))

    assert snapshot.left_out == {"named in wrong.csv (cat3, dog14)": 2}
    assert not names((*snapshot.train, *snapshot.select)) & {"cat3", "dog14"}
    assert "cat17" in names(snapshot.judge_old)


def test_a_production_image_is_excluded_by_its_key(place, tmp_path):
    wrong = sent(place, png(scene(500)), session_of(place, "train"))
    log(place, [wrong], [Label(wrong.id, "cat", now())])
    (tmp_path / "wrong.csv").write_text(f"image\n{image_key(wrong.image_sha256)}\n")

    snapshot = retrain_snapshot(settings(tmp_path, 'exclude = "wrong.csv"'), champion(place, tmp_path), CLASSES)

    assert snapshot.fresh == 0
    assert list(snapshot.left_out.values()) == [1]


def test_an_exclusion_that_is_not_there_says_what_to_do(place, tmp_path):
    with pytest.raises(UserError, match=r"data\.exclude names .*gone\.csv, which is not there"):
        first_snapshot(settings(tmp_path, 'exclude = "gone.csv"'))


def test_an_image_sent_again_under_another_group_keeps_its_role(place, tmp_path):
    data, start = png(scene(600)), now() - timedelta(hours=3)
    first = sent(place, data, session_of(place, "train"), start)
    again = sent(place, data, session_of(place, "judge"), start + timedelta(hours=1))
    log(place, [first, again], [Label(again.id, "cat", now())])
    version = champion(place, tmp_path, labels_until=start)
    before = retrain_snapshot(place, version, CLASSES)

    log(place, [], [Label(first.id, "cat", now(), sequence=1)], segment=2)
    after = retrain_snapshot(place, version, CLASSES)

    for snapshot in (before, after):
        assert [example.split for example in snapshot.train if example.source == "production"] == ["train"]
        assert snapshot.judge_recent == ()
    assert after.left_out == {"sent more than once": 1}


def test_an_image_sent_twice_and_labelled_differently_is_not_used(place, tmp_path):
    data = png(scene(700))
    one, other = sent(place, data, "a"), sent(place, data, "a")
    log(place, [one, other], [Label(one.id, "cat", now()), Label(other.id, "dog", now(), sequence=1)])

    snapshot = retrain_snapshot(place, champion(place, tmp_path), CLASSES)

    assert snapshot.left_out == {"sent more than once, with different labels": 2}
    assert all(example.source == "manifest" for example in (*snapshot.train, *snapshot.select))


def test_labels_that_came_while_the_champion_trained_are_fresh(place, tmp_path):
    session, judged = session_of(place, "train"), session_of(place, "judge")
    seen, during, judging = (sent(place, png(scene(800 + index)), name) for index, name in enumerate(
        (session, session, judged)))  # fmt: skip
    start = now() - timedelta(hours=1)
    log(place, [seen, during, judging], [Label(seen.id, "cat", start)])
    earlier = champion(place, tmp_path, labels_until=start - timedelta(days=1))
    trained_on = retrain_snapshot(place, earlier, CLASSES)
    moment = now() - timedelta(minutes=30)
    log(place, [], [Label(during.id, "dog", moment, sequence=1), Label(judging.id, "dog", moment, sequence=2)], 2)

    (tmp_path / "candidate").rename(tmp_path / "earlier")
    successor = champion(place, tmp_path, labels_until=trained_on.labels_until)
    snapshot = retrain_snapshot(place, successor, CLASSES)

    assert trained_on.labels_until == start
    assert successor.created_at > moment
    assert successor.fresh_since == start
    assert [str(example.image) for example in snapshot.judge_recent] == [image_key(judging.image_sha256)]
    assert snapshot.labels_until == moment


def test_a_class_that_loses_all_its_training_images_is_told_why(place, tmp_path):
    rows = ["image,label,split,session"]
    for number in range(12):
        (tmp_path / "images" / f"twin{number}").write_bytes(png(scene(18), "JPEG"))
        rows.append(f"images/twin{number},bird,train,")
    rows.append("images/cat18,bird,judge,")
    rows.append("images/cat1,bird,select,")
    kept = [
        row
        for row in (tmp_path / "manifest.csv").read_text().splitlines()[1:]
        if "cat1," not in row and "cat18" not in row
    ]
    (tmp_path / "manifest.csv").write_text("\n".join([*rows, *kept]))

    with pytest.raises(UserError) as caught:
        first_snapshot(place)

    assert "class 'bird' has no train image among its 2" in str(caught.value)
    assert "left out: 12, near-duplicates of images that judge or select" in str(caught.value)
