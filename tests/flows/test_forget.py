"""Forgetting one prediction: nothing of it is left, everything else is, and no kill keeps it from happening."""

import json
import logging
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from flows.forget import forget, go_on, preview
from flows.telling import Logged
from flows.workplace import Workplace, open_workplace
from infra import schema
from infra.clock import now
from infra.database import writing
from infra.errors import UserError
from infra.forgettings import all_forgettings, ask_to_forget, open_forgettings
from infra.jobs import claim_job, finish_job, note_run_dir, queue_job
from infra.ledger import Ledger
from models.prediction import Label
from monitoring.forgetting.pages import drop_reference_image
from monitoring.image_stats import NAMES
from monitoring.prediction_log import image_key
from monitoring.reference.profile import Projection, ReferenceProfile, load_profile, save_profile
from monitoring.watching.batch import Batch
from monitoring.watching.state import WatchState, load_state, store_state
from tests.flows.remembered import Sent, ids, picture, project, shipped, spooled, where

ADA = Sent("the-id-of-ada", picture(1), "cat", "bob", shadowed=True, metadata="ada's own camera")
BEN = Sent("the-id-of-ben", picture(2), "dog")
CLEO = Sent("the-id-of-cleo", picture(3))


class Silent(Logged):
    def __init__(self) -> None:
        super().__init__(logging.getLogger("test"))


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return project(tmp_path)


def forgotten(place: Workplace, *sent: Sent):
    return forget(place, [one.id for one in sent], Silent(), "ada")


def test_a_forgotten_prediction_is_nowhere_any_more_and_all_others_are_as_they_were(place):
    shipped(place, ADA, BEN)
    spooled(place, CLEO)
    secrets = (ADA.id, ADA.sha256, ADA.data, ADA.metadata)
    held = where(place, *secrets)

    done = forgotten(place, ADA)[ADA.id]

    assert len(held) >= 5  # two tables with their logs, and the image
    assert where(place, *secrets) == []
    assert ids(place) == [BEN.id, CLEO.id]
    assert place.log.last_labels().keys() == {BEN.id}
    assert place.objects.get(image_key(BEN.sha256)) == BEN.data
    assert (done.known, dict(done.rows), done.images) == (True, {"predictions": 1, "labels": 1, "shadows": 0}, 1)


def test_what_still_lay_in_the_spool_is_forgotten_too(place):
    spooled(place, BEN)
    spooled(place, ADA)

    done = forgotten(place, ADA)[ADA.id]

    # The shipper drops what is being forgotten, so that the tables never see it; it was known all the same.
    assert where(place, ADA.id, ADA.sha256, ADA.data) == []
    assert ids(place) == [BEN.id]
    assert (done.known, dict(done.rows)) == (True, {"predictions": 1, "labels": 1, "shadows": 1})


def test_only_a_pseudonym_is_left_whose_key_is_gone(place):
    shipped(place, ADA)

    done = forgotten(place, ADA)[ADA.id]

    (row,) = all_forgettings(place.engine)
    assert (row.prediction_id, row.pseudonym_key, row.state) == (None, None, "done")
    assert row.pseudonym == done.pseudonym
    ledger = Ledger(place.engine)
    assert [entry.facts["pseudonym"] for entry in ledger.rows("keeping")] == [done.pseudonym] * 2
    assert ledger.rows("keeping")[-1].facts["rows"] == {"predictions": 1, "labels": 1, "shadows": 0}
    assert ledger.verify("keeping") is None


@pytest.mark.parametrize(
    "name", ["it's", "' OR '1'='1", "x' OR id <> '", "a\\", '"', "%", "*", "Łódź 🚢", "'; DROP TABLE predictions; --"]
)
def test_an_id_of_any_text_forgets_itself_alone(place, name):
    shipped(place, Sent(name, picture(4), "cat"), BEN, Sent(f"{name} ", picture(5)))

    forget(place, [name], Silent(), "ada")

    assert ids(place) == sorted([BEN.id, f"{name} "])
    assert place.log.last_labels().keys() == {BEN.id}


def test_every_row_of_a_caller_s_own_id_goes_however_often_it_was_used(place):
    again = Sent(ADA.id, picture(6), "dog")
    shipped(place, ADA)
    shipped(place, again, BEN, segment=2)

    done = forgotten(place, ADA)[ADA.id]

    assert done.images == 2
    assert where(place, ADA.id, ADA.sha256, again.sha256) == []
    assert ids(place) == [BEN.id]


def test_a_picture_that_another_prediction_shows_is_kept_and_said_to_be(place):
    twin = Sent("the-id-of-a-twin", ADA.data)
    shipped(place, ADA, twin)
    traces, others = preview(place, ADA.id)

    done = forgotten(place, ADA)[ADA.id]

    assert others == {ADA.sha256: 1}
    assert traces.rows["predictions"] == 1
    assert place.objects.get(image_key(ADA.sha256)) == ADA.data
    assert "A picture was kept: 1 other prediction shows the same one." in done.left
    assert done.images == 0
    assert forget(place, [twin.id], Silent(), "ada")[twin.id].images == 1
    assert where(place, ADA.sha256) == []


def test_two_that_share_a_picture_are_forgotten_together_with_it(place):
    twin = Sent("the-id-of-a-twin", ADA.data)
    shipped(place, ADA, twin, BEN)

    forgotten(place, ADA, twin)

    assert where(place, ADA.id, twin.id, ADA.sha256) == []
    assert ids(place) == [BEN.id]


def test_an_unknown_id_is_told_so_and_its_orphan_labels_go(place):
    shipped(place, BEN)
    place.log.append_labels("import-1", 1, [(0, Label("nobody", "cat", now()))])

    done = forget(place, ["nobody"], Silent(), "ada")["nobody"]

    assert not done.known
    assert done.rows == {"predictions": 0, "labels": 1, "shadows": 0}
    assert where(place, "nobody") == []


def test_a_label_that_comes_afterwards_is_an_orphan(place):
    shipped(place, ADA, BEN)
    forgotten(place, ADA)

    place.log.append_labels("s-1", 1, [(0, Label(ADA.id, "cat", now()))])

    assert place.log.orphans() == 1
    assert place.log.labelled()["id"].to_list() == [BEN.id]


def test_the_preview_changes_nothing(place):
    shipped(place, ADA)

    traces, others = preview(place, ADA.id)

    assert traces.rows == {"predictions": 1, "labels": 1, "shadows": 0}
    assert others == {ADA.sha256: 0}
    assert ids(place) == [ADA.id]
    assert all_forgettings(place.engine) == ()


def entry(sent: Sent, split: str) -> dict[str, object]:
    return {
        "image": image_key(sent.sha256), "label": sent.label or "cat", "split": split, "metadata": {"camera": "A"},
        "group": sent.sha256, "source": "production",
    }  # fmt: skip


def trained(place: Workplace, *, train=(), select=(), judge=(), state: str = "done", version: int | None = 1) -> Path:
    """A run directory as a training leaves it, beside its job."""
    job = queue_job(place.engine, "retrain", "drift")
    folder = place.settings.storage.home / "runs" / job.id
    (folder / "images").mkdir(parents=True)
    (folder / "report").mkdir()
    note_run_dir(place.engine, job.id, str(folder))
    manifest = {"image": {"file": "/photos/1.png"}, "label": "cat", "split": "train", "metadata": {}, "group": "1",
                "source": "manifest"}  # fmt: skip
    parts = {
        "train": [*(entry(one, "train") for one in train), manifest],
        "select": [entry(one, "select") for one in select],
        "judge_old": [entry(one, "judge") for one in judge],
        "judge_recent": [],
    }
    (folder / "snapshot.json").write_text(json.dumps({"classes": ["cat", "dog"], **parts}))
    rows = ["image,label,role,weight,group,source"]
    for role, examples in (("train", train), ("select", select)):
        for one in examples:
            (folder / "images" / one.sha256).write_bytes(one.data)
            rows.append(f"images/{one.sha256},cat,{role},1,{one.sha256},production")
    (folder / "examples.csv").write_text("\n".join(rows) + "\n")
    for name in ("pixels.npy", "pixels.json", "select_logits.npy"):
        (folder / name).write_bytes(b"derived")
    shown = "".join(f"<td>{image_key(one.sha256)}</td>" for one in (*select, *judge))
    page = f'<img src="data:image/svg+xml;base64,AAAA"><img src="data:image/png;base64,Qk9P">{shown}'
    (folder / "report" / "index.html").write_text(page)
    (folder / "report" / "judge_mistakes.png").write_bytes(b"drawn")
    if version is not None:
        place.objects.put(f"models/classifier/{version}/report.html", page.encode())
    claim_job(place.engine, job.id)
    if state == "queued":
        with writing(place.engine) as connection:
            connection.execute(schema.jobs.update().where(schema.jobs.c.id == job.id).values(state="queued"))
    elif state != "running":
        finish_job(place.engine, job.id, state, outcome={"version": version, "promoted": True})
    return folder


def register(place: Workplace, tmp_path: Path) -> int:
    candidate = tmp_path / "candidate"
    candidate.mkdir()
    for name in ("model.onnx", "model.safetensors", "artifact.json"):
        (candidate / name).write_bytes(b"x")
    return place.registry.register(candidate, reason="first", parent_version=None).version


def test_trainings_keep_no_copy_and_the_versions_that_learned_from_it_are_named(place, tmp_path):
    shipped(place, ADA, BEN, CLEO)
    version = register(place, tmp_path)
    run = trained(place, train=[ADA, BEN], judge=[CLEO], version=version)
    (place.settings.storage.home / "features").mkdir()
    (place.settings.storage.home / "features" / "1.rows.safetensors").write_bytes(b"activations")

    done = forgotten(place, ADA)[ADA.id]

    assert where(place, ADA.id, ADA.sha256, ADA.data) == []
    assert where(place, b"derived", b"activations") == []
    assert [row.split(",")[0] for row in (run / "examples.csv").read_text().splitlines()[1:]] == [
        f"images/{BEN.sha256}"
    ]
    snapshot = json.loads((run / "snapshot.json").read_text())
    assert [one["label"] for one in snapshot["train"]] == ["dog", "cat"]
    assert (run / "images" / BEN.sha256).read_bytes() == BEN.data
    assert any(words.startswith("The weights of classifier:1 learned from the picture") for words in done.left)
    assert not any("count the picture as one of many judge images" in words for words in done.left)


def test_a_report_that_shows_the_picture_keeps_its_figures_and_loses_its_pictures(place, tmp_path):
    shipped(place, ADA, BEN)
    version = register(place, tmp_path)
    run = trained(place, train=[BEN], judge=[ADA], version=version)

    done = forgotten(place, ADA)[ADA.id]

    for page in (
        (run / "report" / "index.html").read_text(),
        place.objects.get("models/classifier/1/report.html").decode(),
    ):
        assert "image/png" not in page
        assert "data:image/svg+xml;base64,AAAA" in page
        assert "These pictures were removed" in page
        assert "<td>a forgotten image</td>" in page
    assert not (run / "report" / "judge_mistakes.png").exists()
    assert where(place, ADA.sha256) == []
    assert any("classifier:1 count the picture as one of many judge images" in words for words in done.left)


def test_a_training_that_runs_is_waited_for_and_the_rest_is_done_meanwhile(place, tmp_path):
    shipped(place, ADA, BEN)
    run = trained(place, train=[ADA, BEN], state="running", version=None)

    with pytest.raises(UserError, match=r"Training job .* is running and may hold the picture"):
        forgotten(place, ADA)

    assert ids(place) == [BEN.id]
    (waiting,) = open_forgettings(place.engine)
    finish_job(place.engine, run.name, "failed", error="killed")
    late = Sent(ADA.id, picture(77))  # from a machine that was away
    shipped(place, late, spool="other-0")
    (done,) = go_on(place, Silent())
    assert done.pseudonym == waiting.pseudonym
    assert (done.rows["predictions"], done.images) == (2, 2)
    assert where(place, ADA.id, ADA.sha256, ADA.data, late.sha256) == []


def test_a_training_that_was_broken_off_starts_anew_without_the_picture(place):
    shipped(place, ADA)
    run = trained(place, train=[ADA], state="queued", version=None)

    forgotten(place, ADA)

    assert not run.exists()
    assert where(place, ADA.id, ADA.sha256, ADA.data) == []


def test_lists_and_caches_of_the_home_lose_the_picture_alone(place):
    shipped(place, ADA, BEN)
    home = place.settings.storage.home
    (home / "fingerprints-1.json").write_text(
        json.dumps({one.sha256: ["00" * 13, 1.0, 2.0, 3.0, False] for one in (ADA, BEN)})
    )
    (home / "label-errors").mkdir()
    rows = [f"{image_key(one.sha256)},cat,dog,0.1,train,production" for one in (ADA, BEN)]
    (home / "label-errors" / "suspects.csv").write_text("\n".join(["image,label", *rows]) + "\n")
    (home / "label-errors" / "suspects.html").write_text("<img>")

    forgotten(place, ADA)

    assert where(place, ADA.sha256) == []
    assert list(json.loads((home / "fingerprints-1.json").read_text())) == [BEN.sha256]
    assert BEN.sha256 in (home / "label-errors" / "suspects.csv").read_text()
    assert not (home / "label-errors" / "suspects.html").exists()


def test_a_list_of_excluded_images_is_a_person_s_own_and_named(tmp_path):
    (tmp_path / "kedge.toml").write_text('[data]\nexclude = "bad.csv"\n')
    place = open_workplace(tmp_path)
    (tmp_path / "bad.csv").write_text(f"image\n{image_key(ADA.sha256)}\n")
    shipped(place, ADA)

    done = forgotten(place, ADA)[ADA.id]

    assert any("bad.csv, which data.exclude names, has the picture's key" in words for words in done.left)


KILLED = """
import os, signal, sys
from pathlib import Path
import flows.forget as job
from flows.workplace import open_workplace
from tests.flows.test_forget import Silent

left = int(sys.argv[2])

def fatal(module, name):
    real = getattr(module, name)
    def deed(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    setattr(module, name, deed)

for name in ("ask_to_forget", "note_step", "erase", "drop_waiting_labels", "finish_forgetting"):
    fatal(job, name)
fatal(job.caches, "forget_in_caches")
fatal(job.run_folders, "forget_in_run")
job.forget(open_workplace(Path(sys.argv[1])), ["the-id-of-ada"], Silent(), "ada")
print("finished")
"""


@pytest.mark.slow
def test_killed_at_any_step_it_is_gone_on_with(tmp_path):
    finished = False
    for step in range(1, 30):
        folder = tmp_path / str(step)
        folder.mkdir()
        place = project(folder)
        shipped(place, ADA, BEN)
        if step < 4:  # later the spool has been shipped, and is only waited for
            spooled(place, CLEO)
        trained(place, train=[ADA, BEN], version=None, state="failed")
        child = subprocess.run(
            [sys.executable, "-c", KILLED, str(folder), str(step)],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        finished = "finished" in child.stdout
        assert finished or child.returncode == -signal.SIGKILL, child.stderr

        if step == 1:  # killed before the request was written: then there is none, and the same command asks again
            assert open_forgettings(place.engine) == ()
            forgotten(place, ADA)
        else:
            go_on(place, Silent())

        assert where(place, ADA.id, ADA.sha256, ADA.data) == []
        assert ids(place) == [BEN.id, CLEO.id][: 2 if step < 4 else 1]
        (row,) = all_forgettings(place.engine)
        assert row.steps["outcome"]["rows"] == {"predictions": 1, "labels": 1, "shadows": 0}
        assert row.steps["outcome"]["images"] == 1
        assert [entry.kind for entry in Ledger(place.engine).rows("keeping")] == ["asked to forget", "forgotten"]
        place.engine.dispose()
        if finished:
            break
    assert finished
    assert step > 10


def test_a_request_that_is_asked_for_twice_is_one(place):
    shipped(place, ADA)
    ask_to_forget(place.engine, ADA.id, "ada")

    forgotten(place, ADA, ADA)

    assert len(all_forgettings(place.engine)) == 1


def test_while_the_store_cannot_be_written_nothing_is_deleted_and_the_request_stays_open(place):
    shipped(place, BEN)
    spooled(place, ADA)
    objects = place.settings.storage.home / "objects" / "images"
    aside = objects.rename(objects.with_name("images aside"))
    objects.write_text("a file where the folder should be")
    ben_again = Sent("another", picture(9))
    spooled(place, ben_again)

    with pytest.raises(UserError, match="could not be brought to the tables, so nothing was deleted"):
        forgotten(place, ADA)

    assert len(open_forgettings(place.engine)) == 1
    objects.unlink()
    aside.rename(objects)
    go_on(place, Silent())
    assert ids(place) == sorted([BEN.id, ben_again.id])
    assert where(place, ADA.id) == []


def kedge(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONSAFEPATH": "1"}, timeout=120,
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_says_what_went_what_stays_and_who_was_not_known(place, tmp_path):
    shipped(place, ADA, BEN)
    place.engine.dispose()

    looked = kedge(tmp_path, "forget", "--id", ADA.id, "--dry-run")
    done = kedge(tmp_path, "forget", "--id", ADA.id)
    again = kedge(tmp_path, "forget", "--id", ADA.id)
    listed = kedge(tmp_path, "forget", "--list", "--json")
    nothing = kedge(tmp_path, "forget")

    assert looked.returncode == 0, looked.stderr
    assert "would delete 1 of predictions, 1 of labels, 0 of shadows (rows) and 1 pictures" in looked.stdout
    assert done.returncode == 0, done.stderr
    assert "What cannot be removed:" in done.stdout
    assert "Backups of the database" in done.stdout
    assert again.returncode == 1
    assert f"No prediction has the id '{ADA.id}'" in again.stderr
    requests = json.loads(listed.stdout)
    assert [one["state"] for one in requests] == ["done", "done"]
    assert ADA.id not in listed.stdout
    assert nothing.returncode == 1
    assert "name a prediction with --id" in nothing.stderr


def test_the_reference_loses_the_picture_s_rows_and_no_other(place, tmp_path):
    images, rounds = 3, 4
    rows = images * rounds
    values = np.arange(rows, dtype=np.float64)
    batch = Batch(
        np.tile(values[:, None], len(NAMES)), values[:, None], values[:, None],
        tuple(f"label {n}" for n in range(rows)),
        tuple({"camera": f"of image {n % images}"} for n in range(rows)),
    )  # fmt: skip
    one, each = np.ones(1), np.ones(len(NAMES))
    profile = ReferenceProfile(
        1, ("cat",), images, batch, tuple("cat" for _ in range(rows)), each, each,
        Projection(one, np.ones((1, 1)), one), values, {}, {}, {},
    )  # fmt: skip
    save_profile(place.engine, place.objects, "classifier", profile)

    first = drop_reference_image(place.engine, place.objects, "classifier", 1, place=1, images=3)
    again = drop_reference_image(place.engine, place.objects, "classifier", 1, place=1, images=3)

    assert (first, again) == (True, False)
    left = load_profile(place.engine, place.objects, "classifier", 1)
    assert left is not None
    assert left.images == 2
    assert left.distances.tolist() == [0, 2, 3, 5, 6, 8, 9, 11]
    assert {row["camera"] for row in left.batch.metadata} == {"of image 0", "of image 2"}
    assert left.plain.labels == ("label 0", "label 2")


def test_a_forgotten_prediction_is_no_longer_named_as_one_of_the_strangest(place):
    shipped(place, ADA, BEN)
    name, at = place.settings.project.name, now()
    window = {
        # A camera whose clock is wrong sends predictions whose time lies outside of their window.
        "name": name, "sequence": 1, "model_version": 1, "started_at": at - timedelta(days=3),
        "ended_at": at - timedelta(days=2), "predictions": 2, "report_key": None,
        "summary": {"contributors": {"outputs: entropy": [ADA.id, BEN.id], "embedding: all": [BEN.id]}},
    }  # fmt: skip
    with writing(place.engine) as connection:
        connection.execute(schema.windows.insert().values(**window))
        store_state(connection, name, WatchState(sequence=1))

    forget(place, [ADA.id], Silent(), "ada")

    with writing(place.engine) as connection:
        left = connection.execute(schema.windows.select()).mappings().one()["summary"]
        assert not store_state(connection, name, WatchState(sequence=2)), "a look under way would write it anew"
    assert left == {"contributors": {"outputs: entropy": [BEN.id], "embedding: all": [BEN.id]}}


def test_the_page_of_its_window_goes_and_the_window_s_figures_stay(place):
    shipped(place, ADA, BEN)
    at = now()
    with writing(place.engine) as connection:
        for number, moment in ((1, at - timedelta(hours=5)), (2, at)):
            window = {
                "name": "classifier", "sequence": number, "model_version": 1, "started_at": moment - timedelta(hours=1),
                "ended_at": moment + timedelta(hours=1), "predictions": 2, "summary": {},
                "report_key": f"reports/{number}",
            }  # fmt: skip
            connection.execute(schema.windows.insert().values(**window))
            page = {"id": str(number), "kind": "window", "at": at, "title": "", "object_key": f"reports/{number}.html",
                    "facts": {"name": "classifier", "window": number, "wanted": f"reports/{number}.json"}}  # fmt: skip
            connection.execute(schema.reports.insert().values(**page))
        state = WatchState(sequence=1, waiting=(Label(ADA.id, "cat", at), Label("another", "cat", at)))
        store_state(connection, "classifier", state)
    for key in ("reports/1.html", "reports/2.html", "reports/2.json"):
        place.objects.put(key, b"page")

    forgotten(place, ADA)

    assert list(place.objects.list("reports/")) == ["reports/1.html"]
    with writing(place.engine) as connection:
        kept = connection.execute(schema.windows.select().order_by(schema.windows.c.sequence)).mappings().all()
        pages = connection.execute(schema.reports.select()).mappings().all()
        late = store_state(connection, "classifier", WatchState(sequence=2, waiting=(Label(ADA.id, "cat", at),)))
    assert [row["report_key"] for row in kept] == ["reports/1", None]
    assert [row["id"] for row in pages] == ["1"]
    assert [label.id for label in load_state(place.engine, "classifier").waiting] == ["another"]
    assert not late  # a watcher who looked in that moment writes nothing of what it still had
    assert where(place, ADA.id) == []
