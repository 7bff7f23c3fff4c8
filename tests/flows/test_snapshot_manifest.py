"""The list of what trained a version: kept with it, checked against what is there, and the same images once more."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from flows.collecting.collect import first_snapshot, retrain_snapshot
from flows.collecting.manifest import (
    Manifest,
    forget_in_manifests,
    keep_manifest,
    kept_manifest,
    manifest_key,
    manifest_of,
)
from flows.collecting.preview import preview_retrain
from flows.collecting.snapshot import keep_snapshot
from flows.collecting.verifying import recreate, snapshot_named, verify
from flows.overrides import Overrides
from flows.workplace import Workplace, open_workplace
from infra.errors import UserError
from infra.jobs import note_run_dir, queue_job
from tests.flows.card_project import KNOWS, Heard, labelled_traffic, project, promoted
from tests.service.cards import CLASSES


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """Version 1 is champion, and labels have come since; the list of a retrain is kept with version 2."""
    made = project(tmp_path, each=20)
    promoted(made, KNOWS)
    labelled_traffic(made, 60)
    return made


@pytest.fixture
def snapshot(place):
    return retrain_snapshot(place, place.registry.champion(), CLASSES)


def test_a_list_that_was_kept_makes_the_fingerprint_and_names_no_judge_image(place, snapshot):
    version = place.registry.champion()

    key = keep_manifest(place, version, snapshot)

    kept = kept_manifest(place, version)
    assert kept == manifest_of(place, snapshot)
    assert kept.is_whole
    assert kept.counts["judge_recent"] == {"production": len(snapshot.judge_recent)}
    text = place.objects.get(key).decode()
    judging = [*snapshot.judge_old, *snapshot.judge_recent]
    assert judging
    for example in judging:
        assert snapshot.content_of(example) not in text
        assert Path(str(example.image)).name not in {Path(row.image).name for row in kept.rows}


def test_the_fingerprint_is_the_same_wherever_the_project_lies(tmp_path):
    here, there = project(tmp_path / "here", each=20), project(tmp_path / "there", each=20)
    first, *others = (tmp_path / "there" / "manifest.csv").read_text().splitlines()
    roles = [role for role in ("train", "train", "select", "judge") * 5 for _ in CLASSES]
    rows = [f"{first},split", *(f"{line},{role}" for line, role in zip(others, roles, strict=True))]
    for folder in ("here", "there"):
        (tmp_path / folder / "manifest.csv").write_text("\n".join(rows))

    assert first_snapshot(here).fingerprint == first_snapshot(there).fingerprint


def test_what_is_there_as_it_was_is_told_from_what_is_gone_or_changed(place, snapshot, tmp_path):
    manifest = manifest_of(place, snapshot)
    assert verify(place, "cards:2", manifest, Heard()).reproducible
    production = next(row for row in manifest.rows if row.source == "production")
    own = [row for row in manifest.rows if row.source == "manifest"]
    place.objects.delete(production.image)
    (tmp_path / own[0].image).write_bytes(b"something else")
    (tmp_path / own[1].image).unlink()

    found = verify(place, "cards:2", manifest, Heard())

    assert not found.reproducible
    assert set(found.missing) == {production.image, own[1].image}
    assert found.changed == (own[0].image,)
    assert found.words()[0] == (
        f"{len(manifest.rows) - 3} of {len(manifest.rows)} images that trained and selected cards:2 are there as they "
        "were."
    )


def test_a_snapshot_written_once_more_gives_the_same_images_and_roles(place, snapshot, tmp_path):
    out = tmp_path / "again"

    recreate(place, manifest_of(place, snapshot), out)

    again = open_workplace(tmp_path, Overrides(data=out / "manifest.csv"))
    taken = first_rows(out / "manifest.csv")
    assert {(row["image"].rpartition("/")[2], row["label"], row["split"]) for row in taken} == {
        (snapshot.content_of(example), example.label, example.split) for example in (*snapshot.train, *snapshot.select)
    }
    assert again.settings.data.manifest == out / "manifest.csv"
    with pytest.raises(UserError, match="is not empty"):
        recreate(place, manifest_of(place, snapshot), out)


def first_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_changed_line_no_longer_makes_the_fingerprint(place, snapshot):
    manifest = manifest_of(place, snapshot)

    relabelled = replace(manifest, rows=(replace(manifest.rows[0], label="another"), *manifest.rows[1:]))

    assert not relabelled.is_whole


def test_a_forgotten_image_leaves_every_list_whether_it_trained_or_judged(place, snapshot):
    version = place.registry.champion()
    keep_manifest(place, version, snapshot)
    trained = next(one for one in snapshot.train if one.source == "production")
    judged = snapshot.judge_recent[0]
    images = [str(one.image).rpartition("/")[2] for one in (trained, judged)]

    assert forget_in_manifests(place, images) == 1

    left = kept_manifest(place, version)
    assert left.forgotten == 2
    assert images[0] not in place.objects.get(manifest_key(version)).decode()
    assert len(left.judge) == len(snapshot.judge_old) + len(snapshot.judge_recent) - 1
    assert not left.is_whole
    assert "2 had to be forgotten" in " ".join(verify(place, "cards:1", left, Heard()).words())
    assert forget_in_manifests(place, images) == 0


def test_a_version_and_the_job_that_made_it_are_both_names_of_a_list(place, snapshot, tmp_path):
    version = place.registry.champion()
    with pytest.raises(UserError, match="was made before lists of images were kept"):
        snapshot_named(place, "1")
    keep_manifest(place, version, snapshot)
    job = queue_job(place.engine, "retrain", "manual")
    with pytest.raises(UserError, match="is queued and has no snapshot on this machine"):
        snapshot_named(place, job.id)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    keep_snapshot(snapshot, run_dir)
    note_run_dir(place.engine, job.id, str(run_dir))

    by_number, by_title = snapshot_named(place, "1"), snapshot_named(place, "cards:1")
    by_job = snapshot_named(place, job.id)

    assert by_number == by_title == ("cards:1", manifest_of(place, snapshot))
    assert by_job == (f"job {job.id}", manifest_of(place, snapshot))


def test_a_list_comes_back_from_its_text_as_it_was(place, snapshot):
    manifest = manifest_of(place, snapshot)

    assert Manifest.from_json(manifest.to_json()) == manifest
    assert json.loads(manifest.to_json())["fingerprint"] == snapshot.fingerprint


def test_a_dry_run_tells_what_would_be_used_and_does_nothing(place, snapshot):
    preview = preview_retrain(place)

    assert preview.fingerprint == snapshot.fingerprint
    assert preview.parts["train"].images == len(snapshot.train)
    assert preview.parts["train"].production == snapshot.fresh
    assert preview.fresh_select == snapshot.fresh_select
    assert sum(preview.parts["judge_recent"].classes.values()) == len(snapshot.judge_recent)
    assert place.ledger.rows("judge-readings") == ()
    assert not (place.settings.storage.home / "runs").exists()
