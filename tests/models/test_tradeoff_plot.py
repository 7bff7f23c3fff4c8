"""The picture of a backtest."""

from datetime import UTC, datetime, timedelta

from models.tradeoff_plot import PolicyPoints, draw_tradeoff

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def points(name, cost, accuracy, *, best):
    times = [BEGAN + timedelta(days=day) for day in range(3)]
    return PolicyPoints(name, cost, accuracy, (accuracy - 0.02, accuracy + 0.02), best, times, (0.9, None, 0.8))


def test_every_policy_is_named_and_both_halves_are_there(tmp_path):
    path = tmp_path / "deeper" / "backtest.svg"

    draw_tradeoff([points("never", 0, 0.8, best=True), points("labels=200", 90, 0.95, best=True)], path)

    drawn = path.read_text()
    for words in ("never", "labels=200", "cost and accuracy", "accuracy over time", "minutes of training"):
        assert words in drawn


def test_a_policy_without_labels_over_time_is_still_on_the_left(tmp_path):
    bare = PolicyPoints("bare", 10, 0.5, (0.4, 0.6), False, (), ())

    draw_tradeoff([bare], tmp_path / "backtest.png")

    assert (tmp_path / "backtest.png").read_bytes().startswith(b"\x89PNG")
