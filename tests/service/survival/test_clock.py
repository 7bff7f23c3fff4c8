"""The clock of the machine jumps back by more than a day while callers send: every row and every order is kept."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from monitoring.log.cursor import BEGINNING
from monitoring.prediction_log import PredictionLog
from service import commands
from service.client import Client, Feedback
from tests.monitoring.new_answers import read_on
from tests.service.cards import Place, picture, wait_for
from tests.service.survival.traffic import Traffic, check_the_books

pytestmark = pytest.mark.slow

_FOLDERS = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime", "/usr/lib64/faketime")


class Clock:
    """What the service takes for the time: the true one, moved by some hours, now or later."""

    def __init__(self, path: Path, library: str) -> None:
        self._path = path
        self.move(0)
        self.variables = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1",
            # As on a real machine, only the wall clock is set; waiting goes by the other one.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def move(self, hours: int) -> None:
        following = self._path.with_suffix(".new")
        following.write_text(f"{hours:+d}h\n")
        following.replace(self._path)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    found = [str(path) for folder in _FOLDERS for path in Path("/").glob(f"{folder[1:]}/libfaketimeMT.so.1")]
    if not found:
        pytest.skip("libfaketime is not installed (apt install faketime)")
    return Clock(tmp_path / "clock", found[0])


def test_the_clock_jumps_back_by_a_day_under_load_and_every_row_and_every_order_is_kept(
    place: Place, clock: Clock
) -> None:
    place.champion()
    child = commands.serve(place.settings)
    service = place.start(replace(child, env={**child.env, **clock.variables}))
    with Client(place.url, patience_s=60) as client, Traffic(place.url, callers=2) as traffic:
        early = client.predict(picture((5, 5, 5)))
        client.feedback([Feedback(early.id, "light", "ada")])
        wait_for(lambda: len(traffic.answered) > 50, place.output)

        clock.move(-26)
        late = client.predict(picture((5, 5, 5)))
        client.feedback([Feedback(early.id, "dark", "bob"), Feedback(late.id, "light", "ada")])
        answered = len(traffic.answered)
        wait_for(lambda: len(traffic.answered) > answered + 50, place.output)

        clock.move(+1)
        client.feedback([Feedback(late.id, "dark", "bob")])
        answered = len(traffic.answered)
        wait_for(lambda: len(traffic.answered) > answered + 50, place.output)
    service.terminate()
    service.wait(60)
    check_the_books(place, traffic, relabelled=frozenset({early.id, late.id}))

    log = PredictionLog(place.settings.storage)
    days = {row.at.date() for row in log.predictions_by_id([early.id, late.id]).values()}
    final = {row["id"]: (row["true_label"], row["labelled_by"]) for row in log.labelled().iter_rows(named=True)}
    # Without this, the clock did not jump and the rest says nothing.
    assert len(days) == 2
    assert (final[early.id], final[late.id]) == (("dark", "bob"), ("dark", "bob"))
    assert set(traffic.labelled) <= set(final)
    seen = read_in_pieces(log)
    assert set(seen.values()) == {1}
    assert {*traffic.answered, early.id, late.id} <= set(seen)


def read_in_pieces(log: PredictionLog) -> Counter[str]:
    """Every id as a reader meets it that comes again and again and takes what is new."""
    seen: Counter[str] = Counter()
    rows, cursor = read_on(log, BEGINNING, most_rows=37)
    while rows:
        seen.update(row.id for row in rows if not row.repeated)
        rows, cursor = read_on(log, cursor, most_rows=37)
    return seen
