"""What policies came to, side by side: accuracy of the models of each moment, and what they cost."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np

from models.intervals import wilson
from monitoring.backtesting.champion_rows import moment
from monitoring.backtesting.replay import Replayed
from monitoring.backtesting.stream import Stream

_MOST_PERIODS, _LEAST_A_PERIOD = 30, 30


@dataclass(frozen=True)
class Period:
    """A stretch of the log: labelled answers given in it, and the share that was right, 0..1; None without any."""

    began_at: datetime
    ended_at: datetime
    labelled: int
    accuracy: float | None


@dataclass(frozen=True)
class PolicyScore:
    """
    One policy.

    Attributes:
        labelled: Answers whose truth is known, whenever the label came.
        accuracy: Share of those that was right, 0..1, with its 95 % interval (Wilson); None without labels.
        retrains: That were begun; `promoted` of them answered.
        training_minutes: Of all of them.
        on_frontier: No other policy was as accurate for less training, or more accurate for as much.
        when: Each retrain's moment, reason, and what came of it.
        verdicts: When triage's verdict changed, and to what.
    """

    policy: str
    labelled: int
    accuracy: float | None
    interval: tuple[float, float] | None
    retrains: int
    promoted: int
    training_minutes: float
    on_frontier: bool
    periods: tuple[Period, ...]
    when: tuple["RetrainTold", ...]
    verdicts: tuple[tuple[datetime, str], ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class RetrainTold:
    """A retrain as it is told."""

    asked_at: datetime
    ready_at: datetime
    reason: str
    words: str
    promoted: bool
    judged: str
    train_images: int
    waited_days: float
    asked_labels: int
    judged_again: str


def compared(
    stream: Stream, replayed: Sequence[tuple[str, Replayed]], training_minutes: float
) -> tuple[PolicyScore, ...]:
    """The policies in their order; training_minutes: of one retrain."""
    edges = _edges(stream)
    points = [(training_minutes * len(one.retrains), _accuracy(one.right)) for _, one in replayed]
    return tuple(
        _score(stream, name, one, edges, training_minutes, on_frontier=not _is_dominated(point, points))
        for (name, one), point in zip(replayed, points, strict=True)
    )


def _score(
    stream: Stream, name: str, one: Replayed, edges: np.ndarray[Any, Any], minutes: float, *, on_frontier: bool
) -> PolicyScore:
    known = np.isfinite(one.right)
    labelled, right = int(known.sum()), int(np.nansum(one.right))
    return PolicyScore(
        policy=name,
        labelled=labelled,
        accuracy=right / labelled if labelled else None,
        interval=wilson(right, labelled) if labelled else None,
        retrains=len(one.retrains),
        promoted=sum(retrain.promoted for retrain in one.retrains),
        training_minutes=minutes * len(one.retrains),
        on_frontier=on_frontier,
        periods=tuple(_periods(stream, one, edges)),
        when=tuple(
            RetrainTold(
                moment(retrain.asked_at),
                moment(retrain.ready_at),
                retrain.reason,
                retrain.words,
                retrain.promoted,
                retrain.judged,
                retrain.train_images,
                retrain.waited_days,
                retrain.asked_labels,
                retrain.judged_again,
            )
            for retrain in one.retrains
        ),
        verdicts=tuple((moment(at), action) for at, action in one.verdicts),
    )


def _accuracy(right: np.ndarray[Any, Any]) -> float:
    known = right[np.isfinite(right)]
    return float(known.mean()) if len(known) else 0.0


def _is_dominated(point: tuple[float, float], points: Sequence[tuple[float, float]]) -> bool:
    return any(cost <= point[0] and accuracy >= point[1] and (cost, accuracy) != point for cost, accuracy in points)


def _edges(stream: Stream) -> np.ndarray[Any, Any]:
    """Of stretches of equal length, so many that each has some labels."""
    labelled = len(stream.arrivals)
    periods = max(1, min(_MOST_PERIODS, labelled // _LEAST_A_PERIOD))
    began, ended = stream.began.astype(np.int64), stream.ended.astype(np.int64)
    return np.linspace(began, ended + 1, periods + 1).astype("datetime64[us]")


def _periods(stream: Stream, one: Replayed, edges: np.ndarray[Any, Any]) -> list[Period]:
    times = stream.times[stream.base :]
    found = []
    for began, ended in pairwise(edges):
        inside = one.right[(times >= began) & (times < ended)]
        known = inside[np.isfinite(inside)]
        accuracy = float(known.mean()) if len(known) else None
        found.append(Period(moment(began), moment(ended), len(known), accuracy))
    return found
