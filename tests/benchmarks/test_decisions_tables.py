"""The front door of `make bench-decisions`, and the truth that its simulation is held against."""

import json

import numpy as np
import pytest

from tests.benchmarks.decisions import DECISIONS
from tests.benchmarks.decisions_simulation import _days_wrong
from tests.benchmarks.decisions_worlds import CHANGES, DAYS, Change, quarter
from tests.benchmarks.monitoring_rows import Row, Section
from tests.benchmarks.parts import keep


def test_a_part_measured_again_leaves_the_others_as_they_were(tmp_path):
    simulated = Section("Simulated", ("How.",), (Row("drift: found", "share", 1.0, {"never": 0.0}, "≥ 0.9", True),))
    gated = Section("The gate", (), (Row("harmless: passes", "share", 0.8, {}, "≥ 0.9", False, "too few images"),))

    keep(DECISIONS, "gate", gated, tmp_path)
    keep(DECISIONS, "simulation", simulated, tmp_path)

    written = json.loads((tmp_path / "decisions.json").read_text())
    assert [row["part"] for row in written["rows"]] == ["simulation", "gate"]
    assert written["rows"][1]["reason"] == "too few images"
    page = (tmp_path / "decisions.md").read_text()
    assert page.index("## Simulated") < page.index("## The gate")
    assert "| drift: found, share | 1 | 0 | ≥ 0.9 | yes |" in page
    assert "**not met**: too few images" in page
    parts = DECISIONS.parts
    assert parts.index("simulation") < parts.index("gate")


@pytest.mark.parametrize(
    ("right", "verdicts", "days"),
    [
        (("nothing",), [(1, "nothing")], 0),
        (("nothing",), [(1, "nothing"), (40, "retrain"), (45, "nothing")], 5),
        (("retrain",), [(1, "nothing"), (20, "retrain")], 10),
        (("retrain",), [(1, "nothing"), (31, "retrain")], 0),
        (("fix_input",), [(1, "nothing"), (31, "fix_input"), (60, "label_first")], 0),
    ],
)
def test_a_day_is_wrong_when_its_verdict_asks_for_what_is_not_called_for(right, verdicts, days):
    assert _days_wrong(Change("change", right, begin=30), verdicts) == days


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_change_that_harms_makes_the_first_model_worse_and_no_other_does(change):
    lived = quarter(change, 3, per_day=100)
    stream = lived.stream
    logged = stream.batch.probabilities[stream.base :].argmax(axis=1)
    truth = stream.truth[stream.base :]
    known, there = truth >= 0, lived.strength > 0.5

    before = (logged == truth)[known & (lived.strength == 0)].mean()

    assert before > 0.95
    if there.any():
        during = (logged == truth)[known & there].mean()
        assert (during < before - 0.08) == change.harms


def test_labels_of_a_quarter_come_later_than_their_pictures_and_blank_ones_have_none():
    fault = next(change for change in CHANGES if change.blank)
    stream = quarter(fault, 0, per_day=50).stream

    asked = stream.drawn[stream.base :]
    delay = (stream.labelled_at - stream.times)[stream.base :][asked] / np.timedelta64(1, "D")

    assert ((delay >= 1) & (delay <= 3)).all()
    assert (stream.labelled_at[stream.base :][(stream.truth[stream.base :] >= 0) & ~asked] > stream.ended).all()
    assert not asked[stream.truth[stream.base :] < 0].any()
    assert float((stream.ended - stream.began) / np.timedelta64(1, "D")) == pytest.approx(DAYS, abs=1)
