"""What a window's page says before any figure of the library; nothing of it needs the library."""

from monitoring.evidently_pages.heading import heading

ROWS = {"window": 150, "reference": 100}


def test_what_is_known_of_a_window_is_said_in_words_before_the_library_speaks():
    summary = {
        "predictions": 200,
        "accuracy": {"value": 0.9, "low": 0.8, "high": 0.95},
        "estimate": {"accuracy": {"value": 0.7, "low": 0.3, "high": 1.0}, "valid": True, "reasons": []},
        "shift": {"kind": "label shift", "words": ["Owls came more often."]},
        "differs": "differs from the reference (p < 0.001, 200 predictions)",
        "notes": ["camera B does not occur: 0 of 200, 50% of the reference."],
    }

    said = heading(summary, "label_first", ("Camera C is new.",), ROWS).splitlines()

    lines = [line for line in said if line]
    assert lines[:-1] == [
        "### Verdict: Label first",
        "* Camera C is new.",
        "**Accuracy where labels exist:** 90.0% (80.0% to 95.0%)",
        "**Estimated without:** 70.0% (30.0% to 100.0%)",
        "**Kind of shift:** Owls came more often.",
        "**Beside the reference:** differs from the reference (p ‹ 0.001, 200 predictions)",
        "**To be known:** camera B does not occur: 0 of 200, 50% of the reference.",
    ]
    assert lines[-1].startswith("What follows is computed by Evidently from 150 of the window's 200 predictions")


def test_an_estimate_that_may_not_be_relied_on_is_never_shown_without_the_reason():
    guess = {"accuracy": {"value": 0.7, "low": 0.3, "high": 1.0}, "valid": False, "reasons": ["Strange pictures."]}

    said = heading({"estimate": guess}, "", (), ROWS)

    assert "70.0% (30.0% to 100.0%), not to be relied on. Strange pictures." in said


def test_words_that_callers_chose_are_words_and_neither_links_nor_pictures():
    said = heading({}, "retrain", ("Camera ![x](http://far.away/x.png) <b>*new*</b> is\n# new.",), ROWS)

    assert r"* Camera \!\[x\](http://far.away/x.png) ‹b›\*new\*‹/b› is \# new." in said.splitlines()


def test_a_summary_of_another_form_costs_no_page():
    summary = {"notes": 3, "shift": [], "differs": None, "estimate": "good", "accuracy": 1, "block_lane": {}}

    assert heading(summary, "", (), ROWS).startswith("### Verdict: None yet")
