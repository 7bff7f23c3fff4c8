"""From what to label next, to a file, to people, and back: round trips, and files that are not as they should be."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from flows.label_export import export_csv, export_label_studio, next_labels
from flows.label_files import guarded, unguarded
from flows.labels import import_file
from flows.show_labels import show_exported, show_next
from flows.workplace import Workplace
from infra.clock import now
from infra.database import writing
from infra.errors import UserError
from infra.ledger import Ledger
from models.prediction import Prediction
from monitoring.labelling.requests import ANSWERED, ASKED, AUDIT, SKIPPED, UNCERTAIN, LabelRequest
from monitoring.labelling.rows import Labelling, LabelPlan, answers, requests, write_labels
from monitoring.prediction_log import image_key
from tests.flows.remembered import picture, project, sha256


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    place = project(tmp_path)
    candidate = tmp_path / "candidate"
    candidate.mkdir()
    for name in ("model.onnx", "model.safetensors"):
        (candidate / name).write_bytes(b"x")
    (candidate / "artifact.json").write_text(json.dumps({"classes": ["cat", "dog", "=owl"]}))
    place.registry.register(candidate, reason="first", parent_version=None)
    place.registry.champions.promote(1, actor="test", reason="test")
    return place


def ask(place: Workplace, *ids: str, audit: int = 1, kept: bool = True) -> None:
    """Predictions whose pictures are there, and a request for each; the first so many drawn by chance."""
    at, name = now(), place.settings.project.name
    rows, asked = [], []
    for number, identifier in enumerate(ids):
        data = picture(number)
        if kept:
            place.objects.put(image_key(sha256(data)), data)
        rows.append(
            Prediction(identifier, at, 1, "cat", 0.9, (0.9, 0.1), np.zeros(4, np.float32), (0.0,), sha256(data), 8, 8,
                       "png", len(data), True)
        )  # fmt: skip
        chance = number < audit
        asked.append(
            LabelRequest(
                name=name, prediction_id=identifier, predicted_at=at, asked_at=at, model_version=1,
                stratum=AUDIT if chance else UNCERTAIN, probability=0.25, uniform_probability=0.1, in_audit=chance,
                policy="poisson-1", state=ASKED, image_sha256=sha256(data),
                facts={"answer": "cat", "confidence": 0.9},
            )
        )  # fmt: skip
    place.log.append_predictions("s-0", 1, list(enumerate(rows)))
    plan = {
        "name": name, "sequence": 1, "at": at, "model_version": 1, "predictions": len(ids), "not_kept": 7,
        "asked": len(ids), "uniform_probability": 0.1, "period_s": 1.0, "pace_per_day": 1.0, "read_until": {},
    }  # fmt: skip
    with writing(place.engine) as connection:
        write_labels(connection, name, Labelling(LabelPlan(tuple(asked), 7, plan)), 7.0)


def settle(place: Workplace) -> None:
    """What the watcher's next look does."""
    name = place.settings.project.name
    found = answers(place.engine, place.log, name)
    with writing(place.engine) as connection:
        write_labels(connection, name, Labelling(None, found), 7.0)


def states(place: Workplace) -> dict[str, tuple[str, str | None]]:
    return {one.prediction_id: (one.state, one.label) for one in requests(place.engine, place.settings.project.name)}


def test_what_to_label_next_names_the_picture_and_hides_the_answer_where_it_would_sway(place):
    ask(place, "a", "b", "c")

    found = next_labels(place, limit=2)

    assert [(one.id, one.stratum, one.answer) for one in found.requests] == [
        ("a", AUDIT, None),
        ("b", UNCERTAIN, "cat"),
    ]
    assert (found.waiting, found.gone, found.not_kept) == (3, 0, 7)
    assert Path(found.requests[0].picture).read_bytes() == picture(0)
    assert {one.stratum: (one.waiting, one.rate) for one in found.responses} == {AUDIT: (1, None), UNCERTAIN: (2, None)}


def test_pictures_that_have_been_deleted_are_counted_and_not_exported(place, tmp_path):
    ask(place, "a", "b")
    place.objects.delete(image_key(sha256(picture(0))))

    done = export_csv(place, tmp_path / "out.csv", None, again=False)

    assert (done.requests, done.gone) == (1, 1)
    assert next_labels(place).gone == 1


def test_a_csv_goes_out_is_filled_in_and_comes_back(place, tmp_path):
    ids = ["a", "=SUM(A1)", "'quoted", 'b,"c"', "e"]
    ask(place, *ids)
    file = tmp_path / "out.csv"

    done = export_csv(place, file, tmp_path / "pictures", again=False)
    rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"), newline="")))
    for row in rows[:-1]:
        assert (tmp_path / row["image"]).read_bytes()
        assert not row["id"].startswith("=")
        row["label"], row["labelled_by"] = guarded("=owl" if row["id"] == "a" else "dog"), "ann"
    _write(file, rows)
    imported = import_file(place, file)
    settle(place)

    assert done.requests == 5
    assert (imported.labels, imported.unanswered, imported.orphans, imported.unknown_class) == (4, 1, 0, 0)
    assert {one["answer"] for one in rows if one["stratum"] == AUDIT} == {""}
    answered = {identifier: label for identifier, (state, label) in states(place).items() if state == ANSWERED}
    assert len(answered) == 4
    assert answered["a"] == "=owl"
    assert answered["=SUM(A1)"] == "dog"
    assert {label.labelled_by for label in place.log.last_labels().values()} == {"ann"}


def test_what_has_a_label_is_not_asked_for_again_before_the_watcher_has_seen_it(place, tmp_path):
    ask(place, "a", "b")
    file = tmp_path / "said.csv"
    file.write_text("id,label\na,dog\n")
    import_file(place, file)

    found = next_labels(place)
    exported = export_csv(place, tmp_path / "out.csv", None, again=True)
    console = Console(file=io.StringIO(), width=100)
    show_next(console, found)

    assert [one.id for one in found.requests] == ["b"]
    assert (found.waiting, found.come, exported.requests) == (1, 1, 1)
    assert "1 more label has come; `kedge watch` counts" in console.file.getvalue()


def test_whoever_fills_in_a_table_is_told_the_classes_and_a_slip_of_the_pen_is_named(place, tmp_path):
    ask(place, "a", "b")
    said = tmp_path / "said.csv"
    said.write_text("id,label\na,Dog\n")

    exported, imported = export_csv(place, tmp_path / "out.csv", None, again=False), import_file(place, said)
    console = Console(file=io.StringIO(), width=100)
    show_exported(console, exported, own_links=False)

    assert "with one of: cat, dog, =owl" in console.file.getvalue()
    assert imported.words().startswith("Imported 1 label from")
    assert "1 of a class that the champion lacks (Dog), kept until one has it" in imported.words()


def _write(file: Path, rows: list[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    file.write_text(text.getvalue(), encoding="utf-8")


@pytest.mark.parametrize("text", ["", "a", "=1", "'=1", "''", "-x", "@", "Łódź"])
def test_a_guarded_text_comes_back_as_it_was(text):
    assert unguarded(guarded(text)) == text
    assert not guarded(text).startswith(("=", "+", "-", "@"))


def test_label_studio_goes_round(place, tmp_path):
    ask(place, "a", "b", "c", "d")
    done = export_label_studio(place, tmp_path / "tasks.json", tmp_path / "my pictures", image_url=None, again=False)
    tasks = json.loads((tmp_path / "tasks.json").read_text())

    # As Label Studio would: the data is kept, its own numbers and people's annotations are added.
    said = {"a": "dog", "b": "cat", "c": None}
    back = []
    for number, task in enumerate(tasks, start=1):
        identifier = task["data"]["prediction_id"]
        annotations = []
        if identifier in said:
            label = said[identifier]
            result = [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [label]}}]
            annotations = [{"id": number, "completed_by": 1, "was_cancelled": label is None,
                            "result": [] if label is None else result}]  # fmt: skip
        back.append({"id": number, "data": task["data"], "annotations": annotations, "predictions": []})
    export = tmp_path / "project-1-at-2026-11-21.json"
    export.write_text(json.dumps(back))
    imported = import_file(place, export)
    settle(place)

    assert (done.requests, done.config) == (4, str(tmp_path / "tasks.xml"))
    assert '<Choice value="=owl"/>' in (tmp_path / "tasks.xml").read_text()
    links = [task["data"]["image"] for task in tasks]
    assert links[0] == f"/data/local-files/?d=my%20pictures/{sha256(picture(0))}.png"
    assert (tmp_path / "my pictures" / f"{sha256(picture(0))}.png").read_bytes() == picture(0)
    assert ["predictions" in task for task in tasks] == [False, True, True, True]
    assert (imported.labels, imported.skipped, imported.unanswered, imported.refused) == (2, 1, 1, ())
    assert states(place) == {"a": (ANSWERED, "dog"), "b": (ANSWERED, "cat"), "c": (SKIPPED, None), "d": (ASKED, None)}


def test_a_later_export_of_the_same_project_adds_what_is_new_alone(place, tmp_path):
    ask(place, "a", "b")
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    entry = {"id": 1, "prediction_id": "a", "label": "dog", "annotator": 1}
    first.write_text(json.dumps([entry]))
    second.write_text(json.dumps([entry, {**entry, "id": 2, "prediction_id": "b", "label": "emu"}]))

    one, again, two = import_file(place, first), import_file(place, first), import_file(place, second)

    assert (one.labels, one.known, one.repeated) == (1, 0, False)
    assert again.repeated
    assert (two.labels, two.known, two.unknown_class) == (1, 1, 1)
    assert "1 of a class that the champion lacks (emu)" in two.words()
    assert len(place.log.new_labels().rows) == 2


def test_an_export_leaves_out_what_was_exported_before_and_never_writes_over_a_file(place, tmp_path):
    ask(place, "a")
    file = tmp_path / "out.csv"
    export_csv(place, file, None, again=False)

    with pytest.raises(UserError, match="is there already, and may hold labels"):
        export_csv(place, file, None, again=False)
    with pytest.raises(UserError, match="1 were exported before; --again"):
        export_csv(place, tmp_path / "two.csv", None, again=False)
    assert export_csv(place, tmp_path / "two.csv", None, again=True).requests == 1
    with pytest.raises(UserError, match=r"folder .* is not there"):
        export_csv(place, tmp_path / "no" / "three.csv", None, again=True)
    assert [row.kind for row in Ledger(place.engine).rows("labels")] == ["asked", "exported", "exported"]


def test_own_links_are_as_the_person_says(place, tmp_path):
    ask(place, "a")

    export_label_studio(place, tmp_path / "t.json", None, image_url="https://pictures.example/x/", again=False)

    (task,) = json.loads((tmp_path / "t.json").read_text())
    assert task["data"]["image"] == f"https://pictures.example/x/{sha256(picture(0))}.png"
    assert (tmp_path / "t-images" / f"{sha256(picture(0))}.png").is_file()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "lacks the column"),
        (b"id,label\n", "it has no rows"),
        (b"id,label\na,cat\n,dog\nb,\n", r"rows 3, 4"),
        (b'id,label\na,"two\nlines"\n', "row 3: 'two"),
        (b"id,label\na,cat\xff\n", "cannot be read as CSV in UTF-8"),
        (b'id,label\na,"cat\n', "cannot be read as CSV"),
        (b"id,label\na," + b"x" * 200 + b"\n", "no text of up to 128"),
        (b"id,label\na,ca\x00t\n", "not imported|cannot be read"),
        (b"name,klass\na,cat\n", "lacks the column.*its columns are: name, klass"),
        (b"prediction_id,id\na,7\n", "lacks the column.*label"),
        (b"[1, 2", "cannot be read as an export of Label Studio"),
        (b'{"id": 1}', "expected a list of tasks"),
        (b"[" * 100_000, "cannot be read as an export of Label Studio"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused_as_a_whole(place, tmp_path, content, says):
    file = tmp_path / "labels.csv"
    file.write_bytes(content)

    with pytest.raises(UserError, match=says):
        import_file(place, file)

    assert place.log.last_labels() == {}


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfid,label\r\na,cat\r\n",
        b"id;label\na;cat\n",
        b"id\tlabel\na\tcat\n",
        b" id , label \n a , cat \n",
        b"label,id,extra\ncat,a,1,2,3\n",
        # Label Studio's own CSV numbers its tasks in the column id.
        b"annotator,id,image,label,prediction_id\n1,4,x.png,cat,a\n",
    ],
)
def test_tables_as_spreadsheets_write_them_are_read(place, tmp_path, content):
    ask(place, "a")
    file = tmp_path / "labels.csv"
    file.write_bytes(content)

    imported = import_file(place, file)

    assert (imported.labels, imported.orphans) == (1, 0)
    assert place.log.last_labels()["a"].label == "cat"


def test_unknown_ids_are_kept_and_counted_as_ever(place, tmp_path):
    ask(place, "a")
    file = tmp_path / "labels.json"
    entry = {"id": 1, "prediction_id": "never-seen", "label": "dog", "annotator": "ann"}
    file.write_text(json.dumps([entry, {**entry, "prediction_id": "a\u202e"}]))

    imported = import_file(place, file)

    assert (imported.labels, imported.orphans, len(imported.refused)) == (1, 1, 1)
    assert "no text of up to 128 printable characters" in imported.words()
    assert replace(imported, file="x").words().startswith("Imported 1 label from x; 1 with an id that is not in")
