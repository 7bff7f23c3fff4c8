"""What trains, what selects, what judges: from a manifest and from labelled production images."""

import hashlib
import io
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.collecting.collect import first_snapshot, retrain_snapshot
from flows.collecting.images import read_image
from flows.collecting.run_folder import write_run_dir
from flows.collecting.snapshot import keep_snapshot, kept_snapshot
from flows.labels import import_file
from flows.workplace import Workplace, open_workplace
from infra.clock import new_id, now
from infra.errors import UserError
from models.prediction import Label, Prediction
from monitoring.prediction_log import image_key
from tests.flows.fixed_roles import fix_roles


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    (tmp_path / "images").mkdir()
    rows = ["image,label,camera"]
    for index in range(120):
        name = f"images/{index}.png"
        (tmp_path / name).write_bytes(picture(index))
        rows.append(f"{name},{'cat' if index % 2 else 'dog'},A")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    (tmp_path / "kedge.toml").write_text('[data]\nmanifest = "manifest.csv"\n[train]\nreplay_images = 20\n')
    return fix_roles(open_workplace(tmp_path))


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def answer(place: Workplace, data: bytes, *, kept: bool = True, camera: str = "B") -> Prediction:
    """A prediction as the service logs it, with its image in the object store where it was kept."""
    sha = hashlib.sha256(data).hexdigest()
    if kept:
        place.objects.put(image_key(sha), data)
    return Prediction(
        new_id(), now(), 1, "cat", 0.9, (0.9, 0.1), np.zeros(4, np.float32), (0.0,), sha, 8, 8, "png", len(data), kept,
        {"camera": camera},
    )  # fmt: skip


def log(place: Workplace, predictions: list[Prediction], labels: list[Label], segment: int = 1) -> None:
    place.log.append_predictions("spool", segment, list(enumerate(predictions)))
    place.log.append_labels("spool", segment, list(enumerate(labels)))


def register_champion(place: Workplace, tmp_path: Path):
    candidate = tmp_path / "candidate"
    candidate.mkdir()
    for name in ("model.onnx", "model.safetensors", "artifact.json"):
        (candidate / name).write_bytes(b"x")
    return place.registry.register(candidate, reason="first", parent_version=None)


def test_a_first_snapshot_gives_every_image_one_role_and_the_same_one_again(place):
    first = first_snapshot(place)
    again = first_snapshot(place)

    assert first == again
    assert first.classes == ("cat", "dog")
    images = [example.image for part in (first.train, first.select, first.judge_old) for example in part]
    assert len(images) == len(set(images)) == 120


def test_judge_images_never_enter_the_run_directory(place, tmp_path):
    snapshot = first_snapshot(place)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "images").mkdir()

    write_run_dir(place, snapshot, run_dir)

    written = {path.read_bytes() for path in (run_dir / "images").iterdir()}
    judged = {Path(example.image).read_bytes() for example in snapshot.judge_old}
    assert not written & judged
    assert len(written) == len(snapshot.train) + len(snapshot.select)


def test_labelled_production_images_join_replayed_old_ones(place, tmp_path):
    champion = register_champion(place, tmp_path)
    predictions = [answer(place, picture(1000 + index)) for index in range(60)]
    log(place, predictions, [Label(one.id, "dog", now(), sequence=index) for index, one in enumerate(predictions)])

    snapshot = retrain_snapshot(place, champion, ("cat", "dog"))

    old = [example for example in snapshot.train if example.source == "manifest"]
    assert len(old) == 20
    assert sum(example.label == "cat" for example in old) == 10
    assert snapshot.fresh > 0
    assert all(example.source == "production" for example in snapshot.judge_recent)
    assert snapshot.fresh + len(snapshot.judge_recent) + sum(e.source == "production" for e in snapshot.select) == 60


def test_what_cannot_train_is_counted_with_its_reason(place, tmp_path):
    champion = register_champion(place, tmp_path)
    unknown, lost, good = (answer(place, picture(2000 + index), kept=index != 1) for index in range(3))
    at = now()
    log(
        place,
        [unknown, lost, good],
        [Label(unknown.id, "bird", at), Label(lost.id, "cat", at), Label(good.id, "cat", at)],
    )

    snapshot = retrain_snapshot(place, champion, ("cat", "dog"))

    assert snapshot.left_out == {"class unknown to the model": 1, "image not kept": 1}


def test_images_labelled_before_the_champion_was_made_are_old(place, tmp_path):
    early = answer(place, picture(3000))
    log(place, [early], [Label(early.id, "cat", now() - timedelta(days=1))])
    champion = register_champion(place, tmp_path)

    snapshot = retrain_snapshot(place, champion, ("cat", "dog"))

    assert snapshot.judge_recent == ()
    assert all(example.source == "manifest" for example in snapshot.judge_recent)


def test_a_snapshot_that_was_kept_comes_back_as_it_was(place, tmp_path):
    snapshot = first_snapshot(place)

    assert kept_snapshot(tmp_path) is None
    keep_snapshot(snapshot, tmp_path)

    assert kept_snapshot(tmp_path) == snapshot


def test_the_same_labels_file_counts_once(place, tmp_path):
    prediction = answer(place, picture(4000))
    log(place, [prediction], [], segment=1)
    file = tmp_path / "labels.csv"
    file.write_text(f"id,label\n{prediction.id},dog\nnever-seen,cat\n")

    first, second = import_file(place, file), import_file(place, file)

    assert first.words() == f"Imported 2 labels from {file}; 1 with an id that is not in the log yet."
    assert second.words() == f"{file} was imported before; nothing was added."
    assert place.log.labelled()["true_label"].to_list() == ["dog"]


def test_a_labels_file_with_an_empty_cell_is_not_imported_at_all(place, tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("id,label\na,cat\nb,\n")

    with pytest.raises(UserError, match=r"every row needs an id and a label \(rows 3\)"):
        import_file(place, file)

    assert place.log.last_labels() == {}


def test_a_copy_of_a_judge_image_never_trains(place, tmp_path):
    judged = first_snapshot(place).judge_old[0]
    data = Path(judged.image).read_bytes()
    (tmp_path / "images/copy.png").write_bytes(data)
    rows = (tmp_path / "manifest.csv").read_text().replace("camera\n", "camera,split\n")
    (tmp_path / "manifest.csv").write_text(f"{rows}\nimages/copy.png,{judged.label},A,train\n")
    champion = register_champion(place, tmp_path)
    sent = answer(place, data)
    log(place, [sent], [Label(sent.id, judged.label, now())])

    snapshot = retrain_snapshot(place, champion, ("cat", "dog"))

    assert snapshot.left_out == {"copies of images that judge or select": 1, "in the manifest already": 1}
    taught = {read_image(place, example) for example in (*snapshot.train, *snapshot.select)}
    assert data not in taught
    assert judged.image in {example.image for example in snapshot.judge_old}
