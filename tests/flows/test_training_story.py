"""What a person is told while a training runs: folded up from progress lines, on a terminal and as plain lines."""

import io
import logging

import pytest
from rich.console import Console

from flows.launcher import ProgressLine
from flows.telling import Logged, on_terminal
from flows.training_story import TrainingStory, clock, in_words
from flows.training_view import TrainingView, sparkline


def line(stage=0, epoch=1, **changes):
    facts = {"kind": "epoch", "stage": stage, "stages": 2, "stage_name": ("head", "whole network")[stage],
             "epoch": epoch, "epochs": 10, "metric": "macro_recall", "value": 0.5, "best_so_far": 0.5,
             "seconds": 2.0 * epoch}  # fmt: skip
    return ProgressLine(**{**facts, **changes})


def told(*lines, budget_minutes=0.0):
    story = TrainingStory(budget_minutes)
    for each in lines:
        story = story.after(each)
    return story


def screen_of(story, width=100):
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)
    console.print(TrainingView(story, told_at_s=1e12))
    return console.file.getvalue()


def test_an_epoch_that_is_told_again_takes_the_place_of_its_first_telling():
    story = told(line(epoch=1, value=0.1), line(epoch=2, value=0.2), line(epoch=2, value=0.3))

    assert story.stages[0].values == (0.1, 0.3)


def test_a_stage_takes_from_the_end_of_the_one_before_it():
    story = told(line(epoch=1, seconds=3.0), line(epoch=2, seconds=6.0), line(stage=1, epoch=1, seconds=10.0))

    assert [stage.seconds for stage in story.stages] == [6.0, 4.0]


def test_what_is_left_is_reckoned_from_epochs_and_ends_with_the_budget():
    # Two seconds an epoch: eight more epochs here, ten in the stage to come.
    lines = (line(epoch=1), line(epoch=2))

    assert told(*lines).left_s() == (16.0, 36.0)
    assert told(*lines, budget_minutes=0.5).left_s() == (16.0, 26.0)
    assert told(*lines, line(epoch=3, eta_s=5.0)).left_s()[0] == 5.0


def test_lines_of_an_older_trainer_that_says_less_are_shown_all_the_same():
    least = ProgressLine(stage=0, stage_name="head", epoch=3, epochs=20, select_macro_recall=0.75)

    assert in_words(least) == "stage 1, head: epoch 3 of 20, macro recall 0.750"
    assert "epoch 3 of 20" in screen_of(told(least))


def test_the_view_shows_what_is_over_what_runs_and_what_is_to_come():
    story = told(
        line(epoch=1, value=0.25),
        line(epoch=2, value=0.5),
        line(stage=1, epoch=1, stages=3, value=0.75, best_so_far=0.8, loss=0.5, learning_rate=0.004,
             source="cached prefix", device="cpu", images_per_s=1234.0, seconds=6.0),
        budget_minutes=5,
    )  # fmt: skip

    shown = screen_of(story)

    for words in ("✔ head  2 epochs, macro recall 0.500, 0:04", "whole network", "epoch 1 of 10", "· stage 3 of 3",
                  "macro recall 0.750  best 0.800", "loss 0.500 · rate 4.0e-03 · cached prefix · cpu · 1,234 images/s",
                  "0:06 gone, about", "the budget is 5 min"):  # fmt: skip
        assert words in shown


def test_a_narrow_terminal_is_no_reason_to_fail():
    assert "head" in screen_of(told(line()), width=24)


@pytest.mark.parametrize(
    ("values", "bars"), [((), ""), ((0.5,), "▁"), ((0.5, 0.5), "▁▁"), ((0.0, 0.5, 1.0), "▁▄█"), ((-2.0, -1.0), "▁█")]
)
def test_a_sparkline_spans_its_own_range(values, bars):
    assert sparkline(values) == bars


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")])
def test_a_clock_shows_hours_only_where_there_are_any(seconds, shown):
    assert clock(seconds) == shown


def test_where_the_output_is_no_terminal_lines_are_plain_and_few_and_the_stages_are_told_at_the_end():
    console = Console(file=io.StringIO(), width=60)
    with on_terminal(console) as teller:
        teller.training(ProgressLine(kind="remark", words="No weights [of x] can be fetched: training from scratch."))
        for epoch in range(1, 9):
            teller.training(line(epoch=epoch, value=epoch / 10, best_so_far=epoch / 10))
        teller.training(line(stage=1, epoch=1, value=0.9, best_so_far=0.9, seconds=20.0))
        teller.trained()

    assert console.file.getvalue().splitlines() == [
        "No weights [of x] can be fetched: training from scratch.",
        "  stage 1 of 2, head: epoch 1 of 10, macro recall 0.100 (best 0.100)",
        "  stage 2 of 2, whole network: epoch 1 of 10, macro recall 0.900 (best 0.900)",
        "  head: 8 epochs, macro recall up to 0.800, 0:16",
        "  whole network: 1 epoch, macro recall up to 0.900, 0:04",
    ]


def test_a_retrain_that_nobody_watches_logs_every_epoch(caplog):
    teller = Logged(logging.getLogger("flows.test"))

    with caplog.at_level(logging.INFO):
        teller.training(line(epoch=1))
        teller.training(line(epoch=2, value=0.6, best_so_far=0.6))
        teller.training(ProgressLine(kind="remark", words="The loss is no number any more: the rate is lowered."))

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "stage 1 of 2, head: epoch 1 of 10, macro recall 0.500 (best 0.500)"),
        ("INFO", "stage 1 of 2, head: epoch 2 of 10, macro recall 0.600 (best 0.600)"),
        ("WARNING", "The loss is no number any more: the rate is lowered."),
    ]
