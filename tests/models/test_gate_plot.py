"""The picture of a decision: which comparisons it shows, and that it is drawn."""

from models.gate import decide
from models.gate_plot import draw_forest, shown
from models.gate_records import CheckRow, GateInput
from tests.models.test_gate import ARTIFACT, RULES, given, pair


def row(result: str, group: str, bound: float) -> CheckRow:
    return CheckRow("recall", "old", group, 100, bound / 2, bound, 0.05, "judged", result)


def test_the_picture_shows_every_comparison_and_no_floor(tmp_path):
    decision = decide(given(pair(300), pair(80, name="recent"), reason="harm"), RULES)

    drawn = draw_forest(decision, tmp_path / "gate.svg")

    text = (tmp_path / "gate.svg").read_text()
    assert drawn
    assert "accuracy" in text
    assert "gain, recent" in text
    assert "calibration" in text
    assert "floor" not in text
    assert "margin: what must be ruled out" in text


def test_nothing_is_drawn_where_nothing_was_compared(tmp_path):
    decision = decide(GateInput("first", ARTIFACT, pair(300)[0]), RULES)

    assert not draw_forest(decision, tmp_path / "gate.svg")
    assert not (tmp_path / "gate.svg").exists()


def test_the_overall_rows_come_first_and_of_many_those_stay_that_speak_against_it():
    checks = [row("passed", f"class={number}", 0.001 * number) for number in range(50)]
    checks += [row("failed", "class=bad", 0.2), row("passed", "overall", 0.01)]

    names = [one.group for one in shown(checks)]

    assert len(names) == 40
    assert "class=bad" in names
    assert "class=49" in names
    assert "class=0" not in names


def test_a_name_with_a_dollar_sign_is_no_formula(tmp_path):
    decision = decide(given(pair(300)), RULES)
    odd = [row("undecided", "class=$x_1$", 0.1)]

    assert draw_forest(type(decision)("undecided", False, (), tuple(odd), (), ()), tmp_path / "gate.png")
    assert (tmp_path / "gate.png").stat().st_size > 5_000
