"""
Triggers as others have them: time, amount of labels, a distance above a threshold, labelled accuracy below one.

These are the kinds of Modyn (Böther et al., "Modyn: Data-Centric Machine Learning Pipeline Orchestration", 2025). A
distance is compared with a fixed threshold, or with a high quantile of the last distances, as its dynamic policy does.
"""

from collections import deque
from datetime import timedelta

import numpy as np

from monitoring.backtesting.stream import answered, part
from monitoring.backtesting.trigger import Said, Seen
from monitoring.blocks.distances import BlockReference, distances, reference_of

_EMBEDDING = "embedding"
_LEAST_DISTANCES = 5


class Never:
    """The first model answers for ever."""

    def look(self, seen: Seen) -> Said:
        return Said()

    def ended(self, seen: Seen, *, promoted: bool) -> None:
        pass


class Schedule:
    """Every so many days, whatever happens."""

    def __init__(self, days: float) -> None:
        self._every = np.timedelta64(round(timedelta(days=days).total_seconds() * 1e6), "us")
        self._last: np.datetime64 | None = None

    def look(self, seen: Seen) -> Said:
        last = seen.stream.began if self._last is None else self._last
        if seen.now - last < self._every:
            return Said()
        # On the clock's beat, not on that of the looks.
        self._last = last + self._every * ((seen.now - last) // self._every)
        return Said("schedule", "its time has come")

    def ended(self, seen: Seen, *, promoted: bool) -> None:
        pass


class Amount:
    """Whenever so many labels that can train have come since the last time."""

    def __init__(self, labels: int) -> None:
        self._wanted, self._come = labels, 0

    def look(self, seen: Seen) -> Said:
        self._come += int(seen.stream.can_train[seen.arrived].sum())
        if self._come < self._wanted:
            return Said()
        come, self._come = self._come, 0
        return Said("labels", f"{come} new labels")

    def ended(self, seen: Seen, *, promoted: bool) -> None:
        pass


class Distance:
    """
    Whenever a window lies too far from what the champion was trained on.

    The distance is the squared maximum mean discrepancy of the embeddings.

    Args:
        predictions: in a window.
        threshold: above which it fires; 0 = above a quantile of the last ten distances.
        quantile: so rare, among those, is a distance that fires, 0..1.
    """

    def __init__(self, predictions: int, threshold: float = 0.0, quantile: float = 0.05) -> None:
        self._predictions, self._threshold, self._quantile = predictions, threshold, quantile
        self._last: deque[float] = deque(maxlen=10)
        self._reference: BlockReference | None = None
        self._number = -1
        self._done = 0

    def look(self, seen: Seen) -> Said:
        if self._reference is None or self._number != seen.model.number:
            self._reference, self._number = reference_of(seen.model.profile), seen.model.number
        self._done = self._done or seen.stream.base
        said = Said()
        while seen.end - self._done >= self._predictions:
            window = slice(self._done, self._done + self._predictions)
            self._done = window.stop
            rows = part(seen.stream, window)
            shown = answered(rows, seen.model.probabilities(seen.stream, window), seen.stream.classes)
            found = distances(self._reference, shown, self._predictions).get(_EMBEDDING)
            if found is None:
                continue
            if self._is_far(found):
                said = Said("drift", f"a window of {self._predictions} lies {found:.3g} from the training images")
            # A distance that fired stays among those that calibrate, as it does there.
            self._last.append(found)
        return said

    def ended(self, seen: Seen, *, promoted: bool) -> None:
        pass

    def _is_far(self, distance: float) -> bool:
        if self._threshold > 0:
            return distance > self._threshold
        if len(self._last) < _LEAST_DISTANCES:
            return False
        return distance > float(np.quantile(list(self._last), 1 - self._quantile))


class Accuracy:
    """
    Whenever the champion's newest labelled answers are right too rarely.

    Args:
        least: share of right answers below which it fires, 0..1.
        labels: so many of the newest are counted.
    """

    def __init__(self, least: float, labels: int) -> None:
        self._least, self._labels = least, labels
        self._right: deque[bool] = deque(maxlen=labels)
        self._number = 0

    def look(self, seen: Seen) -> Said:
        if self._number != seen.model.number:
            self._right.clear()
            self._number = seen.model.number
        mine = seen.arrived[seen.answered_by[seen.arrived] == self._number]
        self._right.extend((seen.answer[mine] == seen.stream.truth[mine]).tolist())
        if len(self._right) < self._labels or sum(self._right) / self._labels >= self._least:
            return Said()
        return Said("performance", f"{sum(self._right)} of the newest {self._labels} labelled answers were right")

    def ended(self, seen: Seen, *, promoted: bool) -> None:
        self._right.clear()
