from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient

from infra import schema
from infra.database import open_database, writing
from infra.objects import open_objects
from infra.settings import load
from monitoring.console.app import application
from monitoring.console.evidently import beside
from monitoring.evidently_pages.place import project_id

AT = datetime(2026, 11, 20, 9, tzinfo=UTC)
DRAWN = {
    "signals": [
        {"family": "image statistics", "name": "brightness", "effect": 0.41},
        {"family": "metadata", "name": "camera", "effect": 0.2},
    ],
    "evidently": {
        "rows": [200, 1500],
        "drift": {
            "metadata: camera": {"method": "jensenshannon", "value": 0.33},
            "contrast": {"method": "ks", "value": 0.5},
            "brightness": {"method": "ks", "value": 0.00012},
        },
        "quality": {"Accuracy": 0.9125},
    },
}


@pytest.fixture
def page_with(tmp_path):
    """The console's page over one window with this summary."""

    def page(summary, **values):
        settings = load(tmp_path, {f"KEDGE_{name.upper()}": str(value) for name, value in values.items()})
        engine = open_database(settings.storage.database)
        row = {"name": settings.project.name, "sequence": 1, "model_version": 1, "started_at": AT, "ended_at": AT}
        with writing(engine) as connection:
            connection.execute(schema.windows.insert().values(**row, predictions=200, summary=summary))
        client = TestClient(application(settings, engine, open_objects(settings.storage)), base_url="http://127.0.0.1")
        text = client.get("/").text
        engine.dispose()
        return text

    return page


def test_evidentlys_figures_stand_beside_ours_the_most_telling_first():
    found = beside([{"sequence": 1, "summary": DRAWN}, {"sequence": 2, "summary": {"signals": []}}])

    assert found.window == 1
    shown = [(test.column, test.method, test.value, test.ours) for test in found.tests]
    assert shown == [
        ("brightness", "ks", "0.00012", "0.41"),
        ("contrast", "ks", "0.5", "–"),
        ("metadata: camera", "jensenshannon", "0.33", "0.20"),
    ]
    assert found.rows == "200 and 1\N{NARROW NO-BREAK SPACE}500"
    assert found.quality == "Accuracy 91.2 %"


@pytest.mark.parametrize(
    "summary", [None, {"evidently": "lost"}, {"evidently": {"drift": [1]}, "signals": "lost"}, {"evidently": {}}]
)
def test_a_summary_without_them_or_with_others_shows_nothing_and_breaks_nothing(summary):
    found = beside([{"sequence": 1, "summary": summary}])

    assert found is None or found.tests == ()


def test_the_page_shows_them_and_links_to_evidentlys_own_pages_unless_these_are_off(page_with):
    page = page_with(DRAWN, monitor__evidently_port=8123)

    assert "The same, as Evidently tests it" in page
    assert "0.00012" in page
    assert f"http://127.0.0.1:8123/projects/{project_id('classifier')}" in page


def test_where_the_pages_are_off_nothing_links_to_them(page_with):
    assert "/projects/" not in page_with(DRAWN, monitor__evidently_port=0)
