"""What a person sees of collecting: a retrain that is only looked at, and what trained a version."""

import json

import pytest

from flows.collecting.collect import retrain_snapshot
from flows.collecting.manifest import keep_manifest
from tests.flows.card_project import KNOWS, labelled_traffic, project, promoted
from tests.service.cards import CLASSES


@pytest.fixture
def kedge(tmp_path, kedge, monkeypatch):
    """The command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return kedge


@pytest.fixture
def place(tmp_path):
    made = project(tmp_path, each=20)
    promoted(made, KNOWS)
    labelled_traffic(made, 60)
    return made


def test_a_dry_run_shows_the_parts_and_trains_nothing(place, kedge, tmp_path):
    code, out, _ = kedge("retrain", "--dry-run")
    _, document, _ = kedge("retrain", "--dry-run", "--json")

    assert code == 0
    assert "What a retrain from cards:1 would use" in out
    assert "judge, labelled since" in out
    assert "nothing was trained" in out
    parts = json.loads(document)["parts"]
    assert sum(part["production"] for part in parts.values()) == 60
    assert not (tmp_path / ".kedge" / "runs").exists()


def test_what_trained_a_version_is_checked_and_written_once_more(place, kedge, tmp_path):
    champion = place.registry.champion()
    snapshot = retrain_snapshot(place, champion, CLASSES)
    keep_manifest(place, champion, snapshot)

    code, out, _ = kedge("data", "--snapshot", "1", "--out", str(tmp_path / "again"))

    images = len(snapshot.train) + len(snapshot.select)
    assert code == 0
    assert f"The {images} images that trained and selected cards:1 are there, each as it was then." in out
    assert len((tmp_path / "again" / "manifest.csv").read_text().splitlines()) == images + 1


def test_a_version_whose_images_are_gone_is_told_with_exit_code_1(place, kedge):
    champion = place.registry.champion()
    snapshot = retrain_snapshot(place, champion, CLASSES)
    keep_manifest(place, champion, snapshot)
    gone = next(one for one in snapshot.train if one.source == "production")
    place.objects.delete(gone.image)

    code, out, _ = kedge("data", "--snapshot", "cards:1")

    assert code == 1
    assert "1 are gone: images/" in out
