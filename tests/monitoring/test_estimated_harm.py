import pytest

from monitoring.identification import ClassShare, ShiftReport
from monitoring.watching.estimated_harm import EstimatedHarm, estimated_harm, newest_shift


def window(loss, *, valid=True, low=0.01):
    return {"estimate": {"valid": valid, "loss": {"value": loss, "low": low, "high": 0.6}}}


def test_the_newest_windows_in_a_row_that_lose_more_than_the_tolerance_are_counted():
    newest_first = [window(0.07), window(0.05), window(0.01), window(0.09)]

    assert estimated_harm(newest_first, 0.02) == EstimatedHarm(2, 0.07)


@pytest.mark.parametrize(
    "newest",
    [
        window(0.02),
        window(0.5, valid=False),
        window(None),
        window(float("nan")),
        window(0.07, low=0.0),
        {},
        {"estimate": None},
        {"estimate": {"valid": True, "loss": None}},
    ],
)
def test_a_window_without_a_valid_loss_beyond_the_tolerance_ends_the_row(newest):
    assert estimated_harm([newest, window(0.3), window(0.3)], 0.02) == EstimatedHarm(0, None)


def test_no_window_is_no_harm():
    assert estimated_harm([], 0.02) == EstimatedHarm()
    assert newest_shift([]) is None


def test_the_kind_of_shift_is_read_back_as_it_was_written():
    report = ShiftReport(
        "label shift", 900, (ClassShare("owl", 0.2, 0.6, 0.5, 0.7),), {"prior": 0.005}, 0.1, ("Label shift.",)
    )

    assert newest_shift([{"shift": report.to_json()}, {"shift": None}]) == report
    assert newest_shift([{"shift": None}, {"shift": report.to_json()}]) is None
