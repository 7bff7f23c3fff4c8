import json
import os
import subprocess
import sys

import pytest
import sqlalchemy as sa

from infra import schema
from infra.database import reading
from monitoring import history, window_report
from monitoring.watch import tick
from monitoring.window_report import report_columns
from tests.monitoring.birds import Birds


@pytest.mark.slow
def test_the_page_of_a_window_is_drawn_and_kept_with_its_figures(open_station, birds):
    station = open_station()
    place = station.place
    strange, truths = birds.traffic(200, camera="C", strange=True, right=0.6)
    station.arrive(strange)
    station.label(strange[:60], truths[:60])

    outcome = tick(place)
    run_painter(station)

    window = history.windows(place.engine, place.name)[0]
    assert outcome.page == window["sequence"]
    page = place.objects.get(window["report_key"]).decode()
    assert "<html" in page.lower()
    with reading(place.engine) as connection:
        report = connection.execute(sa.select(schema.reports)).mappings().one()
    figures = report["facts"]["figures"]
    assert figures["drift"]["brightness"]["method"] == "ks"
    assert figures["drift"]["brightness"]["value"] < 1e-6
    assert figures["drift"]["metadata: camera"]["value"] > 0.5
    assert figures["labelled"] == 60
    right = sum(row.label == truth for row, truth in zip(strange[:60], truths[:60], strict=True))
    assert figures["quality"]["Accuracy"] == pytest.approx(right / 60)


@pytest.mark.slow
def test_a_page_that_cannot_be_drawn_is_given_up_with_its_reason(open_station, birds):
    station = open_station()
    place = station.place
    station.arrive(birds.traffic(200)[0])
    tick(place)
    (wanted,) = window_report.wanted_pages(place.engine)
    place.objects.put(wanted.columns_key, b"{ half a file")

    run_painter(station)

    with reading(place.engine) as connection:
        report = connection.execute(sa.select(schema.reports)).mappings().one()
    assert report["object_key"] == ""
    assert report["facts"]["error"].startswith("JSONDecodeError")
    assert window_report.wanted_pages(place.engine) == ()


def run_painter(station):
    """The real process, once."""
    done = subprocess.run(
        [sys.executable, "-m", "monitoring.evidently_page", "--once"],
        env={**os.environ, "KEDGE_ROOT": str(station.place.settings.root), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_drawn_is_bounded_and_leaves_out_columns_that_say_nothing(reference):
    predictions, truths = Birds(seed=2).traffic(500)
    known = {row.id: truth for row, truth in zip(predictions[:50], truths[:50], strict=True)}

    columns = report_columns(reference, predictions, known, most=100)

    assert len(columns["window"]["brightness"]) == len(columns["reference"]["brightness"]) == 100
    assert "aspect" not in columns["numeric"]
    assert "confidence" in columns["numeric"]
    assert columns["category"] == ["predicted class", "metadata: camera"]
    assert sum(label is not None for label in columns["window"]["label"]) == 10
    json.dumps(columns, allow_nan=False)
