"""What Evidently computes of a window, held against figures of our own; the library itself runs in every test."""

import json

import numpy as np
import pytest
from scipy import stats

from monitoring.detectors.kolmogorov_smirnov import distance_of
from monitoring.evidently_pages.report import draw_report
from monitoring.window_report import WindowFacts, report_columns
from tests.monitoring.birds import Birds

pytestmark = [
    # Importing the library takes seconds.
    pytest.mark.slow,
    # It warns about rows of one class, and about its own imports; warnings of ours have tests without it.
    pytest.mark.filterwarnings("ignore"),
]

FACTS = WindowFacts("Window 7 of birds:1", Birds().clock, 1, {"predictions": 200})


@pytest.fixture
def request_of(reference):
    """Asks for the page of 200 predictions, 150 of camera A and 50 bad ones of camera C, all labelled."""

    def asked(**changed):
        birds = Birds(seed=3)
        good, truths = birds.traffic(150)
        bad, more = birds.traffic(50, camera="C", right=0.5)
        known = {row.id: truth for row, truth in zip([*good, *bad], [*truths, *more], strict=True)}
        columns = report_columns(reference, [*good, *bad], known, 2000, ("camera",))
        # As the painter reads it.
        return {**json.loads(json.dumps(columns)), **changed}

    return asked


def test_its_ks_is_that_of_scipy_on_the_same_rows_and_ours_is_the_same_distance(request_of):
    asked = request_of()

    drift = draw_report(asked, FACTS).figures["drift"]

    assert len(asked["numeric"]) >= 8
    for name in asked["numeric"]:
        window, past = (np.array(asked[side][name], dtype=float) for side in ("window", "reference"))
        test = stats.ks_2samp(past, window)
        assert drift[name] == {"method": "ks", "value": pytest.approx(test.pvalue, rel=1e-9)}
        assert distance_of(np.sort(past), np.sort(window))[0] == pytest.approx(test.statistic, abs=1e-12)


def test_a_subgroup_has_the_quality_of_its_own_rows(request_of):
    asked = request_of()
    rows = zip(*(asked["window"][name] for name in ("subgroup: camera", "label", "predicted class")), strict=True)
    right = {"A": [], "C": []}
    for camera, label, predicted in rows:
        right[camera].append(label == predicted)

    figures = draw_report(asked, FACTS).figures

    found = {one["value"]: one for one in figures["subgroups"]}
    assert found["A"]["quality"]["Accuracy"] == pytest.approx(np.mean(right["A"]))
    assert found["C"]["quality"]["Accuracy"] == pytest.approx(np.mean(right["C"]))
    assert found["A"]["quality"]["Accuracy"] - found["C"]["quality"]["Accuracy"] > 0.2
    assert found["C"]["rows"] == [50, 0]
    # The reference has no camera C, so there is nothing to test its columns against.
    assert found["C"]["drift"] == {}
    assert found["A"]["drift"]["brightness"] > 0.001
    assert figures["quality"]["Accuracy"] == pytest.approx(np.mean(right["A"] + right["C"]))


def test_the_page_says_our_verdict_before_any_p_value(request_of):
    lane = {"lane": "gross", "detector": "embedding", "log10_evidence": 7.25, "log10_threshold": 5.2}
    facts = WindowFacts(
        "Window 7 of birds:1", FACTS.ended_at, 1, {"evidence": [lane]}, "label_first", ("Camera C is new.",)
    )

    page = draw_report(request_of(), facts).html.decode()

    words = [
        page.index(each) for each in ("Verdict: Label first", "Camera C is new.", '"7.25"', "Columns, as Evidently")
    ]
    assert words == sorted(words)


def test_one_class_missing_numbers_and_a_column_without_any_cost_only_what_they_touch(request_of):
    asked = request_of()
    for name in ("label", "predicted class"):
        asked["window"][name] = ["crow"] * 200
    asked["window"]["brightness"][:150] = [None] * 150
    asked["window"]["contrast"] = [None] * 200
    asked["window"]["sharpness"] = [0.5] * 200

    figures = draw_report(asked, FACTS).figures

    assert figures["quality"]["Accuracy"] == 1.0
    assert figures["drift"]["brightness"]["value"] > 0
    assert figures["drift"]["sharpness"]["value"] < 1e-6
    assert "contrast" not in figures["drift"]
    assert "contrast" in figures["failed"]
    json.dumps(figures, allow_nan=False)


def test_a_thousand_values_of_a_category_are_twenty_and_the_rest(request_of):
    asked = request_of()
    asked["window"]["metadata: camera"] = [f"unit-{number}" for number in range(200)]

    drawn = draw_report(asked, FACTS)

    assert drawn.figures["drift"]["metadata: camera"]["value"] > 0.8
    assert "(others)" in drawn.snapshot
    assert "unit-150" not in drawn.snapshot


def test_without_any_column_that_differs_it_says_that_there_is_nothing_to_draw(request_of):
    with pytest.raises(ValueError, match="no column of the window differs from a constant"):
        draw_report(request_of(numeric=[], category=[]), FACTS)
