from datetime import UTC, datetime, timedelta

import pytest

from infra.errors import UserError
from monitoring.blocks import block_seconds, count_blocks
from monitoring.watch_state import BlockCount

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("text", "seconds"), [("1 day", 86_400), ("6 hours", 21_600), ("2 weeks", 1_209_600)])
def test_a_block_is_given_in_words(text, seconds):
    assert block_seconds(text) == seconds


def test_a_block_that_is_no_time_is_named_with_an_example():
    with pytest.raises(UserError, match=r"monitor\.block is 'soon'; expected a number of minutes, hours"):
        block_seconds("soon")


def test_a_quiet_block_is_merged_with_the_next():
    sunday = [NOON] * 50
    monday = [NOON + timedelta(days=1)] * 160
    tuesday = [NOON + timedelta(days=2)]

    block, done = count_blocks(BlockCount(), sunday + monday, 86_400, 0)
    assert done == 0
    block, done = count_blocks(block, tuesday, 86_400, done)

    assert done == 1
    assert block.predictions == 1
