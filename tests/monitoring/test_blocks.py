from datetime import UTC, datetime, timedelta

import pytest

from infra.errors import UserError
from monitoring.blocks.cutting import Block, Calendar, Measured, Span, block_seconds, block_words, completed

DAYS = Calendar(86_400)
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
UNIT = int(FIRST.timestamp()) // 86_400


def day(number: int) -> datetime:
    return FIRST + timedelta(days=number)


@pytest.mark.parametrize(("text", "seconds"), [("1 day", 86_400), ("6 hours", 21_600), ("2 weeks", 1_209_600)])
def test_a_block_is_given_in_words_and_told_in_words(text, seconds):
    assert block_seconds(text) == seconds
    assert block_words(seconds) == text


def test_a_block_that_is_no_time_is_named_with_an_example():
    with pytest.raises(UserError, match=r"monitor\.block is 'soon'; expected a number of minutes, hours"):
        block_seconds("soon")


def test_a_quiet_day_is_merged_with_the_next():
    counts = {UNIT: 50, UNIT + 1: 160, UNIT + 2: 400}

    assert completed(counts, DAYS, day(3), None) == [Span(day(0), day(2), 210), Span(day(2), day(3), 400)]


def test_a_day_that_is_not_over_is_no_block_however_busy():
    assert completed({UNIT: 5_000}, DAYS, day(1) - timedelta(seconds=1), None) == []


def test_days_without_any_prediction_make_no_block_of_their_own():
    counts = {UNIT: 300, UNIT + 9: 300}

    assert [(span.start, span.end) for span in completed(counts, DAYS, day(10), None)] == [
        (day(0), day(1)),
        (day(9), day(10)),
    ]
    assert completed({}, DAYS, day(10), None) == []


def test_the_day_on_which_the_champion_began_is_merged_with_the_next():
    noon = day(0) + timedelta(hours=12)

    assert completed({UNIT: 300, UNIT + 1: 300}, DAYS, day(2), noon) == [Span(day(0), day(2), 600)]


def test_a_longer_unit_can_begin_in_the_middle_of_the_calendar_s_own():
    pair = Calendar.after(day(1), 2 * 86_400)
    unit = (int(day(1).timestamp()) - pair.offset) // pair.seconds

    assert pair.start_of(unit) == day(1)
    assert completed({unit: 400}, pair, day(3), None) == [Span(day(1), day(3), 400)]


def test_a_block_comes_back_from_its_row_as_it_was():
    measured = Measured(2, {200: {"mix": 0.25}}, {"embedding": 0.1}, {"mix": 0.5}, {"outputs": 0.3}, 4)
    block = Block(7, day(0), day(1), 345, 3, measured, "blocks/birds/7/2.npz")

    assert Block.from_row({**block.row(), "name": "birds"}) == block
