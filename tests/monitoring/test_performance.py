import pytest

from monitoring.performance import LabelledRows, performance, share


def rows(*entries: tuple[str, str, str]) -> LabelledRows:
    truth, answered, camera = zip(*entries, strict=True)
    return LabelledRows(truth, answered, tuple({"camera": value} if value else {} for value in camera))


def test_wilson_intervals_have_known_values():
    known = share(90, 100)
    assert (known.low, known.high) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert share(0, 0).value is None
    assert share(10, 10).high == 1.0


def test_accuracy_precision_and_recall_are_counted_per_class_and_subgroup():
    found = performance(
        rows(("owl", "owl", "A"), ("owl", "duck", "A"), ("duck", "duck", "B"), ("crow", "duck", "")), ["camera"]
    )

    assert found.accuracy.value == 0.5
    duck = next(one for one in found.classes if one.label == "duck")
    assert (duck.images, duck.answered) == (1, 3)
    assert duck.precision.value == pytest.approx(1 / 3)
    assert duck.recall.value == 1.0
    assert duck.false_positive_rate.value == pytest.approx(2 / 3)
    assert [(one.value, one.images, one.right) for one in found.subgroups] == [("A", 2, 1), ("B", 1, 1)]


def test_without_labels_nothing_is_claimed():
    found = performance(LabelledRows((), (), ()), ["camera"])

    assert found.images == 0
    assert found.accuracy.value is None
    assert found.classes == ()
