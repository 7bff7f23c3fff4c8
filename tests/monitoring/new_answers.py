"""What a reader of the prediction log meets that comes again and again, as the watcher does."""

from models.prediction import Prediction
from monitoring.log.cursor import BEGINNING, Cursor
from monitoring.log.rows import predictions_in
from monitoring.log.stretch import new_stretch
from monitoring.prediction_log import PredictionLog


def new_answers(log: PredictionLog, cursor: Cursor = BEGINNING, most_rows: int = 100_000) -> list[Prediction]:
    """The answers beyond the cursor, in the order in which they count."""
    return read_on(log, cursor, most_rows)[0]


def read_on(log: PredictionLog, cursor: Cursor, most_rows: int = 100_000) -> tuple[list[Prediction], Cursor]:
    """The same, with the cursor after them."""
    stretch = new_stretch(log.predictions, cursor, most_rows)
    rows = [row for frame in stretch.slices() for row in predictions_in(frame)]
    return rows, cursor.past(stretch.index)
