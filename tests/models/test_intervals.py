import pytest
from scipy.stats import binomtest

from models.intervals import wilson


def test_wilsons_interval_has_its_textbook_values():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95, 0.99])
def test_it_is_the_interval_that_scipy_gives(level):
    for trials in (1, 7, 30, 400):
        for hits in range(0, trials + 1, max(1, trials // 7)):
            known = binomtest(hits, trials).proportion_ci(level, method="wilson")
            assert wilson(hits, trials, level) == pytest.approx((known.low, known.high), abs=1e-9)
