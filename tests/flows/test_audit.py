"""The audit of a project with labelled predictions, from the tables to the page."""

import hashlib
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from starlette.testclient import TestClient

from flows.audit import Asked, audit
from flows.bias_watch import audit_for_bias
from flows.forgetting.pictures import forget_in_audits
from flows.show_audit import show_audit
from flows.workplace import Workplace, open_workplace
from infra import schema
from infra.clock import new_id
from infra.database import writing
from infra.errors import UserError
from infra.files import sha256_of
from models.artifact import write_artifact
from models.prediction import Label, Prediction
from monitoring.console.app import application
from monitoring.image_stats import NAMES
from monitoring.policies.rows import newest_audit
from monitoring.prediction_log import image_key
from monitoring.subgroups.page import render_audit_html
from tests.flows.remembered import picture
from tests.models.finished_runs import artifact

BIRDS = ("crow", "duck", "owl")
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Workplace:
    """900 labelled predictions; in the dark most pictures of camera B are called wrong; 50 pictures of D."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "kedge.toml").write_text('[data]\nmanifest = "manifest.csv"\nsubgroups = ["camera", "serial"]\n')
    opened = open_workplace(folder)
    champion(opened, folder / "candidate")
    chance = np.random.default_rng(4)
    rows = [prediction(chance, number) for number in range(900)]
    for one, _, content in rows:
        if one.metadata["camera"] == "B":
            opened.objects.put(image_key(one.image_sha256), content)
    opened.log.append_predictions("s-0", 1, list(enumerate(one for one, _, _ in rows)))
    labels = [Label(one.id, truth, one.at, "ann", number) for number, (one, truth, _) in enumerate(rows)]
    opened.log.append_labels("s-0", 1, list(enumerate(labels)))
    with writing(opened.engine) as connection:
        connection.execute(schema.label_requests.insert(), [asked(opened, one) for one, _, _ in rows[:300]])
    return opened


def champion(place: Workplace, folder: Path) -> None:
    folder.mkdir()
    for name in ("model.onnx", "model.safetensors"):
        (folder / name).write_bytes(name.encode())
    made = replace(
        artifact(BIRDS), onnx_sha256=sha256_of(folder / "model.onnx"), onnx_bytes=10,
        weights_sha256=sha256_of(folder / "model.safetensors"),
    )  # fmt: skip
    write_artifact(made, folder)
    place.registry.register(folder, reason="first", parent_version=None)
    place.registry.champions.promote(1, actor="test", reason="test")


def prediction(chance: np.random.Generator, number: int) -> tuple[Prediction, str, bytes]:
    camera = "D" if number % 18 == 17 else "ABC"[number % 3]
    at, content = NOON + timedelta(minutes=number), picture(number)
    statistics = chance.uniform(0, 1, len(NAMES))
    hard = camera == "B" and statistics[NAMES.index("brightness")] < 0.5
    truth = int(chance.integers(3))
    answer = truth if chance.random() < (0.3 if hard else 0.95) else (truth + 1) % 3
    metadata = {"camera": camera, "serial": f"number {number}", "note": "<script>alert(1)</script>"}
    made = Prediction(
        new_id(at), at, 1, BIRDS[answer], 0.9, (0.9, 0.05, 0.05), None, tuple(statistics),
        hashlib.sha256(content).hexdigest(), 8, 8, "png", len(content), True, metadata,
    )  # fmt: skip
    return made, BIRDS[truth], content


def asked(place: Workplace, one: Prediction) -> dict[str, object]:
    return {
        "name": place.settings.project.name, "prediction_id": one.id, "predicted_at": one.at, "asked_at": one.at,
        "model_version": 1, "stratum": "audit", "probability": 0.3, "uniform_probability": 0.3, "in_audit": True,
        "policy": "1", "state": "answered", "facts": {}, "image_sha256": one.image_sha256,
    }  # fmt: skip


@pytest.fixture(scope="module")
def done(place, tmp_path_factory):
    return audit(place, tmp_path_factory.mktemp("page") / "audit.html")


def shown(done) -> str:
    console = Console(width=200, file=io.StringIO())
    show_audit(console, done)
    return console.file.getvalue()


def test_the_console_says_what_differs_what_is_undecided_and_on_which_labels_it_rests(done):
    said = shown(done)

    assert re.search(r"camera = B: .*points lower than elsewhere", said)
    assert "camera = D is undecided: 50 of 200 labelled images; 150 more labels would do" in said
    assert "serial is no subgroup: it has 900 different values among 900 labelled images" in said
    assert "300 labels drawn by chance, 0 asked for a reason, and 600 volunteered" in said
    assert "600 of 900 labels were volunteered, not drawn by chance" in said
    assert "camera = B and brightness below 0." in said or "brightness below 0." in said
    assert str(done.path) in said


def test_names_that_callers_chose_break_neither_the_page_nor_the_console(done):
    name = f"<b>{'x' * 300}</b>\x1b[31m"
    groups = tuple(replace(one, value=name) if one.value == "B" else one for one in done.report.groups)
    loud = replace(done, findings=replace(done.findings, report=replace(done.report, groups=groups)))

    page, said = render_audit_html(loud.findings), shown(loud)

    assert "x" * 60 not in re.sub(r'title="[^"]*"|<title>[^<]*', "", page)
    assert "<b>x" not in page
    assert "x" * 60 not in said
    assert "\x1b" not in said


def test_the_console_lists_columns_and_of_their_intersections_what_differs_alone(done):
    site = [replace(one, column="camera x site", value=f"{one.value} x north") for one in done.report.groups]
    crossed = replace(done.report, groups=(*done.report.groups, *site))

    said = shown(replace(done, findings=replace(done.findings, report=crossed)))

    table = said[: said.index("Recall: mean")]
    assert "camera x site = B x north" in table
    assert "camera = D" in table
    assert "camera x site = D x north" not in table
    assert "Not listed here, but on the page: intersections of two columns:" in said


def test_the_json_holds_groups_slices_and_labels(done):
    told = json.loads(json.dumps(done.to_json(), allow_nan=False))

    assert told["labels"]["volunteered"] == 600
    assert "not drawn by chance" in told["labels"]["warning"]
    assert {group["verdict"] for group in told["groups"] if group["value"] == "B"} == {"differs"}
    assert 1 <= len(told["weak_slices"]["found"][0]["examples"]) <= 12


def test_the_page_draws_the_groups_and_shows_the_worst_pictures_that_were_kept(done):
    page = done.path.read_text()

    assert page.count('<svg class="forest"') == 3
    assert 1 <= page.count("data:image/png;base64,") <= 12
    assert "<script" not in page
    assert "Beware." in page
    assert "150" in page[page.index("Undecided: what they need") :]


def test_the_page_and_its_row_are_kept_and_the_ledger_names_them(place, done):
    key = done.place.removeprefix(f"{place.objects.describe()}/")

    assert place.objects.get(key).decode() == done.path.read_text()
    assert any(row.facts["report"] == key for row in place.ledger.rows("audits"))


def test_its_row_says_who_lies_behind_and_whether_its_labels_may_measure(place):
    name = place.settings.project.name
    chosen = audit(place)

    found = newest_audit(place.engine, name, 1)
    assert found.warning == chosen.basis.warning != ""

    random = replace(place.settings, monitor=replace(place.settings.monitor, feedback_is_random=True))
    audit(replace(place, settings=random))
    audit(place)
    measured = newest_audit(place.engine, name, 1)
    assert measured.warning == ""
    assert {one.group for one in measured.behind} == {"camera = B"}
    assert 0 < max(one.points for one in measured.behind) < 0.4
    assert newest_audit(place.engine, name, 2) is None


def test_where_bias_may_retrain_the_daily_tidying_audits_by_labels_that_may_measure(place):
    trigger = replace(place.settings.trigger, when="any(harm, bias)", most_subgroup_gap=0.1)

    assert audit_for_bias(place) is None
    made = audit_for_bias(replace(place, settings=replace(place.settings, trigger=trigger)))

    assert (made.report.images, made.basis.warning) == (300, "")


def test_only_labels_drawn_by_chance_can_be_counted_alone(place):
    told = audit(place, asked=Asked(drawn_only=True))

    assert told.report.images == 300
    assert told.basis.warning == ""
    assert "Only labels drawn by chance are counted; 600 others are left out." in told.report.notes


def test_a_day_and_a_version_can_be_chosen(place):
    assert audit(place, asked=Asked(since=(NOON + timedelta(days=400)).date())).report.images == 0
    with pytest.raises(UserError, match=r"There is no version 7 to audit. The registry has: 1."):
        audit(place, asked=Asked(version=7))


def test_a_forgotten_picture_leaves_the_pages_and_the_others_stay(place):
    done = audit(place)
    key = done.place.removeprefix(f"{place.objects.describe()}/")
    first, second = done.slices.found[0].examples[:2]

    changed = forget_in_audits(place, [first.id, first.image_sha256])

    left = place.objects.get(key).decode()
    assert changed >= 1
    assert first.id not in left
    assert first.image_sha256 not in left
    assert second.id in left


def test_the_console_shows_the_newest_audit_with_a_link_to_its_page(place):
    done = audit(place)
    client = TestClient(application(place.settings, place.engine, place.objects), base_url="http://127.0.0.1")

    page = client.get("/").text

    key = done.place.removeprefix(f"{place.objects.describe()}/")
    assert "camera = B is treated differently from the rest." in page
    assert "1 group undecided: too few labels to clear or blame." in page
    assert "not drawn by chance" in page
    assert client.get(f"/reports/{key}").text.startswith("<!doctype html>")
