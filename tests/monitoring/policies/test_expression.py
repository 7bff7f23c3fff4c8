import pytest

from monitoring.policies.expression import ExpressionMistake, parse


def test_the_default_holds_when_any_of_its_policies_asks():
    when = parse("any(harm, schedule, requested)")

    assert [when.holds({name}) for name in ("harm", "schedule", "requested", "labels")] == [True, True, True, False]
    assert not when.holds(set())


def test_all_holds_only_when_every_one_asks():
    when = parse("all(labels, schedule)")

    assert when.holds({"labels", "schedule", "harm"})
    assert not when.holds({"labels"})


def test_at_least_counts_parts_and_parts_may_be_joined_themselves():
    when = parse("at_least(2, harm, any(bias, performance), all(labels, schedule))")

    assert when.holds({"harm", "bias"})
    assert when.holds({"performance", "labels", "schedule"})
    assert not when.holds({"bias", "performance"})
    assert when.policies == ("harm", "performance", "bias", "labels", "schedule")


def test_one_policy_alone_is_an_expression():
    assert parse(" requested ").holds({"requested"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("any(harms, schedule)", "'harms' is no policy; did you mean harm?"),
        ("any(drift)", "'drift' is no policy; expected harm, performance"),
        ("al(harm)", "'al(…)' joins nothing; did you mean all?"),
        ("harm()", "'harm' is a policy and takes no brackets"),
        ("any()", "'any()' names no policy; write it as in any(harm, schedule)"),
        ("any", "'any' needs its policies in brackets"),
        ("harm or schedule", "'harm or schedule' joins with a word; write any(harm, schedule)"),
        ("harm and labels", "write all(harm, labels)"),
        ("at_least(harm, labels)", "should begin with a whole number, as in at_least(2, harm, labels, schedule)"),
        ("at_least(3, harm, labels)", "asks for 3 of 2"),
        ("at_least(0, harm)", "asks for 0 of 1"),
        ("at_least()", "should begin with a whole number"),
        ("any(*harm)", "should list policies and nothing else"),
        ("any(harm, when=1)", "should list policies and nothing else"),
        ("any(harm", "cannot be read"),
        ("", "it is empty"),
        ("__import__('os').system('true')", "is no policy and joins none"),
        ("any(harm, 'schedule')", "''schedule'' is no policy and joins none"),
        ("(" * 5000 + "harm" + ")" * 5000, "cannot be read"),
    ],
)
def test_a_mistake_is_told_with_what_was_meant(text, words):
    with pytest.raises(ExpressionMistake) as raised:
        parse(text)

    assert words in str(raised.value)
