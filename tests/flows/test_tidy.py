"""Tidying: what is past its time goes, what is needed stays, and readers are told in words."""

import json
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from flows import timetable
from flows.collecting.from_production import production_examples
from flows.collecting.images import read_image
from flows.collecting.snapshot import PRODUCTION
from flows.pinned import pins
from flows.tidying import tidy
from flows.workplace import Workplace
from infra.clock import now
from infra.errors import UserError
from infra.forgettings import ask_to_forget, open_forgettings
from infra.jobs import claim_job, finish_job, note_run_dir, queue_job
from infra.ledger import Ledger
from infra.settings import load
from models.examples import Example
from models.prediction import Label
from monitoring.log.image_keeping import Pins
from monitoring.log.retention import is_sampled
from monitoring.prediction_log import image_key
from tests.flows.remembered import Sent, ids, picture, project, shipped
from tests.flows.test_forget import Silent, entry

OLD = timedelta(days=40)
STRICT = "[retention]\nimages_days = 14.0\nimage_sample = 0.0\n"


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return project(tmp_path, STRICT)


def sent(number: int, **facts: str) -> Sent:
    return Sent(f"id-{number}", picture(100 + number), **facts)


def kept(place: Workplace, *each: Sent) -> list[bool]:
    return [place.objects.exists(image_key(one.sha256)) for one in each]


def champion_trained_on(place: Workplace, folder: Path, *each: Sent, snapshot: bool = True) -> None:
    """A champion whose run directory lies here with its snapshot, or elsewhere."""
    candidate = folder / "candidate"
    candidate.mkdir()
    for name in ("model.onnx", "model.safetensors", "artifact.json"):
        (candidate / name).write_bytes(b"x")
    version = place.registry.register(candidate, reason="first", parent_version=None, labels_until=now() - OLD)
    place.registry.champions.promote(version.version, actor="test", reason="test")
    job = queue_job(place.engine, "retrain", "drift")
    claim_job(place.engine, job.id)
    run = place.settings.storage.home / "runs" / job.id
    note_run_dir(place.engine, job.id, str(run))
    if snapshot:
        run.mkdir(parents=True)
        parts = {"train": [entry(one, "train") for one in each], "select": [], "judge_old": [], "judge_recent": []}
        (run / "snapshot.json").write_text(json.dumps(parts))
    finish_job(place.engine, job.id, "done", outcome={"version": version.version, "promoted": True})


def test_old_images_go_and_recent_labelled_and_trained_ones_stay(place, tmp_path):
    old, labelled, trained, recent = sent(1), sent(2, label="cat"), sent(3), sent(4)
    shipped(place, old, labelled, trained, at=now() - OLD)
    shipped(place, recent, segment=2)
    champion_trained_on(place, tmp_path, trained)

    done = tidy(place, Silent())

    assert kept(place, old, labelled, trained, recent) == [False, True, True, True]
    assert (done.images.expired, done.images.freed_bytes) == (1, len(old.data))
    assert done.images.kept == {
        "recent": 1, "labelled": 1, "needed by the champion or a running training": 1
    }  # fmt: skip
    assert ids(place) == ["id-1", "id-2", "id-3", "id-4"]
    (row,) = Ledger(place.engine).rows("keeping")
    assert (row.kind, row.facts["images"]["expired"]) == ("tidied", 1)


def test_an_image_that_is_shown_again_is_recent_again(place):
    again = sent(1)
    shipped(place, again, at=now() - OLD)
    shipped(place, again, segment=2)

    tidy(place, Silent())

    assert kept(place, again) == [True]


def test_a_dry_run_says_what_would_go_and_changes_nothing(place):
    old = sent(1)
    shipped(place, old, at=now() - OLD)

    done = tidy(place, Silent(), dry_run=True)

    assert done.images.expired == 1
    assert "images: 1 would be deleted" in "\n".join(done.words())
    assert kept(place, old) == [True]
    assert Ledger(place.engine).rows("keeping") == ()


def test_under_the_cap_what_the_champion_needs_stays_and_the_rest_is_said(tmp_path):
    place = project(tmp_path, "[retention]\nmost_images_gb = 0.001\n")
    needed, recent, labelled = (Sent(f"id-{n}", bytes([n]) * 600_000, "cat" if n == 2 else "") for n in range(3))
    shipped(place, needed, recent, labelled)
    champion_trained_on(place, tmp_path, needed)

    done = tidy(place, Silent())

    assert kept(place, needed, recent, labelled) == [True, False, False]
    assert done.images.capped == {"recent": 1, "labelled": 1}
    assert done.images.over_bytes == 0
    more = Sent("id-9", bytes([9]) * 600_000)
    shipped(place, more, segment=2)
    run = next((place.settings.storage.home / "runs").iterdir())
    document = json.loads((run / "snapshot.json").read_text())
    document["train"].append(entry(more, "train"))
    (run / "snapshot.json").write_text(json.dumps(document))

    again = tidy(place, Silent())

    assert kept(place, needed, more) == [True, True]
    assert again.images.over_bytes == 200_000
    assert "Images take 1.2 MB, 0.2 MB more than retention.most_images_gb" in again.remarks[0]


def test_where_the_champion_was_trained_elsewhere_what_it_could_have_seen_is_needed(place, tmp_path):
    before, after = sent(1, label="cat"), sent(2, label="cat")
    shipped(place, before, at=now() - 2 * OLD)
    shipped(place, after, segment=2)
    champion_trained_on(place, tmp_path, snapshot=False)

    found = pins(place)

    assert found.needed == frozenset()
    assert found.labelled_until is not None
    assert tidy(place, Silent()).images.kept == {
        "labelled": 1, "needed by the champion or a running training": 1
    }  # fmt: skip


def test_while_a_training_is_choosing_every_labelled_image_is_needed(place):
    job = queue_job(place.engine, "retrain", "drift")
    claim_job(place.engine, job.id)

    choosing = pins(place)
    finish_job(place.engine, job.id, "failed", error="killed")

    assert choosing == Pins(all_labelled=True)
    assert pins(place) == Pins()


def test_rows_go_by_whole_days_as_the_settings_say(tmp_path):
    place = project(tmp_path, "[retention]\npredictions_days = 30.0\nlabels_days = 0.0\n")
    shipped(place, sent(1, label="cat"), at=now() - OLD)
    shipped(place, sent(2, label="dog"), segment=2)
    looked = tidy(place, Silent(), dry_run=True)

    done = tidy(place, Silent())

    assert [table.rows_deleted for table in looked.tables] == [1, 0, 0, 0]
    assert [table.rows_deleted for table in done.tables] == [1, 0, 0, 0]
    assert ids(place) == ["id-2"]
    assert set(place.log.last_labels()) == {"id-1", "id-2"}
    assert tidy(place, Silent()).tables[0].rows_deleted == 0


def test_small_files_are_merged_beside_a_shipper_at_work(place):
    stop = threading.Event()

    def ship() -> None:
        for segment in range(1, 31):
            shipped(place, Sent(f"id-{segment}", picture(segment)), segment=segment, spool="s-1")
        stop.set()

    shipper = threading.Thread(target=ship)
    shipper.start()
    while not stop.is_set():
        tidy(place, Silent())
    shipper.join()
    done = tidy(place, Silent())

    assert ids(place) == sorted(f"id-{segment}" for segment in range(1, 31))
    files = place.log.predictions.scan().explain().count(".parquet")
    assert files == 1, done


def test_a_request_that_was_left_open_is_gone_on_with(place):
    ada = sent(1, label="cat")
    shipped(place, ada, sent(2))
    ask_to_forget(place.engine, ada.id, "ada")

    done = tidy(place, Silent())

    assert done.forgotten == 1
    assert open_forgettings(place.engine) == ()
    assert ids(place) == ["id-2"]
    assert kept(place, ada) == [False]


def test_whoever_needs_an_evicted_image_is_told_that_it_is_not_kept_any_more(place):
    old = sent(1)
    shipped(place, old, at=now() - OLD)
    tidy(place, Silent())

    with pytest.raises(UserError, match=r"The image images/.* is not kept any more: .*\[retention\]"):
        read_image(place, Example(image_key(old.sha256), "cat", source=PRODUCTION))


def test_a_label_for_an_evicted_image_is_counted_and_breaks_no_retrain(place):
    old = sent(1)
    shipped(place, old, at=now() - OLD)
    tidy(place, Silent())
    place.log.append_labels("s-9", 1, [(0, Label(old.id, "cat", now()))])

    usable, left_out = production_examples(place, ("cat", "dog"))

    assert usable == []
    assert left_out == {"image not kept": 1}


def test_the_schedule_comes_from_the_settings(tmp_path):
    (daily,) = timetable.tidy_schedules(load(tmp_path, {}))

    assert (daily.cron, daily.timezone) == ("30 3 * * *", "UTC")
    assert timetable.tidy_schedules(load(tmp_path, {"KEDGE_RETENTION__CRON": ""})) == []
    with pytest.raises(UserError, match=r"retention\.cron should be five fields.*for every day at 3:30"):
        timetable.check(load(tmp_path, {"KEDGE_RETENTION__CRON": "daily"}))


@pytest.mark.slow
def test_the_command_tells_a_person_and_a_machine(place, tmp_path):
    shipped(place, sent(1), at=now() - OLD)
    place.engine.dispose()

    def kedge(*arguments: str) -> "subprocess.CompletedProcess[str]":
        argv = [sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)

    looked, done = kedge("tidy", "--dry-run"), kedge("tidy", "--json")

    assert "predictions: 0 rows would be deleted (all are kept)" in looked.stdout
    assert "images: 1 would be deleted" in looked.stdout
    assert json.loads(done.stdout)["images"]["expired"] == 1


def test_the_sample_of_the_settings_is_the_one_that_stays(tmp_path):
    place = project(tmp_path, "[retention]\nimage_sample = 0.5\n")
    each = [sent(number) for number in range(40)]
    shipped(place, *each, at=now() - OLD)

    tidy(place, Silent())

    assert kept(place, *each) == [is_sampled(one.sha256, 0.5) for one in each]
    assert 5 < sum(kept(place, *each)) < 35
