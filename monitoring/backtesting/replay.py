"""The replay of one policy: look after look along the stream, each answer given by the model of its moment."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monitoring.backtesting.judging import Judging, judge
from monitoring.backtesting.replayed_model import ReplayedModel, judge_rows, retrained
from monitoring.backtesting.stream import UNLABELLED, Stream
from monitoring.backtesting.trigger import Said, Seen, Trigger
from monitoring.watching.batch import Floats


@dataclass(frozen=True)
class ReplayRules:
    """
    What is the same for every policy.

    Attributes:
        look_every: Between two looks.
        training_minutes: From asking for a retrain until its model may answer, and what each one costs.
        judging: Who lets a candidate through.
        subgroups: Metadata columns whose errors the judge images tell.
    """

    look_every: np.timedelta64
    training_minutes: float
    judging: Judging = field(default_factory=Judging)
    subgroups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Retrain:
    """
    One retrain of a replay.

    Attributes:
        ready_at: When its model could answer.
        reason: Which policy asked.
        words: Why, in a sentence.
        judged: What was said of its model.
        train_images: Old and fresh ones.
    """

    asked_at: np.datetime64
    ready_at: np.datetime64
    reason: str
    words: str
    promoted: bool
    judged: str
    train_images: int


@dataclass(frozen=True)
class Replayed:
    """
    What a policy came to.

    Attributes:
        right: Of each row of the log, 1 or 0; NaN where nobody said what it should have been.
        retrains: In their order.
        verdicts: When the verdict changed, and to what; empty of a policy that reaches none.
    """

    right: Floats
    retrains: tuple[Retrain, ...]
    verdicts: tuple[tuple[np.datetime64, str], ...]


def replay(stream: Stream, first: ReplayedModel, trigger: Trigger, rules: ReplayRules) -> Replayed:
    """
    Walk along the log once.

    A retrain learns from labels that had come when it was asked for, and answers from when it would have been ready;
    while one is on its way no other is begun. What the log says later is never looked at.
    """
    walk = _Walk(stream, first, trigger, rules)
    now = stream.began
    while now < stream.ended:
        now = min(now + rules.look_every, stream.ended)
        walk.to(now)
    return walk.result()


class _Walk:
    def __init__(self, stream: Stream, first: ReplayedModel, trigger: Trigger, rules: ReplayRules) -> None:
        self._stream, self._trigger, self._rules = stream, trigger, rules
        self._model, self._made = first, 0
        self._place, self._arrived = stream.base, 0
        self._answer: NDArray[np.int64] = np.full(len(stream), UNLABELLED, dtype=np.int64)
        self._answered_by: NDArray[np.int32] = np.full(len(stream), -1, dtype=np.int32)
        self._came = stream.labelled_at[stream.arrivals]
        self._waiting: tuple[Retrain, ReplayedModel] | None = None
        self._retrains: list[Retrain] = []
        self._verdicts: list[tuple[np.datetime64, str]] = []

    def to(self, now: np.datetime64) -> None:
        """One look; where a retrain gets ready before it, that moment is a look of its own."""
        while self._waiting is not None and self._waiting[0].ready_at <= now:
            retrain, model = self._waiting
            self._waiting = None
            seen, _ = self._look(retrain.ready_at, training=True)
            if retrain.promoted:
                self._model = model
            self._trigger.ended(seen, promoted=retrain.promoted)
        seen, said = self._look(now, training=self._waiting is not None)
        if said.reason and self._waiting is None:
            self._train(seen, said)

    def result(self) -> Replayed:
        stream = self._stream
        truth, answer = stream.truth[stream.base :], self._answer[stream.base :]
        right = np.where(truth == UNLABELLED, np.nan, (truth == answer).astype(np.float64))
        return Replayed(right, tuple(self._retrains), tuple(self._verdicts))

    def _look(self, now: np.datetime64, *, training: bool) -> tuple[Seen, Said]:
        stream = self._stream
        begin, end = self._place, int(np.searchsorted(stream.times, now, side="right"))
        came = int(np.searchsorted(self._came, now, side="right"))
        rows = slice(begin, end)
        found = self._model.probabilities(stream, rows)
        # A row of missing numbers has no largest one; its answer is the first class, and rarely right.
        self._answer[rows] = np.nan_to_num(found, nan=-1.0).argmax(axis=1) if end > begin else []
        self._answered_by[rows] = self._model.number
        arrived = stream.arrivals[self._arrived : came]
        self._place, self._arrived = end, came
        seen = Seen(stream, now, begin, end, found, arrived, self._model, self._answered_by, self._answer, training)
        said = self._trigger.look(seen)
        if said.action and (not self._verdicts or self._verdicts[-1][1] != said.action):
            self._verdicts.append((now, said.action))
        return seen, said

    def _train(self, seen: Seen, said: Said) -> None:
        stream, rules, champion = self._stream, self._rules, self._model
        ready = seen.now + np.timedelta64(round(60e6 * rules.training_minutes), "us")
        model = retrained(stream, champion, self._made + 1, seen.now, rules.subgroups)
        if model is None:
            return
        self._made += 1
        judged = judge(stream, champion, model, judge_rows(stream, champion, seen.now), said.reason, rules.judging)
        retrain = Retrain(seen.now, ready, said.reason, said.words, judged.promoted, judged.words, model.train_images)
        self._retrains.append(retrain)
        self._waiting = retrain, model
