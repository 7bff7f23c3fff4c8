"""The console over a real database with real rows, asked over HTTP as a browser asks it."""

import dataclasses
import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from infra import schema
from infra.clock import new_id, now
from infra.database import open_database, writing
from infra.objects import ObjectStore, open_objects
from infra.settings import Settings, load
from models.gate_records import CheckRow, GateDecision, Objection
from monitoring.console import views, words
from monitoring.console.app import application
from monitoring.console.rows import gather
from monitoring.evidence_records import DetectorEvidence
from monitoring.performance import Interval
from monitoring.signals import Signal
from monitoring.windows import SubgroupCount, WindowSummary

STARTED = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    settings: Settings
    engine: sa.Engine
    objects: ObjectStore

    def insert(self, table: sa.Table, **values: Any) -> None:
        with writing(self.engine) as connection:
            connection.execute(table.insert().values(**values))

    def champion(self, version: int = 1, reason: str = "somebody has to be first") -> None:
        facts = {"version": version, "previous_version": None, "changed_at": STARTED, "sequence": 1}
        self.insert(schema.pointers, name="digits", alias="champion", **facts)
        self.insert(schema.pointer_history, name="digits", alias="champion", actor="Grace", reason=reason, **facts)
        self.version(version, state="champion")

    def version(self, version: int, state: str, gate: GateDecision | None = None) -> None:
        self.insert(
            schema.model_versions, name="digits", version=version, state=state, created_at=STARTED, parent_version=None,
            reason="first training", artifact_prefix=f"models/digits/{version}", onnx_sha256="0" * 64,
            scorecard={"images": 540, "accuracy": 0.9833}, gate=gate.to_json() if gate else None, card_key=None,
        )  # fmt: skip

    def window(self, sequence: int, summary: WindowSummary, report_key: str | None = None) -> None:
        ended = STARTED + timedelta(minutes=sequence)
        self.insert(
            schema.windows, name="digits", sequence=sequence, model_version=1, started_at=ended - timedelta(seconds=50),
            ended_at=ended, predictions=200, summary=summary.to_json(), report_key=report_key,
        )  # fmt: skip

    def verdict(
        self, sequence: int, action: str, reasons: list[str], window: int | None = None, **evidence: Any
    ) -> None:
        self.insert(
            schema.verdicts, name="digits", sequence=sequence, at=STARTED + timedelta(minutes=sequence),
            model_version=1, action=action, reasons=reasons, window_sequence=window, evidence=evidence,
        )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "kedge.toml").write_text('[project]\nname = "digits"\n\n[data]\nsubgroups = ["camera"]\n')
    settings = load(tmp_path, {})
    engine = open_database(settings.storage.database)
    yield Place(settings, engine, open_objects(settings.storage))
    engine.dispose()


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    with TestClient(
        application(place.settings, place.engine, place.objects), base_url="http://127.0.0.1:3001"
    ) as client:
        yield client


def summary(*, atypical: float = 0.02, evidence: float = 0.4, labelled: int = 0, right: int = 0) -> WindowSummary:
    alarmed = 180 if evidence >= 5.2 else None
    return WindowSummary(
        predictions=200, model_version=1, closed_because="full", labelled=labelled, right=right,
        accuracy=Interval(None, None, None), atypical={"image statistics": atypical, "embedding": 0.01},
        signals=(Signal("image statistics", "brightness", 0.83, 0.31, 0.62), Signal("metadata", "camera", 0.75)),
        evidence=(
            DetectorEvidence("gross", "image statistics", evidence, 5.2, 200, atypical, 0.2, alarmed),
            DetectorEvidence("labelled harm", "overall", 0.3, 4.6, labelled, 0.0, 0.05, None),
        ),
        block_lane="calibrating: 0 of 14 blocks; gross change and labelled harm are watched", mix={"7": 1.0},
        subgroups=(SubgroupCount("camera", "A", 100, labelled, right), SubgroupCount("camera", "C", 100)),
        classes=(), new_values={"camera": {"C": 100}}, repeated_images=0, notes=(),
    )  # fmt: skip


def text_of(page: str) -> str:
    """What a person reads, with single spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def figures_of(page: str) -> list[dict[str, Any]]:
    return [json.loads(html.unescape(found)) for found in re.findall(r'data-figure="([^"]*)"', page)]


def test_an_empty_project_is_told_what_to_do_next(client: TestClient) -> None:
    page = client.get("/")

    assert page.status_code == 200
    said = text_of(page.text)
    assert "What to do next" in said
    assert "Train the first model. kedge train" in said
    assert "No model serves yet." in said
    assert "No verdict yet" in said
    assert figures_of(page.text) == []


def test_a_champion_without_traffic_asks_for_images_and_no_longer_for_training(
    place: Place, client: TestClient
) -> None:
    place.champion()

    said = text_of(client.get("/").text)

    assert "digits v1" in said
    assert "98.3 % right of 540 held-out images" in said
    assert "Train the first model." not in said
    assert "Every 200 predictions close a window" in said


def test_the_page_shows_champion_verdict_drift_and_where_the_report_is(place: Place, client: TestClient) -> None:
    place.champion()
    place.window(1, summary())
    place.window(2, summary(atypical=0.8, evidence=97.0, labelled=40, right=31), "reports/digits/window-2.html")
    place.verdict(1, "nothing", ["No alarm in 200 predictions."], window=1)
    place.verdict(
        2, "label_first", ["Gross change in image statistics: 80% of 200 predictions are atypical."], window=2,
        would_change=["For a retrain: 88 more fresh labels (12 so far)."], labels={"fresh": 12},
    )  # fmt: skip
    place.insert(
        schema.alarms, id=new_id(), name="digits", at=STARTED + timedelta(minutes=2), lane="gross",
        detector="image statistics", model_version=1, window_sequence=2, facts={},
    )  # fmt: skip

    page = client.get("/").text

    said = text_of(page)
    assert "Label first" in said
    assert "Gross change in image statistics: 80% of 200 predictions are atypical." in said
    assert "What would change it For a retrain: 88 more fresh labels (12 so far)." in said
    assert "Promoted by Grace Why somebody has to be first" in said
    assert "image statistics 100 % alarm · 97.0 of 5.2" in said
    assert "Fresh labels 12 a retrain needs 100" in said
    assert "brightness (image statistics)" in said
    assert "Never seen before: camera: C" in said
    assert 'href="reports/reports/digits/window-2.html"' in page
    assert "calibrating: 0 of 14 blocks" in said


def test_shares_evidence_and_accuracy_are_drawn_with_alarms_and_promotions_marked(
    place: Place, client: TestClient
) -> None:
    place.champion()
    for sequence in range(1, 5):
        place.window(sequence, summary(atypical=0.2 * sequence, evidence=2.0 * sequence, labelled=30, right=27))
    place.insert(
        schema.alarms, id=new_id(), name="digits", at=STARTED + timedelta(minutes=3), lane="gross",
        detector="image statistics", model_version=1, window_sequence=3, facts={},
    )  # fmt: skip
    place.insert(
        schema.pointer_history, name="digits", alias="champion", sequence=2, version=2, previous_version=1,
        changed_at=STARTED + timedelta(minutes=3, seconds=30), actor="kedge", reason="better",
    )  # fmt: skip

    shares, gross, harm, accuracy = figures_of(client.get("/").text)

    lines = {trace["name"]: trace["y"] for trace in shares["data"]}
    assert lines["image statistics"] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert lines["tolerated"] == [0.2] * 4
    assert {note["text"] for note in shares["layout"]["annotations"]} == {"alarm", "v2"}
    # Evidence is drawn beside its own threshold: 8.0 of 5.2 is 2.8 above it.
    assert gross["data"][0]["y"] == pytest.approx([-3.2, -1.2, 0.8, 2.8])
    assert harm["data"][0]["y"] == pytest.approx([-4.3] * 4)
    assert "alarm" not in {note["text"] for note in harm["layout"]["annotations"]}
    band, overall = accuracy["data"][0], accuracy["data"][1]
    assert overall["y"] == pytest.approx([0.9] * 4)
    assert max(band["y"]) == pytest.approx(0.9654, abs=1e-4)  # Wilson, 27 of 30
    assert min(band["y"]) == pytest.approx(0.7438, abs=1e-4)


def test_words_that_came_from_outside_are_escaped(place: Place, client: TestClient) -> None:
    evil = "<script>alert('1')</script>"
    place.champion(reason=evil)
    found = dataclasses.replace(
        summary(labelled=3, right=3),
        subgroups=(SubgroupCount("camera", evil, 10, 3, 3),),
        new_values={"camera": {evil: 10}},
    )
    place.window(1, found)
    place.verdict(1, "nothing", [evil], window=1)

    for path in ("/", "/fragment"):
        page = client.get(path).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page


def test_a_summary_from_another_time_loses_only_the_parts_it_lacks(place: Place, client: TestClient) -> None:
    place.champion()
    ended = STARTED + timedelta(minutes=1)
    place.insert(
        schema.windows, name="digits", sequence=1, model_version=1, started_at=STARTED, ended_at=ended, predictions=200,
        summary={"atypical": {"embedding": 0.5}, "evidence": "lost", "subgroups": None}, report_key=None,
    )  # fmt: skip

    page = client.get("/")

    assert page.status_code == 200
    assert "50 % embedding" in text_of(page.text)
    assert len(figures_of(page.text)) == 1


def test_the_last_retrain_comes_with_the_gates_objections_and_checks(place: Place, client: TestClient) -> None:
    place.champion()
    objection = Objection(
        "undecided", "no worse", "old", "class=8", "Class 8: a loss above 5 points is not ruled out.", 140
    )
    decision = GateDecision(
        outcome="undecided", relief=False, objections=(objection,), precisions=(), notes=(),
        checks=(
            CheckRow("gain", "recent", "overall", 112, -0.41, -0.31, 0.0, "judged", "passed"),
            CheckRow("no worse", "old", "class=8", 54, 0.018, 0.09, 0.05, "watched", "undecided", 140),
            CheckRow("recall floor", "old", "overall", 540, 0.981, 0.968, 0.5, "judged", "passed"),
            CheckRow("no worse", "old", "camera=D", 4, 0.0, 0.4, 0.05, "listed", "noted"),
        ),
    )  # fmt: skip
    place.version(2, state="refused", gate=decision)
    place.insert(
        schema.jobs, id=new_id(), kind="retrain", state="refused", reason="harm", created_at=STARTED,
        started_at=STARTED, finished_at=STARTED + timedelta(minutes=3), outcome={"version": 2, "promoted": False},
        evidence={"minutes_before": 2.0},
    )  # fmt: skip

    said = text_of(client.get("/").text)

    assert "Labels showed harm. State refused took 5 minutes" in said
    assert "Outcome v2 was not promoted" in said
    assert "Gate, v2: undecided" in said
    assert "Class 8: a loss above 5 points is not ruled out." in said
    assert "gain · recent images 112 41.0 points better; a gain above 31.0 points is proven passed" in said
    assert "recall floor · old images 540 98.1 %, at least 50.0 % passed" in said
    assert "1 group too small to object." in said


def test_a_silent_watcher_is_said_in_a_banner_but_not_because_the_machine_was_off(place: Place) -> None:
    place.champion()
    place.insert(schema.heartbeats, process="watch", at=STARTED, pid=1)
    found, present = gather(place.engine, "digits"), STARTED + timedelta(hours=1)

    heard = views.page(found, place.settings, present, seen_from="localhost", listening_since=STARTED)
    just_started = views.page(found, place.settings, present, seen_from="localhost", listening_since=present)

    assert [(banner.tone, banner.title) for banner in heard.banners] == [("bad", "The watcher is silent.")]
    assert "It last looked 1 hour ago; a look is expected every 5 minutes." in heard.banners[0].text
    assert just_started.banners == ()


def test_only_what_a_row_names_as_a_report_is_handed_out(place: Place, client: TestClient) -> None:
    place.champion()
    place.window(1, summary(), "reports/digits/window-1.html")
    place.objects.put("reports/digits/window-1.html", b"<h1>Evidently</h1>")
    place.objects.put("images/ab/abcd", b"somebody's picture")

    report = client.get("/reports/reports/digits/window-1.html")
    picture = client.get("/reports/images/ab/abcd")

    assert report.text == "<h1>Evidently</h1>"
    assert report.headers["content-type"].startswith("text/html")
    assert report.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert picture.status_code == 404
    assert "No report is kept under 'images/ab/abcd'." in picture.text


def test_predictions_behind_a_difference_are_named_and_the_newest_page_stays_listed(
    place: Place, client: TestClient
) -> None:
    place.champion()
    strange = summary().to_json() | {"contributors": {"image statistics: brightness": ["p-17", "p-4"]}}
    for sequence in range(1, 21):
        place.insert(
            schema.windows, name="digits", sequence=sequence, model_version=1, started_at=STARTED,
            ended_at=STARTED + timedelta(minutes=sequence), predictions=200, summary=strange,
            report_key="reports/digits/window-3.html" if sequence == 3 else None,
        )  # fmt: skip

    page = client.get("/").text

    assert "Predictions behind them image statistics: brightness: p-17 , p-4" in text_of(page)
    assert 'href="reports/reports/digits/window-3.html"' in page


def test_a_training_report_is_handed_out_with_the_card_beside_it(place: Place, client: TestClient) -> None:
    place.champion()
    with writing(place.engine) as connection:
        connection.execute(schema.model_versions.update().values(card_key="models/digits/1/card.html"))
    for version in (1, 2):
        place.objects.put(f"models/digits/{version}/report.html", b"<h1>how it was trained</h1>")

    assert client.get("/reports/models/digits/1/report.html").text == "<h1>how it was trained</h1>"
    assert client.get("/reports/models/digits/2/report.html").status_code == 404
    assert client.get("/reports/models/digits/1/model.onnx").status_code == 404


def test_every_answer_carries_security_headers_and_nothing_comes_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")

    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["x-frame-options"] == "DENY"
    assert client.get("/nowhere").headers["x-content-type-options"] == "nosniff"
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert [source for source in sources if "//" in source and "//127.0.0.1" not in source] == []
    for source in sources:
        if source.startswith("assets/"):
            assert client.get(f"/{source}").status_code == 200


def test_a_loopback_console_answers_to_this_machines_names_only(client: TestClient) -> None:
    assert client.get("/", headers={"Host": "localhost:3001"}).status_code == 200
    assert client.get("/", headers={"Host": "attacker.example"}).status_code == 400


def test_the_fragment_is_sent_again_only_when_something_changed(place: Place, client: TestClient) -> None:
    first = client.get("/fragment")

    same = client.get("/fragment", headers={"If-None-Match": first.headers["etag"]})
    place.champion()
    changed = client.get("/fragment", headers={"If-None-Match": first.headers["etag"]})

    assert same.status_code == 304
    assert same.content == b""
    assert changed.status_code == 200
    assert "digits" in changed.text


def test_machines_get_the_state_as_json(place: Place, client: TestClient) -> None:
    place.champion()
    place.window(1, summary())
    place.verdict(1, "nothing", ["No alarm in 200 predictions."], window=1)

    state = client.get("/api/state.json").json()

    assert state["champion"]["version"] == 1
    assert state["champion"]["since"] == "2026-11-20T09:00:00+00:00"
    assert state["verdict"]["action"] == "nothing"
    assert state["windows"][0]["summary"]["atypical"]["image statistics"] == 0.02
    assert state["watcher_silent"] is False


def test_the_console_is_alive_while_its_database_answers(client: TestClient) -> None:
    assert client.get("/healthz").text == "ok"
    assert client.get("/livez").text == "ok"


def test_the_watchers_metrics_are_served_from_rows(place: Place, client: TestClient) -> None:
    place.champion()

    page = client.get("/metrics")

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/plain")
    assert "kedge_" in page.text


def test_times_and_numbers_read_as_people_say_them() -> None:
    present = now()

    assert words.ago(present - timedelta(seconds=3), present) == "just now"
    assert words.ago(present - timedelta(seconds=90), present) == "1 minute ago"
    assert words.duration(timedelta(days=3)) == "3 days"
    assert words.count(1234567) == "1\u202f234\u202f567"
    assert words.rate(0.02) == "1.2 / min"
    assert words.percent(None) == "\u2013"
    assert words.plural(1, "worker") == "1 worker"


def test_commands_in_sentences_are_set_apart_and_the_rest_is_escaped(place: Place, client: TestClient) -> None:
    place.champion()

    page = client.get("/").text

    assert "<code>kedge up</code> starts it; <code>kedge watch</code> takes one look by hand." in page


def test_evidence_of_the_predecessor_is_not_shown_as_the_champions(place: Place, client: TestClient) -> None:
    place.champion()
    place.window(1, summary(labelled=120, right=60))
    assert "No labels under" not in text_of(client.get("/").text)

    with writing(place.engine) as connection:
        connection.execute(schema.pointers.update().values(version=2, previous_version=1))

    said = text_of(client.get("/").text)
    assert "No labels under v2 yet: what is drawn is its predecessor's." in said
    assert "0.3 of 4.6" not in said


def test_an_estimate_without_labels_is_drawn_dashed_with_what_may_be_made_of_it(
    place: Place, client: TestClient
) -> None:
    place.champion()
    for sequence, valid in ((1, True), (2, False), (3, True)):
        found = {"accuracy": {"value": 0.91, "low": 0.87, "high": 0.94}, "valid": valid, "reasons": ["a gross change"]}
        place.insert(
            schema.windows, name="digits", sequence=sequence, model_version=1, started_at=STARTED,
            ended_at=STARTED + timedelta(minutes=sequence), predictions=200, report_key=None,
            summary=summary().to_json() | {"estimate": found},
        )  # fmt: skip
    cut = {"began_at": (STARTED + timedelta(minutes=2)).isoformat(), "error_before": 0.05, "error_after": 0.2}
    told = {"windows": [{"sequence": 3, "words": "62 of about 90 labels are in"}], "adwin": [cut]}
    place.verdict(1, "nothing", ["ok"], window=3, labelled=told)

    page = client.get("/").text

    said = text_of(page)
    assert "window 3 is probably 91.0 % right (87.0 % to 94.0 %). Concept drift is not excluded" in said
    assert "Window 3: 62 of about 90 labels are in." in said
    assert "last cut where errors went from 5.0 % to 20.0 %" in said
    drawn = next(figure for figure in figures_of(page) if "estimated without labels" in str(figure["data"]))
    line = next(trace for trace in drawn["data"] if trace.get("name") == "estimated without labels")
    assert line["y"] == [0.91, None, 0.91]
    assert "ADWIN" in [note["text"] for note in drawn["layout"]["annotations"]]


def test_facts_about_labels_of_another_kind_than_expected_are_left_out(place: Place, client: TestClient) -> None:
    place.champion()
    place.insert(
        schema.windows, name="digits", sequence=1, model_version=1, started_at=STARTED, ended_at=STARTED,
        predictions=200, report_key=None, summary=summary().to_json() | {"estimate": {"accuracy": None}},
    )  # fmt: skip
    place.verdict(1, "nothing", ["ok"], window=1, labelled={"windows": "none", "adwin": [{"began_at": "soon"}, 7]})

    page = client.get("/")

    assert page.status_code == 200
    assert "probably" not in text_of(page.text)
