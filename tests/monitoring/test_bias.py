import json
from datetime import UTC, datetime

import numpy as np
import pytest

from monitoring.audit_page import render_audit_html
from monitoring.bias import bias_report
from monitoring.performance import LabelledRows

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def audit(*groups: tuple[str, str, int, float], columns: tuple[str, ...] = ("camera", "site"), seed: int = 0):
    """Groups of (camera, site, images, accuracy)."""
    chance = np.random.default_rng(seed)
    truth, answered, metadata = [], [], []
    for camera, site, images, accuracy in groups:
        owls, right = chance.random(images) < 0.5, chance.random(images) < accuracy
        truth += np.where(owls, "owl", "duck").tolist()
        answered += np.where(owls == right, "owl", "duck").tolist()
        metadata += [{"camera": camera, "site": site}] * images
    labelled = LabelledRows(tuple(truth), tuple(answered), tuple(metadata))
    return bias_report(labelled, columns, title="Audit of birds:3", at=NOON, model_version=3)


def verdicts(report):
    return {(group.column, group.value): group.verdict for group in report.groups}


def test_a_group_treated_worse_is_named_and_small_groups_are_never_cleared():
    report = audit(("A", "north", 400, 0.95), ("B", "north", 300, 0.75), ("C", "south", 100, 0.95), ("D", "", 12, 0.9))

    found = verdicts(report)
    assert found["camera", "A"] == "differs"
    assert found["camera", "B"] == "differs"
    assert found["camera", "C"] == "undecided"
    assert found["camera", "D"] == "too few to show"
    assert found["camera x site", "B x north"] == "differs"
    worse = next(group for group in report.groups if group.value == "B")
    assert worse.difference.high < 0
    assert worse.recall.low < 0.75 < worse.recall.high
    hidden = next(group for group in report.groups if group.value == "D")
    assert hidden.accuracy is None
    assert report.without == {"camera": 0, "site": 12}


def test_a_group_without_any_error_does_not_claim_to_be_exact():
    group = audit(("A", "north", 40, 1.0)).groups[0]

    assert group.recall.value == 1.0
    assert group.recall.low < 0.95


@pytest.mark.slow
def test_equal_treatment_of_twelve_groups_is_called_different_in_at_most_five_of_a_hundred_audits():
    groups = [(str(number), "", 250, 0.9) for number in range(12)]
    wrong = ["differs" in verdicts(audit(*groups, columns=("camera",), seed=seed)).values() for seed in range(150)]

    # 5 % and two standard errors of 150 runs.
    assert np.mean(wrong) <= 0.086


def test_the_page_names_each_group_and_says_what_undecided_means():
    report = audit(("A", "north", 400, 0.95), ("<b>B</b>", "north", 60, 0.75))

    page = render_audit_html(report)

    assert "camera = &lt;b&gt;B&lt;/b&gt;" in page
    assert "undecided" in page
    assert "too small to be cleared or blamed" in page
    assert "birds:3" in page


def test_an_audit_without_labels_or_columns_says_what_to_do():
    report = bias_report(LabelledRows((), (), ()), (), title="Audit", at=NOON)

    assert report.notes == (
        "There are no labelled answers yet; send labels to /v1/feedback, then audit again.",
        "No subgroup columns are named: set data.subgroups in kedge.toml.",
    )
    assert "no labelled answers yet" in render_audit_html(report)


def test_a_report_is_plain_json():
    report = audit(("A", "", 250, 0.95), ("B", "", 250, 0.95))

    document = json.loads(json.dumps(report.to_json(), allow_nan=False))

    assert document["images"] == 500
    assert document["at"] == "2026-11-20T12:00:00+00:00"
    assert document["groups"][0]["verdict"] == "no difference found"
