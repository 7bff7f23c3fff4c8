"""A workspace that the painter fills, read back through Evidently's own interface."""

import json
from datetime import timedelta

import pytest
import sqlalchemy as sa

from infra import schema
from infra.database import reading, writing
from monitoring import history, watch
from monitoring.evidently_page import draw
from monitoring.evidently_pages.place import drop_snapshots, project_id, snapshot_path, snapshots_folder
from monitoring.evidently_pages.workspace import MOST_SNAPSHOTS, MOST_WITH_PICTURES, open_workspace, prune
from monitoring.window_report import wanted_pages

pytestmark = [
    # Importing the library takes seconds.
    pytest.mark.slow,
    # It warns about its own imports; what it says about the rows is in the page's row.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture
def station(open_station, monkeypatch):
    monkeypatch.setattr(watch, "_PAGE_EVERY", timedelta(0))
    return open_station()


def window_of(station, birds, *, camera="A", right=0.9):
    """Close a window of 200, half of it labelled, and give the page that it asks for."""
    rows, truths = birds.traffic(200, camera=camera, right=right)
    station.arrive(rows)
    station.label(rows[:100], truths[:100])
    watch.tick(station.place)
    return wanted_pages(station.place.engine)[0]


def drawn(station, page):
    place = station.place
    return draw(place.engine, place.objects, place.settings.storage.home, page)


def test_a_window_leaves_a_snapshot_of_its_time_with_our_figures_among_evidentlys(station, birds):
    place, home = station.place, station.place.settings.storage.home
    page = window_of(station, birds)

    assert drawn(station, page)

    workspace, project = open_workspace(home, place.name), project_id(place.name)
    (run,) = workspace.list_runs(project)
    snapshot = workspace.get_run(project, run)
    window = history.windows(place.engine, place.name)[0]
    assert snapshot.timestamp == window["ended_at"].replace(tzinfo=None)
    figures = {}
    for result in snapshot.metric_results.values():
        params = result.metric_value_location.metric.params
        if params["type"].endswith(":OwnFigure"):
            figures[params["group"], params["name"]] = result.value
    gross = [one for one in window["summary"]["evidence"] if one["lane"] == "gross"]
    (embedding,) = (one for one in gross if one["detector"] == "embedding")
    assert figures["evidence: gross", "embedding"] == embedding["log10_evidence"]
    assert figures["line: gross", "embedding"] == embedding["log10_threshold"]
    assert figures["accuracy", "value"] == window["summary"]["accuracy"]["value"]
    assert figures["Evidently: camera = A", "Accuracy"] == pytest.approx(figures["accuracy: camera = A", "value"])
    beside = window["summary"]["evidently"]
    assert beside["rows"] == [200, 150]
    assert beside["drift"]["brightness"]["method"] == "ks"
    assert beside["quality"]["Accuracy"] == pytest.approx(window["summary"]["accuracy"]["value"])
    assert len(json.dumps(beside)) < 4_000


def test_the_dashboard_is_built_once_and_grows_a_tab_with_a_new_subgroup(station, birds):
    place, home = station.place, station.place.settings.storage.home
    drawn(station, window_of(station, birds))
    workspace, project = open_workspace(home, place.name), project_id(place.name)
    first = workspace.get_dashboard(project)
    page = window_of(station, birds)
    columns = place.objects.get(page.columns_key)
    drawn(station, page)
    # Drawn again, as after a crash, it takes its own place.
    place.objects.put(page.columns_key, columns)
    drawn(station, page)
    second = workspace.get_dashboard(project)

    drawn(station, window_of(station, birds, camera="C", right=0.5))

    third = workspace.get_dashboard(project)
    assert [tab.title for tab in first.tabs] == ["Evidence", "Drift", "Performance", "camera = A"]
    assert second == first
    assert [tab.title for tab in third.tabs] == ["Evidence", "Drift", "Performance", "camera = A", "camera = C"]
    shown = [panel for tab in third.tabs for panel in tab.panels]
    assert len(shown) == len(set(shown)) == len(third.panels)
    assert len(workspace.list_runs(project)) == 3


def test_old_snapshots_go_and_older_ones_lose_their_pictures(station, birds):
    place, home = station.place, station.place.settings.storage.home
    drawn(station, window_of(station, birds))
    (first,) = snapshots_folder(home, place.name).glob("*.json")
    whole = first.read_text()
    newest = MOST_SNAPSHOTS + 3
    for window in range(2, newest + 1):
        read = window >= newest - MOST_WITH_PICTURES - 1
        snapshot_path(home, place.name, window).write_text(whole if read else "{}")

    prune(first.parent)

    left = sorted(first.parent.glob("*.json"))
    assert len(left) == MOST_SNAPSHOTS
    assert left[-1] == snapshot_path(home, place.name, newest)
    assert not first.exists()
    thin = left[-MOST_WITH_PICTURES - 1]
    assert thin.stat().st_size < left[-1].stat().st_size / 2
    workspace, project = open_workspace(home, place.name), project_id(place.name)
    assert workspace.get_run(project, thin.stem).metric_results.keys() == (
        workspace.get_run(project, left[-1].stem).metric_results.keys()
    )


@pytest.mark.parametrize("text", ["{}", '{"report": ', ""])
def test_a_snapshot_that_cannot_be_read_any_more_costs_no_other(station, birds, text):
    place, home = station.place, station.place.settings.storage.home
    drawn(station, window_of(station, birds))
    broken = snapshot_path(home, place.name, 99)
    broken.write_text(text)

    drawn(station, window_of(station, birds))

    assert len(open_workspace(home, place.name).list_runs(project_id(place.name))) == 2
    assert not broken.exists()


def test_a_page_whose_columns_are_lost_says_so_and_the_next_is_drawn(station, birds):
    place = station.place
    lost = window_of(station, birds)
    place.objects.delete(lost.columns_key)

    assert drawn(station, lost) is None
    assert drawn(station, window_of(station, birds)) is not None

    with reading(place.engine) as connection:
        rows = connection.execute(sa.select(schema.reports).order_by(schema.reports.c.id)).mappings().all()
    assert rows[0]["object_key"] == ""
    assert rows[0]["facts"]["error"].startswith("ObjectMissing")
    assert rows[1]["object_key"].endswith("-2.html")


def test_words_that_callers_chose_cannot_end_the_pages_script(station, birds):
    place = station.place
    hostile = "</script><img src=x onerror=alert(1)>"
    page = window_of(station, birds, camera=hostile)

    key = drawn(station, page)

    html = place.objects.get(key).decode()
    assert "onerror" in html
    assert "<img src=x" not in html
    assert r"\u2039/script\u203a\u2039img src=x" in html


def test_a_page_that_is_forgotten_while_it_is_drawn_leaves_nothing(station, birds):
    place, home = station.place, station.place.settings.storage.home
    page = window_of(station, birds)
    with writing(place.engine) as connection:
        connection.execute(schema.reports.delete())

    assert drawn(station, page) is None

    assert not snapshot_path(home, place.name, page.window).exists()
    assert history.windows(place.engine, place.name)[0]["report_key"] is None


def test_a_window_that_is_forgotten_takes_its_snapshot_along(station, birds):
    place, home = station.place, station.place.settings.storage.home
    page = window_of(station, birds)
    drawn(station, page)

    assert drop_snapshots(home, place.name, [page.window, page.window + 1]) == 1

    assert not snapshot_path(home, place.name, page.window).exists()


def test_a_workspace_that_cannot_be_written_costs_no_page(station, birds):
    place, home = station.place, station.place.settings.storage.home
    page = window_of(station, birds)
    (home / "evidently").write_text("a file where the folder should be")

    assert drawn(station, page)

    with reading(place.engine) as connection:
        facts = connection.execute(sa.select(schema.reports.c.facts)).scalar()
    assert "Error" in facts["workspace"]
