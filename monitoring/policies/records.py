"""What a decision about a retrain is made from, and what it says."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from monitoring.performance import Interval
from monitoring.triage_records import ESTIMATED, LABELLED, LabelsSoFar


@dataclass(frozen=True)
class Measured:
    """
    Accuracy of the champion's newest answers, from labels that may measure.

    Attributes:
        labels: Independent ones: copies of one picture and labels of one session count together.
        accuracy: With its 95 % Wilson interval, 0..1.
    """

    labels: int
    accuracy: Interval


@dataclass(frozen=True)
class EstimatedAccuracy:
    """Of one window, without labels: whether it may be leant on, and its accuracy with a 95 % interval, 0..1."""

    valid: bool
    accuracy: Interval


@dataclass(frozen=True)
class Behind:
    """
    A judged subgroup that differs from the rest to its disadvantage.

    Attributes:
        points: By how much at least, 0..1: the near end of the 95 % interval.
    """

    group: str
    metric: str
    points: float
    words: str


@dataclass(frozen=True)
class Audited:
    """
    The newest audit of the champion whose labels may measure, or the newest of all.

    Attributes:
        warning: Why its labels may not measure; "" where they may.
    """

    at: datetime
    behind: tuple[Behind, ...] = ()
    warning: str = ""


@dataclass(frozen=True)
class WaitingCandidate:
    """
    A candidate about which the gate is undecided until labels have come.

    Attributes:
        reason: Why it was made.
        words: How far the labels have come, and when it is given up; a sentence without its end.
    """

    version: int
    reason: str
    words: str


@dataclass(frozen=True)
class JobsSoFar:
    """
    Training jobs, as far as they hold back the next.

    Attributes:
        open: Id of the job that is queued or running; "" where none is.
        judging: Whether that job trains nothing, and only judges a candidate once more.
        rolling_out: The version on its way to be champion and where it is, as "version 3 is in shadow"; "" for none.
        waiting: The candidate that waits for labels; None where none does.
        last_ended: Of the newest retrain.
        failures: How many of the newest retrains failed in a row.
        asked: When each retrain of the last seven days was asked for, oldest first.
        trained: When each job of the last thirty days ended, and how many minutes it took; oldest first.
        usual_minutes: Median of the newest finished jobs; None where none has run.
        usual_of: Of how many.
    """

    open: str = ""
    judging: bool = False
    rolling_out: str = ""
    waiting: WaitingCandidate | None = None
    last_ended: datetime | None = None
    failures: int = 0
    asked: tuple[datetime, ...] = ()
    trained: tuple[tuple[datetime, float], ...] = ()
    usual_minutes: float | None = None
    usual_of: int = 0


@dataclass(frozen=True)
class PolicyInput:
    """
    Everything a decision is made from; whatever is None was not known at that moment.

    Attributes:
        action: Of the verdict: "nothing", "label_first", "fix_input" or "retrain".
        words: Its first reason.
        avoidable_error: Error above what the champion is allowed, 0..1; None where no harm is shown.
        avoidable_basis: What says so: "labels" or "estimate"; "" where nothing does.
        labels: Fresh ones; None where they could not be counted.
        shown: Classes that production shows, by answers or by labels.
        estimates: Of the newest windows, newest first.
        moment: When the cron line came round, not yet considered; None where it did not.
        next_moment: When it comes round next; None without a line.
        requests: Reasons of those outside who wait for an answer, oldest first.
        predictions_per_day: At the rate of the last days.
    """

    at: datetime
    action: str
    words: str = ""
    avoidable_error: float | None = None
    avoidable_basis: str = ""
    labels: LabelsSoFar | None = None
    shown: tuple[str, ...] = ()
    measured: Measured | None = None
    estimates: tuple[EstimatedAccuracy, ...] = ()
    audit: Audited | None = None
    moment: datetime | None = None
    next_moment: datetime | None = None
    requests: tuple[str, ...] = ()
    jobs: JobsSoFar = field(default_factory=JobsSoFar)
    predictions_per_day: float | None = None


@dataclass(frozen=True)
class PolicyAnswer:
    """Whether one policy asks for a retrain, why or why not, and what would change that ("" where nothing would)."""

    name: str
    fires: bool
    words: str
    would_change: str = ""


@dataclass(frozen=True)
class ConstraintAnswer:
    """
    Whether one constraint holds a retrain back, and why.

    Attributes:
        until: When time alone ends it; None where something else has to happen.
    """

    name: str
    holds_back: bool
    words: str = ""
    until: datetime | None = None


@dataclass(frozen=True)
class Expected:
    """
    What a retrain could win, and what it will cost.

    Attributes:
        share: Of all answers, wrong ones that a champion within its bound would not give, 0..1; None where no harm is
            shown.
        errors_per_day: The same in answers a day; None where no harm is shown, or nobody knows how many come.
        basis: "labels", "estimate" or "".
        minutes: Of training.
        cost_basis: Where those minutes come from, in words.
    """

    share: float | None
    errors_per_day: float | None
    basis: str
    minutes: float
    cost_basis: str

    @property
    def words(self) -> str:
        """One sentence."""
        cost = f"about {self.minutes:.3g} minutes of training ({self.cost_basis})"
        if self.share is None:
            return f"No avoidable error is shown; a retrain would cost {cost}."
        known = {LABELLED: "by labels", ESTIMATED: "by an estimate; concept drift is not excluded"}.get(self.basis, "")
        if self.errors_per_day is None:
            return f"A retrain may avoid errors in {self.share:.1%} of the answers ({known}), for {cost}."
        # In whole errors, and below ten with a digit: an estimate has no more.
        errors = f"{self.errors_per_day:,.0f}" if self.errors_per_day >= 10 else f"{self.errors_per_day:.2g}"  # noqa: PLR2004
        return f"A retrain may avoid about {errors} errors a day ({known}), for {cost}."


@dataclass(frozen=True)
class TriggerDecision:
    """
    Whether a retrain starts, with every answer behind it.

    Attributes:
        when: The expression, as it was written.
        policies: Those that it names.
        asks: Whether the expression holds.
        constraints: All of them.
        starts: Whether a job is to be queued now.
        reason: The strongest policy that asks, for the job's row; "" where none starts.
        words: One sentence.
        keeps_moment: Whether the moment of the schedule is to be considered again, because time alone is in its way.
    """

    when: str
    policies: tuple[PolicyAnswer, ...]
    asks: bool
    constraints: tuple[ConstraintAnswer, ...]
    starts: bool
    reason: str
    expected: Expected
    words: str
    keeps_moment: bool = False

    @property
    def fired(self) -> tuple[str, ...]:
        """Policies that ask, the strongest first."""
        return tuple(one.name for one in self.policies if one.fires)

    @property
    def held_back(self) -> tuple[ConstraintAnswer, ...]:
        """Constraints that hold back."""
        return tuple(one for one in self.constraints if one.holds_back)

    @property
    def told(self) -> tuple[str, ...]:
        """For a person: the decision where something asks, and what a retrain would win where harm is shown."""
        news = [self.words] if self.fired else []
        return (*news, self.expected.words) if self.expected.share is not None else tuple(news)

    @property
    def would_change(self) -> tuple[str, ...]:
        """What would make each policy ask that does not, each a sentence."""
        return tuple(f"Retrain by {one.name}: {one.would_change}" for one in self.policies if one.would_change)

    @property
    def key(self) -> str:
        """By this two decisions are told apart: while it stays the same, nothing new is worth a row."""
        held = ",".join(one.name for one in self.held_back) if self.asks else ""
        return f"{','.join(self.fired)}|{held}|{'starts' if self.starts else ''}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; times as ISO 8601, and of the constraints those that hold back."""
        return {
            "when": self.when,
            "policies": [dataclasses.asdict(one) for one in self.policies],
            "asks": self.asks,
            "held_back": [
                {"name": one.name, "words": one.words, "until": None if one.until is None else one.until.isoformat()}
                for one in self.held_back
            ],
            "starts": self.starts,
            "reason": self.reason,
            "expected": {**dataclasses.asdict(self.expected), "words": self.expected.words},
            "words": self.words,
        }

    def facts(self) -> Mapping[str, Any]:
        """The same in short, for the ledger."""
        return {
            "asks": self.asks,
            "fired": list(self.fired),
            "held_back": [one.words for one in self.held_back] if self.asks else [],
            "starts": self.starts,
            "reason": self.reason,
            "expected": dataclasses.asdict(self.expected),
            "words": self.words,
        }
