"""What is asked for a waiting candidate of a replay, whose labels count for what, and when enough have come."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from models.gate_needs import LabelNeed
from monitoring.backtesting.replayed_model import answers_of, first_model, retrained
from monitoring.backtesting.stream import JUDGE, AskedFor
from monitoring.backtesting.trigger import Seen
from monitoring.backtesting.waiting import Undecided, asked
from monitoring.labelling.awaited import Awaited, are_enough
from tests.benchmarks.decisions_worlds import Change, quarter

pytestmark = pytest.mark.slow

DAY = np.timedelta64(1, "D")
ANY_RECENT = LabelNeed("overall", "recent", 50)


@pytest.fixture(scope="module")
def quiet():
    return quarter(Change("no drift", ("nothing",), begin=90), 1, per_day=60, labels_per_day=15)


@dataclass(frozen=True)
class Everybody:
    """They take on every picture that is wanted, and label it a day later; or none, where they do not care."""

    cares: bool = True
    per_day: float = 1_000.0

    def __call__(self, asked, since, now):
        return dict.fromkeys(np.flatnonzero(asked.weights > 0).tolist(), now + DAY) if self.cares else {}


def look(world, stream, day):
    """The look at a day's answers, and a candidate that waits for labels of any recent image."""
    first, now = first_model(stream, world.profile), stream.began + (day + 1) * DAY
    begin, end = np.searchsorted(stream.times, [now - DAY, now], side="right").tolist()
    answer = np.nan_to_num(first.probabilities(stream, slice(0, len(stream)))).argmax(axis=1)
    by = np.zeros(len(stream), dtype=np.int32)
    found = first.probabilities(stream, slice(begin, end))
    seen = Seen(stream, now, begin, end, found, np.empty(0, dtype=np.intp), first, by, answer, training=True)
    model = retrained(stream, first, 1, now - DAY)
    return seen, Undecided(model, (ANY_RECENT,), now - DAY, now - DAY, now + 14 * DAY)


def could_be_asked(stream, seen):
    rows = np.arange(seen.begin, seen.end)
    return rows[~stream.drawn[rows] & (stream.roles[rows] == JUDGE) & stream.can_train[rows]].tolist()


def test_what_is_labelled_already_is_not_asked_again(quiet):
    seen, waits = look(quiet, quiet.stream, 40)
    volunteered, *others = could_be_asked(quiet.stream, seen)
    labelled_at = quiet.stream.labelled_at.copy()
    labelled_at[volunteered] = seen.now
    stream = replace(quiet.stream, labelled_at=labelled_at)

    found = asked(stream, waits, replace(seen, stream=stream), Everybody())

    assert others
    assert sorted(found.asked) == others
    assert found.labelled_at[volunteered] == seen.now


def test_a_label_that_comes_by_itself_sooner_is_not_put_off(quiet):
    stream = quiet.stream
    drawn, unlabelled = np.flatnonzero(stream.drawn)[-1], stream.base
    sooner = stream.labelled_at[drawn]
    labelled_at = stream.labelled_at.copy()
    labelled_at[unlabelled] = np.datetime64("NaT")

    found = replace(stream, labelled_at=labelled_at).with_labels(
        {int(drawn): sooner + DAY, unlabelled: stream.began + DAY}, {}
    )

    assert found.labelled_at[drawn] == sooner
    assert found.labelled_at[unlabelled] == stream.began + DAY


def test_where_nobody_takes_anything_on_the_stream_stays_the_same(quiet):
    seen, waits = look(quiet, quiet.stream, 40)

    assert asked(quiet.stream, waits, seen, Everybody(cares=False)) is quiet.stream


def test_what_was_drawn_or_asked_for_proves_a_gain_and_what_was_volunteered_does_not(quiet):
    first = first_model(quiet.stream, quiet.profile)
    base, after = quiet.stream.base, np.arange(quiet.stream.base, len(quiet.stream))
    drawn, volunteered, wanted = after[quiet.stream.drawn[after]][0], *after[~quiet.stream.drawn[after]][:2]
    stream = replace(quiet.stream, asked={int(wanted): AskedFor(1, "overall", "recent")})
    rows = np.array([base - 1, drawn, volunteered, wanted])

    assert answers_of(stream, first, rows).by_chance == (True, True, False, True)
    assert answers_of(stream, first, rows, random=True).by_chance == (True, True, True, True)


def test_what_people_could_not_give_in_time_is_waited_for_only_where_nobody_is_asked():
    in_time, too_many = LabelNeed("overall", "recent", 50), LabelNeed("overall", "old", 500)
    most = 10 * 14.0

    assert are_enough((Awaited(in_time, 50), Awaited(too_many, 3)), most)
    assert not are_enough((Awaited(in_time, 49), Awaited(too_many, 3)), most)
    assert not are_enough((Awaited(in_time, 50), Awaited(too_many, 3)), np.inf)
    assert not are_enough((Awaited(too_many, 3),), most)
