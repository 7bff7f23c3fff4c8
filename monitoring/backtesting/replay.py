"""The replay of one policy: look after look along the stream, each answer given by the model of its moment."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from monitoring.backtesting.champion_rows import moment
from monitoring.backtesting.judging import Judged, Judging, judge
from monitoring.backtesting.replayed_model import ReplayedModel, judge_rows, retrained
from monitoring.backtesting.stream import UNLABELLED, Stream
from monitoring.backtesting.trigger import Said, Seen, Trigger
from monitoring.backtesting.waiting import Labeller, Undecided, asked, come
from monitoring.labelling.awaited import Awaited, are_enough
from monitoring.watching.batch import Floats

_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class ReplayRules:
    """
    What is the same for every policy.

    Attributes:
        look_every: Between two looks.
        training_minutes: From asking for a retrain until its model may answer, and what each one costs.
        judging: Who lets a candidate through.
        subgroups: Metadata columns whose errors the judge images tell.
        most_waiting: After so long an undecided candidate is judged with the labels that have come.
        labeller: Who answers what such a candidate asks for; None = nobody, and only labels of the log can come.
        feedback_is_random: Whether chance drew all labels of the log, not only those that were drawn.
    """

    look_every: np.timedelta64
    training_minutes: float
    judging: Judging = field(default_factory=Judging)
    subgroups: tuple[str, ...] = ()
    most_waiting: np.timedelta64 = 14 * _DAY
    labeller: Labeller | None = None
    feedback_is_random: bool = False


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
        waited_days: For labels, because the gate was undecided; 0 where it was not.
        asked_labels: That people gave or will give for it.
        judged_again: What became of the waiting: what the gate said then, or that too few labels came.
    """

    asked_at: np.datetime64
    ready_at: np.datetime64
    reason: str
    words: str
    promoted: bool
    judged: str
    train_images: int
    waited_days: float = 0.0
    asked_labels: int = 0
    judged_again: str = ""


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
    while one is on its way no other is begun, and none while a candidate about which the gate is undecided waits for
    labels: it is judged once more when they have come, or its time is over. What the log says later is never looked at.
    """
    walk = _Walk(stream, first, trigger, rules)
    now = stream.began
    while now < stream.ended:
        now = min(now + rules.look_every, stream.ended)
        walk.to(now)
    return walk.result()


class _Walk:
    def __init__(self, stream: Stream, first: ReplayedModel, trigger: Trigger, rules: ReplayRules) -> None:
        self._trigger, self._rules = trigger, rules
        self._take(stream)
        self._model, self._made = first, 0
        self._place, self._arrived = stream.base, 0
        self._answer: NDArray[np.int64] = np.full(len(stream), UNLABELLED, dtype=np.int64)
        self._answered_by: NDArray[np.int32] = np.full(len(stream), -1, dtype=np.int32)
        self._training: _Trained | None = None
        self._undecided: Undecided | None = None
        self._retrains: list[Retrain] = []
        self._verdicts: list[tuple[np.datetime64, str]] = []

    def to(self, now: np.datetime64) -> None:
        """One look; where a retrain gets ready before it, that moment is a look of its own."""
        while self._training is not None and self._retrains[-1].ready_at <= now:
            trained, self._training = self._training, None
            seen, _ = self._look(self._retrains[-1].ready_at, training=True)
            if trained.judged.needs:
                self._undecided = self._waiting(seen, trained)
            else:
                self._end(seen, trained.model, promoted=trained.judged.promoted)
        seen, said = self._look(now, training=self._training is not None or self._undecided is not None)
        if self._undecided is not None:
            self._wait(seen, self._undecided)
        elif said.reason and self._training is None:
            self._train(seen, said)

    def result(self) -> Replayed:
        stream = self._stream
        if self._undecided is not None:
            self._note_waiting(stream.ended, self._undecided, "Still waiting when the log ended.", promoted=False)
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
        rows = judge_rows(stream, champion, seen.now, model.number)
        judged = judge(stream, champion, model, rows, said.reason, rules.judging, random=rules.feedback_is_random)
        retrain = Retrain(seen.now, ready, said.reason, said.words, judged.promoted, judged.words, model.train_images)
        self._retrains.append(retrain)
        self._training = _Trained(model, judged)

    def _waiting(self, seen: Seen, trained: "_Trained") -> Undecided:
        rules, asked_at = self._rules, self._retrains[-1].asked_at
        most = np.inf if rules.labeller is None else rules.labeller.per_day * float(rules.most_waiting / _DAY)
        return Undecided(trained.model, trained.judged.needs, asked_at, seen.now, seen.now + rules.most_waiting, most)

    def _wait(self, seen: Seen, waits: Undecided) -> None:
        """One look at what came for the candidate that waits."""
        self._take(asked(self._stream, waits, seen, self._rules.labeller))
        self._undecided = replace(waits, asked_until=seen.now)
        stands = come(self._stream, waits, seen.now, random=self._rules.feedback_is_random)
        late = seen.now > waits.until
        if are_enough(stands, waits.most_labels) or (late and any(one.come for one in stands)):
            judged = self._judge_again(seen, waits)
            self._end_waiting(seen, waits, judged.words, promoted=judged.promoted)
        elif late:
            self._end_waiting(seen, waits, _given_up(waits, stands), promoted=False)

    def _judge_again(self, seen: Seen, waits: Undecided) -> Judged:
        stream, champion, rules = self._stream, self._model, self._rules
        rows = judge_rows(stream, champion, seen.now, waits.model.number)
        reason, random = self._retrains[-1].reason, rules.feedback_is_random
        return judge(stream, champion, waits.model, rows, reason, rules.judging, readings=1, random=random)

    def _end_waiting(self, seen: Seen, waits: Undecided, words: str, *, promoted: bool) -> None:
        self._undecided = None
        self._note_waiting(seen.now, waits, words, promoted=promoted)
        self._end(seen, waits.model, promoted=promoted)

    def _note_waiting(self, now: np.datetime64, waits: Undecided, words: str, *, promoted: bool) -> None:
        self._retrains[-1] = replace(
            self._retrains[-1],
            promoted=promoted,
            waited_days=float((now - self._retrains[-1].ready_at) / _DAY),
            asked_labels=sum(one.version == waits.model.number for one in self._stream.asked.values()),
            judged_again=words,
        )

    def _end(self, seen: Seen, model: ReplayedModel, *, promoted: bool) -> None:
        if promoted:
            self._model = model
        self._trigger.ended(seen, promoted=promoted)

    def _take(self, stream: Stream) -> None:
        # What is asked now is labelled later, so what has arrived by now stays as it was.
        self._stream, self._came = stream, stream.labelled_at[stream.arrivals]


@dataclass(frozen=True)
class _Trained:
    """A model that is not ready yet, and what was said of it."""

    model: ReplayedModel
    judged: Judged


def _given_up(waits: Undecided, stands: tuple[Awaited, ...]) -> str:
    labels = "; ".join(one.in_words() for one in stands)
    return f"Given up: until {moment(waits.until):%Y-%m-%d %H:%M} UTC {labels} came."
