"""How many labels a window will have: right with waiting cut short, and silent where too little is known."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitoring.quality.maturity import drawn, maturity, maturity_curve

PRESENT = datetime(2026, 11, 20, tzinfo=UTC)
UNTIL = round(PRESENT.timestamp() * 1e6)
DAY = 86_400_000_000


def arrivals(count: int, days: float, share: float, mean_delay_days: float, seed: int = 0):
    """Predictions spread over past days; a share of them is labelled after an exponential delay, if it is over."""
    chance = np.random.default_rng(seed)
    predicted = np.sort(UNTIL - chance.integers(0, round(days * DAY), count))
    labelled = predicted + (chance.exponential(mean_delay_days, count) * DAY).astype(np.int64)
    return predicted, np.where((chance.random(count) < share) & (labelled <= UNTIL), labelled, -1)


def test_labels_still_to_come_are_expected_from_how_long_they_took_before():
    predicted, labelled = arrivals(30_000, days=30, share=0.45, mean_delay_days=2.0)
    curve = maturity_curve(predicted, labelled, PRESENT)
    window = np.full(200, UNTIL - 2 * DAY)

    found = maturity(curve, window, 57, PRESENT)

    # After one mean delay 1 - 1/e of the labels are in; of 200 predictions 45 % get one.
    assert curve.final_share == pytest.approx(0.45, abs=0.02)
    assert found.expected == pytest.approx(57 + 143 * 0.45 * np.exp(-1) / (1 - 0.45 * (1 - np.exp(-1))), abs=3)
    assert found.low < found.expected < found.high
    assert found.words == f"57 of about {found.expected:.0f} labels are in"


def test_young_predictions_without_a_label_do_not_pull_the_share_down():
    predicted, labelled = arrivals(20_000, days=6, share=0.5, mean_delay_days=1.5)

    curve = maturity_curve(predicted, labelled, PRESENT)

    assert (labelled >= 0).mean() < 0.4
    assert curve.final_share == pytest.approx(0.5, abs=0.03)


def test_an_old_window_is_complete():
    predicted, labelled = arrivals(20_000, days=30, share=0.3, mean_delay_days=1.0)

    found = maturity(maturity_curve(predicted, labelled, PRESENT), np.full(100, UNTIL - 25 * DAY), 31, PRESENT)

    assert found.complete == pytest.approx(1.0, abs=0.02)
    assert found.words == "all of about 31 labels are in"


def test_expected_labels_cover_what_comes():
    inside = 0
    for seed in range(60):
        past = arrivals(5_000, days=20, share=0.4, mean_delay_days=2.0, seed=seed)
        chance = np.random.default_rng([1, seed])
        will = chance.random(300) < 0.4
        now_in = will & (chance.exponential(2.0, 300) <= 1.5)
        found = maturity(maturity_curve(*past, PRESENT), np.full(300, UNTIL - round(1.5 * DAY)), now_in.sum(), PRESENT)
        inside += found.low - 1 <= will.sum() <= found.high + 1

    assert inside >= 54


def test_few_labels_promise_nothing():
    predicted, labelled = arrivals(100, days=10, share=0.1, mean_delay_days=1.0)

    found = maturity(maturity_curve(predicted, labelled, PRESENT), predicted[-20:], 2, PRESENT)

    assert found.expected is None
    assert found.words == "2 of 20 predictions have a label; too few to say how many will"


def test_labels_dated_before_their_prediction_and_predictions_from_the_future_are_counted_at_once():
    predicted = np.full(100, UNTIL - DAY)
    predicted[50:] = UNTIL + DAY
    labelled = np.where(np.arange(100) < 40, UNTIL - 2 * DAY, -1)

    curve = maturity_curve(predicted, labelled, PRESENT)

    assert curve.early == 40
    assert curve.share_by(np.array([0.0])) == pytest.approx(0.4)


def test_nothing_at_all_is_an_empty_curve():
    nothing = np.empty(0, dtype=np.int64)

    curve = maturity_curve(nothing, nothing, PRESENT)

    assert (curve.labels, curve.final_share, curve.median_delay_s) == (0, 0.0, None)
    assert maturity(curve, nothing, 0, PRESENT).expected is None
    assert drawn(curve)[-1][0] == timedelta(0)


def test_the_drawn_curve_rises_to_the_final_share():
    predicted, labelled = arrivals(5_000, days=30, share=0.4, mean_delay_days=1.0)
    curve = maturity_curve(predicted, labelled, PRESENT)

    shares = [share for _, share, _, _ in drawn(curve, 20)]

    assert shares == sorted(shares)
    assert shares[-1] == curve.final_share
