from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from infra.clock import new_id
from infra.settings_sections import StorageSettings
from models.prediction import Label, Prediction
from monitoring.log.cursor import BEGINNING, Cursor
from monitoring.log.rows import predictions_in
from monitoring.log.stretch import answers, new_stretch
from monitoring.prediction_log import PredictionLog, image_key
from tests.monitoring.new_answers import new_answers, read_on

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def prediction(identifier: str, at: datetime = NOON, *, label: str = "cat", repeated: bool = False) -> Prediction:
    return Prediction(
        id=identifier,
        at=at,
        model_version=3,
        label=label,
        confidence=0.75,
        probabilities=(0.75, 0.25),
        embedding=np.array([0.5, -1.5], dtype=np.float32),
        statistics=(0.5, 0.25),
        image_sha256="ab" * 32,
        image_width=64,
        image_height=48,
        image_format="jpeg",
        image_bytes=1234,
        image_kept=True,
        metadata={"camera": "A"},
        repeated=repeated,
    )


def told(identifier: str, label: str, sequence: int) -> Label:
    return Label(identifier, label, NOON + timedelta(hours=1), "ada", sequence)


@pytest.fixture
def log(tmp_path: Path) -> PredictionLog:
    return PredictionLog(StorageSettings(home=tmp_path, objects=f"file://{tmp_path}/objects"))


def ids(rows) -> list[str]:
    return [row.id for row in rows]


def test_an_empty_log_has_nothing_to_say(log):
    assert new_answers(log) == []
    assert log.new_labels().rows == ()
    assert log.predictions_by_id(["x"]) == {}
    assert log.labelled().is_empty()
    assert "true_label" in log.labelled().columns
    assert (log.count(), log.orphans(), log.recent(5)) == (0, 0, ())


def test_a_prediction_comes_back_as_it_went_in(log):
    sent = prediction("a")

    log.append_predictions("s-0", 1, [(1, sent)])
    (found,) = new_answers(log)

    assert vars(found) | {"embedding": None} == vars(sent) | {"embedding": None}
    assert found.embedding.dtype == np.float32
    assert found.embedding.tolist() == [0.5, -1.5]


def test_only_what_lies_beyond_the_cursor_is_new(log):
    log.append_predictions("s-0", 1, [(1, prediction("a")), (3, prediction("b"))])
    first, cursor = read_on(log, BEGINNING)
    log.append_predictions("s-0", 2, [(0, prediction("c"))])
    log.append_predictions("s-1", 1, [(0, prediction("d"))])

    second, end = read_on(log, cursor)

    assert ids(first) == ["a", "b"]
    assert ids(second) == ["c", "d"]
    assert new_answers(log, end) == []
    assert Cursor.from_json(end.to_json()) == end


def test_a_reader_may_take_only_the_beginning_of_what_is_new(log):
    log.append_predictions("s-0", 1, [(n, prediction(f"a{n}", NOON + timedelta(seconds=2 * n))) for n in range(5)])
    log.append_predictions("s-1", 1, [(n, prediction(f"b{n}", NOON + timedelta(seconds=2 * n + 1))) for n in range(5)])
    whole = new_stretch(log.predictions, BEGINNING, 100)

    rest = new_answers(log, BEGINNING.past(whole.index.head(3)))

    assert ids(new_answers(log)) == ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3", "a4", "b4"]
    assert ids(rest) == ids(new_answers(log))[3:]


def test_memory_is_bounded_and_the_next_call_goes_on(log):
    log.append_predictions("s-0", 1, [(n, prediction(f"a{n}", NOON + timedelta(seconds=n))) for n in range(7)])

    found, cursor = [], Cursor()
    for _ in range(4):
        piece, cursor = read_on(log, cursor, most_rows=3)
        found.append(ids(piece))

    assert found == [["a0", "a1", "a2"], ["a3", "a4", "a5"], ["a6"], []]


def test_a_clock_that_jumps_back_hides_no_row_and_keeps_the_order(log):
    times = [NOON, NOON + timedelta(hours=2), NOON - timedelta(hours=5), NOON + timedelta(hours=3)]
    log.append_predictions("s-0", 1, [(n, prediction(f"a{n}", at)) for n, at in enumerate(times)])
    log.append_predictions("s-1", 1, [(0, prediction("b0", NOON + timedelta(hours=1)))])

    assert ids(new_answers(log)) == ["a0", "b0", "a1", "a2", "a3"]


def test_the_first_answer_to_an_id_is_the_one_that_counts(log):
    log.append_predictions("s-0", 1, [(0, prediction("a", label="cat"))])
    log.append_predictions("s-0", 2, [(0, prediction("a", NOON + timedelta(hours=1), label="dog", repeated=True))])

    first = [row for frame in answers(log.predictions, 3) for row in predictions_in(frame)]

    assert [(row.id, row.label) for row in first] == [("a", "cat")]
    assert log.predictions_by_id(["a", "nobody"])["a"].label == "cat"
    assert log.count() == 2


def test_the_last_label_by_the_servers_sequence_counts(log):
    log.append_predictions("s-0", 1, [(0, prediction("a")), (1, prediction("b"))])
    log.append_labels("s-0", 1, [(2, told("a", "dog", 20)), (3, told("b", "cat", 30))])
    log.append_labels("s-1", 1, [(0, told("a", "owl", 10))])

    joined = log.labelled()

    assert joined.select("id", "label", "true_label", "sequence").rows() == [
        ("a", "cat", "dog", 20),
        ("b", "cat", "cat", 30),
    ]
    assert {identifier: label.label for identifier, label in log.last_labels().items()} == {"a": "dog", "b": "cat"}


def test_a_label_may_come_before_its_prediction_and_is_joined_later(log):
    log.append_labels("s-0", 1, [(0, told("late", "dog", 1))])
    before = (log.orphans(), log.labelled().height)

    log.append_predictions("s-0", 2, [(0, prediction("late"))])

    assert before == (1, 0)
    assert (log.orphans(), log.labelled()["true_label"].to_list()) == (0, ["dog"])


def test_new_labels_come_in_the_order_of_their_sequence(log):
    log.append_labels("s-0", 1, [(0, told("a", "x", 5)), (1, told("b", "y", 3))])
    first = log.new_labels()
    log.append_labels("s-0", 2, [(0, told("a", "z", 9))])

    assert [(row.id, row.sequence) for row in first.rows] == [("b", 3), ("a", 5)]
    assert [(row.id, row.label) for row in log.new_labels(first.cursor).rows] == [("a", "z")]


def test_ids_that_carry_a_time_are_found_on_their_day_and_others_everywhere(log):
    yesterday = NOON - timedelta(days=1)
    dated, wrong_clock = new_id(yesterday), new_id(NOON - timedelta(days=90))
    log.append_predictions("s-0", 1, [(0, prediction(dated, yesterday)), (1, prediction("mine", NOON))])
    log.append_predictions("s-0", 2, [(0, prediction(wrong_clock, NOON))])

    assert set(log.predictions_by_id([dated, "mine", wrong_clock])) == {dated, "mine", wrong_clock}


def test_compaction_changes_no_answer(log):
    for segment in range(1, 6):
        log.append_predictions("s-0", segment, [(0, prediction(f"a{segment}", NOON + timedelta(seconds=segment)))])
    _, cursor = read_on(log, BEGINNING, most_rows=3)

    assert log.compact() == 4
    assert ids(new_answers(log, cursor)) == ["a4", "a5"]
    assert not log.append_predictions("s-0", 5, [(0, prediction("a5"))])


def test_images_lie_under_their_hash():
    assert image_key("abcd12") == "images/ab/abcd12"
