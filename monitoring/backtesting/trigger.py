"""What decides about a retrain in a replay, and what it may look at: nothing of the future."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitoring.backtesting.replayed_model import ReplayedModel
from monitoring.backtesting.stream import Rows, Stream
from monitoring.watching.batch import Floats


@dataclass(frozen=True)
class Seen:
    """
    One look.

    Attributes:
        now: The moment of the look; every row before `end` was answered by then.
        begin, end: Rows that were answered since the last look.
        probabilities: Of these, (end - begin, classes), by whichever model answered.
        arrived: Rows whose label came since the last look, in the order in which they came.
        model: The champion of this moment.
        answered_by: Of every row so far, the number of the model that answered it.
        answer: Of every row so far, the number of the class.
        training: Whether a retrain is on its way.
    """

    stream: Stream
    now: np.datetime64
    begin: int
    end: int
    probabilities: Floats
    arrived: Rows
    model: ReplayedModel
    answered_by: NDArray[np.int32]
    answer: NDArray[np.int64]
    training: bool = False


@dataclass(frozen=True)
class Said:
    """
    What came of a look.

    Attributes:
        reason: Of the retrain that it asks for, as a job has it; "" where it asks for none.
        words: One sentence.
        action: Triage's verdict, of a policy that reaches one.
    """

    reason: str = ""
    words: str = ""
    action: str = ""


class Trigger(Protocol):
    """A policy at work; it is told of every look, also while a retrain that it asked for is on its way."""

    def look(self, seen: Seen) -> Said: ...

    def ended(self, seen: Seen, *, promoted: bool) -> None:
        """A retrain has ended; promoted: whether its model answers from now on."""
