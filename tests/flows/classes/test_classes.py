"""A class that the champion lacks: from labels in quarantine to a wider head that serves and is watched."""

import json
import logging
from datetime import timedelta
from hashlib import sha256

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.classes.add import add_classes, queue_wider
from flows.classes.quarantine import class_counts
from flows.cli import app
from flows.collecting.preparing import prepared
from flows.first_model import train
from flows.orders import SUCCESSOR, Order
from flows.telling import Logged
from flows.workplace import open_workplace, role_key
from infra.clock import new_id, now
from infra.errors import UserError
from infra.jobs import jobs, queue_job
from models.artifact import read_artifact
from models.examples import role_of
from models.prediction import Label, Prediction
from models.runtime import Runtime
from models.training.plan import read_plan
from monitoring.prediction_log import image_key
from monitoring.watch import WatchPlace, tick
from tests.flows.gating.opinions import TWO, card, cards, open_project, reader, registered
from tests.flows.tiny_network import TINY_NETWORK

TELLER = Logged(logging.getLogger(__name__))
SETTINGS = (
    """
[data]
manifest = "manifest.csv"
near_duplicate_distance = 0
"""
    + TINY_NETWORK
    + """[train]
threads = 1
most_epochs_per_stage = 8
patience_epochs = 4
[monitor]
feedback_is_random = true
"""
)


def write_manifest(folder, images: int = 120) -> None:
    rows = ["image,label,split"]
    for number, one in enumerate(cards(folder / "images", images, (0.0, 0.0, 0.0))):
        role = ("train", "train", "train", "select", "judge")[number // 2 % 5]
        rows.append(f"images/{one.image.name},{one.label},{role}")
    (folder / "manifest.csv").write_text("\n".join(rows))


@pytest.fixture
def place(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    place = open_project(folder, SETTINGS)
    write_manifest(folder)
    monkeypatch.chdir(folder)
    return place


def send(place, labels: dict[str, int], segment: int = 1, version: int = 1) -> list[Prediction]:
    """Pictures of these classes, predicted and labelled; grey was labelled by people who know what it is."""
    made, at = [], now() - timedelta(minutes=5)
    for place_of, (label, count) in enumerate(labels.items()):
        for number in range(count):
            data = card((label if label != "gray" else "grey",) * 3, 70_000 * segment + 1_000 * place_of + number)
            content = sha256(data).hexdigest()
            place.objects.put(image_key(content), data)
            made.append((Prediction(
                id=new_id(at), at=at, model_version=version, label="dark", confidence=0.6, probabilities=(0.6, 0.4),
                embedding=np.zeros(3, dtype=np.float32), statistics=(0.5,) * 7, image_sha256=content, image_width=8,
                image_height=8, image_format="png", image_bytes=len(data), image_kept=True, metadata={},
            ), label))  # fmt: skip
    place.log.append_predictions("p", segment, list(enumerate(one for one, _ in made)))
    labels_given = [Label(one.id, said, now(), "ann", sequence=row) for row, (one, said) in enumerate(made)]
    place.log.append_labels("l", segment, list(enumerate(labels_given)))
    return [one for one, _ in made]


def test_classes_in_quarantine_are_counted_by_what_they_could_do(place, tmp_path):
    registered(place, reader(tmp_path / "a", 0, TWO))
    send(place, {"grey": 30, "gray": 3, "dark": 4})

    counts = {one.name: one for one in class_counts(place)}

    key = role_key(place.engine)
    assert list(counts) == ["dark", "light", "grey", "gray"]
    assert (counts["dark"].known, counts["grey"].known) == (True, False)
    assert counts["grey"].images == counts["grey"].labels == 30
    assert counts["grey"].lacks == ""
    assert counts["gray"].lacks == "7 more labelled images"
    assert counts["dark"].images == 64
    assert role_of("anything", key) in {"train", "select", "judge"}


def test_the_command_lists_them_and_says_what_comes_next(place, tmp_path):
    registered(place, reader(tmp_path / "a", 0, TWO))
    send(place, {"grey": 30})

    shown = CliRunner().invoke(app, ["classes"], catch_exceptions=False).stdout
    told = json.loads(CliRunner().invoke(app, ["classes", "--json"], catch_exceptions=False).stdout)

    assert "in quarantine, ready" in shown
    assert "`kedge classes add grey` trains a candidate that knows it" in shown
    assert [(one["name"], one["known"]) for one in told] == [("dark", True), ("light", True), ("grey", False)]


def test_what_cannot_be_learnt_is_refused_all_at_once_and_nothing_is_begun(place, tmp_path):
    registered(place, reader(tmp_path / "a", 0, TWO))
    send(place, {"grey": 30, "gray": 3})

    with pytest.raises(UserError) as error:
        queue_wider(place, ["dark", "gray", "greyy"], "ada")

    assert "the champion knows 'dark' already" in str(error.value)
    assert "'gray' has 3 labelled images that are kept, and lacks 7 more labelled images" in str(error.value)
    assert "nobody labelled anything 'greyy'; did you mean 'grey'?" in str(error.value)
    assert jobs(place.engine) == ()


def test_while_another_job_is_open_no_class_is_added(place, tmp_path):
    registered(place, reader(tmp_path / "a", 0, TWO))
    send(place, {"grey": 30})
    other = queue_job(place.engine, "retrain", "harm")

    with pytest.raises(UserError, match="Another training job is open"):
        queue_wider(place, ["grey"], "ada")

    assert [(one.id, one.state) for one in jobs(place.engine)] == [(other.id, "queued")]


def test_the_job_waits_and_whoever_claims_it_collects_for_a_wider_head(place, tmp_path):
    registered(place, reader(tmp_path / "a", 0, TWO))
    send(place, {"grey": 30})

    job = queue_wider(place, ["grey"], "ada")
    [waiting] = jobs(place.engine)
    run_dir = place.settings.storage.home / "runs" / job.id
    order = Order(SUCCESSOR, waiting.reason, run_dir, new_classes=tuple(waiting.evidence["classes"]))
    snapshot = prepared(place, order, place.registry.champion(), TELLER)

    assert (waiting.state, waiting.reason) == ("queued", "classes")
    assert read_plan(run_dir).classes == ("dark", "grey", "light")
    assert {one.label for one in snapshot.train} == {"dark", "grey", "light"}
    assert place.ledger.rows("classes")[-1].facts == {"classes": ["grey"], "job": job.id}


@pytest.mark.slow
def test_a_champion_learns_a_class_more_serves_it_and_is_watched(place):
    train(place, TELLER)
    send(place, {"grey": 60, "dark": 10, "light": 10})

    done = add_classes(place, ["grey"], TELLER, "ada")

    assert done.outcome is not None, done.words
    version = done.outcome.version
    folder = place.registry.fetch(version.version, place.fetched)
    assert read_artifact(folder).classes == ("dark", "grey", "light")
    assert any("held against the floors alone: grey" in note for note in done.outcome.decision.notes)
    assert {one.group for one in done.outcome.decision.checks if "grey" in one.group} == {"class=grey"}
    runtime = Runtime.open(folder)
    assert runtime.artifact.classes[1] == "grey"

    # Whatever the gate made of sixty images: a person promotes it, and traffic of both heads lies in the log.
    place.registry.champions.promote(version.version, actor="ada", reason="test")
    watch = WatchPlace(place.settings, place.engine, place.objects, place.registry, place.log)
    at = now()
    rows = [Prediction(
        id=new_id(at), at=at, model_version=version.version, label="grey", confidence=0.9,
        probabilities=(0.05, 0.9, 0.05), embedding=np.zeros(runtime.artifact.embedding_size, dtype=np.float32),
        statistics=(0.5,) * 7, image_sha256=f"{number:064x}", image_width=8, image_height=8, image_format="png",
        image_bytes=9, image_kept=True, metadata={},
    ) for number in range(220)]  # fmt: skip
    place.log.append_predictions("q", 1, list(enumerate(rows)))
    place.log.append_labels("m", 1, list(enumerate([Label(one.id, "grey", now(), "ann", sequence=900 + number)
                                                    for number, one in enumerate(rows[:40])])))  # fmt: skip
    seen = tick(watch)
    assert seen is not None
    assert {one.name for one in class_counts(open_workplace(place.settings.root)) if one.known} == {
        "dark",
        "grey",
        "light",
    }
