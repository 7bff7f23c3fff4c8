"""What `kedge performance` prints, over a real log."""

import io
from datetime import timedelta

import pytest
from rich.console import Console

from flows.performing import performing
from flows.show_performance import show_performance
from flows.workplace import Workplace, open_workplace
from infra.clock import now
from models.prediction import Label
from tests.flows.remembered import Sent, picture, project, shipped
from tests.flows.test_audit import champion


@pytest.fixture
def place(tmp_path) -> Workplace:
    opened = project(tmp_path)
    champion(opened, tmp_path / "candidate")
    return open_workplace(tmp_path)


def said(place: Workplace) -> str:
    console = Console(file=io.StringIO(), width=120)
    show_performance(console, performing(place, None))
    return console.file.getvalue()


def test_shares_are_told_in_percent_and_a_missing_profile_with_what_would_make_one(place):
    shipped(place, *(Sent(f"id-{number}", picture(number), "cat" if number % 4 else "dog") for number in range(40)))

    text = said(place)

    assert "75.0 % (60 to 86) right, of 40 labelled answers." in text
    assert text.count("There is no reference profile of classifier:1") == 2
    assert "`kedge retrain` makes one." in text


def test_before_the_first_prediction_every_part_says_what_it_lacks(place):
    text = said(place)

    assert "No prediction of this time has a label yet." in text
    assert "Not enough evidence: 0 labels so far; 30 show how long they take." in text


def test_a_label_that_came_from_the_future_and_markup_in_a_class_name_break_nothing(place):
    shipped(place, Sent("a", picture(1)), Sent("b", picture(2), "[red]cat"))
    place.log.append_labels("s-1", 1, [(0, Label("a", "[/bold]", now() + timedelta(days=3)))])

    text = said(place)

    assert "[red]cat" in text
    assert "[/bold]" in text
