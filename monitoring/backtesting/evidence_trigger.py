"""
Kedge's own way in a replay: the watcher's lanes, its triage and its policies, on what a replayed model answers.

It is the code that watches production, but for the lane of day-long blocks and the estimates without labels, which by
themselves start nothing, and for audits and requests, which are people's.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from models.intervals import wilson
from monitoring import evidence, triage
from monitoring.backtesting.champion_rows import champion_batch, label_and_prediction, labels_so_far, moment
from monitoring.backtesting.replayed_model import ReplayedModel
from monitoring.backtesting.stream import Rows, Truths
from monitoring.backtesting.trigger import Said, Seen
from monitoring.evidence_records import GROSS, HARM, Evidence, EvidenceSettings, EvidenceState
from monitoring.incoming.faults import LEAST_LOOKED_AT, Look, look_at
from monitoring.performance import Interval
from monitoring.policies.decide import decide
from monitoring.policies.moments import newest_moment, next_moment
from monitoring.policies.records import JobsSoFar, Measured, PolicyInput
from monitoring.policies.rules import PolicyRules
from monitoring.triage_records import LabelsSoFar, Situation, TriageRules, Verdict
from monitoring.watching.observations import gross_observations, harm_observations

_QUARTER, _RATE_OVER = np.timedelta64(90, "D"), np.timedelta64(7, "D")
_WEEK, _MONTH = timedelta(days=7), timedelta(days=30)
_LEAST_SHARE = 0.01


@dataclass(frozen=True)
class WatchRules:
    """
    The settings that the watcher would have had.

    Attributes:
        training_minutes: That a retrain takes.
        window: Predictions that a look for faults takes in.
        source, group, subgroups: Metadata columns, as the settings' section `data` names them.
        feedback_is_random: Whether every label may measure, or only those that chance drew.
    """

    evidence: EvidenceSettings
    policy: PolicyRules
    training_minutes: float
    window: int = 200
    source: str = ""
    group: str = ""
    subgroups: tuple[str, ...] = ()
    feedback_is_random: bool = False

    @property
    def triage(self) -> TriageRules:
        policy = self.policy
        return TriageRules(
            least_fresh_labels=policy.least_fresh_labels,
            least_labels_in_changed_region=policy.least_labels_in_changed_region,
            retrain_on_harm=policy.on_harm,
        )


class EvidenceTrigger:
    """The lanes of one champion after the other."""

    def __init__(self, rules: WatchRules) -> None:
        self._rules = rules
        self._model: ReplayedModel | None = None
        self._state: EvidenceState | None = None
        self._said = Evidence((), (), "")
        self._look = Look()
        self._predictions = 0
        self._newest: deque[int] = deque(maxlen=rules.window)
        self._labelled: list[int] = []
        self._measured: list[bool] = []
        self._counted: tuple[object, LabelsSoFar] = (None, LabelsSoFar())
        self._refused_at: np.datetime64 | None = None
        self._asked: list[datetime] = []
        self._ended: list[datetime] = []
        self._moments_until: datetime | None = None

    def look(self, seen: Seen) -> Said:
        if self._model is None or self._model.number != seen.model.number:
            self._begin(seen)
        self._count_labels(seen)
        self._count_predictions(seen)
        labels = self._labels(seen)
        verdict = triage.decide(self._situation(labels), self._rules.triage)
        given = self._question(seen, verdict, labels)
        decision = decide(given, self._rules.policy)
        if not decision.keeps_moment:
            self._moments_until = given.at
        if decision.starts:
            self._asked.append(given.at)
        return Said(decision.reason, decision.words if decision.starts else "", verdict.action)

    def ended(self, seen: Seen, *, promoted: bool) -> None:
        self._ended.append(moment(seen.now))
        if not promoted:
            self._refused_at = seen.now

    def _begin(self, seen: Seen) -> None:
        before = self._state
        self._state = evidence.begin(
            model_version=seen.model.number,
            reason="first look" if before is None else "promotion",
            judged_errors=seen.model.profile.judged_errors,
            settings=self._rules.evidence,
            units_per_quarter=self._rates(seen),
            last_number={} if before is None else before.last_number,
        )
        self._model, self._predictions, self._look, self._refused_at = seen.model, 0, Look(), None
        self._newest.clear()
        self._measured.clear()

    def _rates(self, seen: Seen) -> Mapping[str, float]:
        """Predictions, and labels that may measure, in a quarter, at the rate of the last seven days."""
        since, stream = seen.now - _RATE_OVER, seen.stream
        scale = float(_QUARTER / _RATE_OVER)
        first = max(stream.base, int(np.searchsorted(stream.times, since)))
        came = stream.labelled_at[stream.arrivals[self._may_measure(seen, stream.arrivals)]]
        labels = int(((came > since) & (came <= seen.now)).sum())
        return {GROSS: scale * max(0, seen.end - first), HARM: scale * labels}

    def _may_measure(self, seen: Seen, rows: Rows) -> Truths:
        return np.ones(len(rows), dtype=bool) if self._rules.feedback_is_random else seen.stream.drawn[rows]

    def _count_labels(self, seen: Seen) -> None:
        assert self._state is not None, "the evidence was begun"
        self._labelled += seen.arrived.tolist()
        rows = seen.arrived[self._may_measure(seen, seen.arrived)]
        mine = rows[seen.answered_by[rows] == seen.model.number]
        self._measured += (seen.answer[mine] == seen.stream.truth[mine]).tolist()
        pairs = [label_and_prediction(seen, row) for row in rows.tolist()]
        number, rules = self._state.last_number.get(HARM, 0) + 1, self._rules
        observed = harm_observations(seen.model.profile, pairs, number, rules.subgroups, rules.group)
        self._state, self._said = evidence.update_all(self._state, observed, rules.evidence)

    def _count_predictions(self, seen: Seen) -> None:
        assert self._state is not None, "the evidence was begun"
        rows = np.arange(seen.begin, seen.end)
        rows = rows[seen.answered_by[rows] == seen.model.number]
        if not len(rows):
            return
        rules, profile = self._rules, seen.model.reduction.profile
        self._predictions += len(rows)
        self._newest.extend(rows.tolist())
        number = self._state.last_number.get(GROSS, 0) + 1
        batch = champion_batch(seen, rows)
        observed = gross_observations(profile, batch, seen.stream.times[rows], number, rules.group)
        self._state, self._said = evidence.update_all(self._state, [one for _, one in observed], rules.evidence)
        newest = np.array(self._newest)
        if len(newest) >= LEAST_LOOKED_AT:
            files = [seen.stream.files[row] for row in newest.tolist()]
            self._look = look_at(profile, champion_batch(seen, newest), files, rules.source)

    def _labels(self, seen: Seen) -> LabelsSoFar:
        """Counted anew only when something about them can have changed."""
        alarmed = tuple(one.detector for one in self._said.alarms(GROSS))
        state = (seen.model.number, len(self._labelled), alarmed, self._refused_at)
        if self._counted[0] != state:
            rows = np.array(self._labelled, dtype=np.intp)
            found = labels_so_far(seen, rows, alarmed=alarmed, source=self._rules.source, refused_at=self._refused_at)
            self._counted = state, found
        return self._counted[1]

    def _situation(self, labels: LabelsSoFar) -> Situation:
        rules = self._rules
        overall = [one.units for one in self._said.detectors if (one.lane, one.detector) == (HARM, "overall")]
        return Situation(
            evidence=self._said,
            look=self._look,
            labels=labels,
            predictions=self._predictions,
            window=rules.window,
            source=rules.source,
            feedback_is_random=rules.feedback_is_random,
            harm_labels=overall[0] if overall else 0,
        )

    def _question(self, seen: Seen, verdict: Verdict, labels: LabelsSoFar) -> PolicyInput:
        at, cron = moment(seen.now), self._rules.policy.cron
        self._moments_until = self._moments_until or moment(seen.stream.began)
        return PolicyInput(
            at=at,
            action=verdict.action,
            words=verdict.reasons[0],
            avoidable_error=verdict.avoidable_error,
            avoidable_basis=verdict.avoidable_basis,
            labels=labels,
            shown=tuple(
                name for name, count in labels.by_class.items() if count >= _LEAST_SHARE * max(1, labels.fresh)
            ),
            measured=_measured(self._measured),
            moment=newest_moment(cron, self._moments_until, at) if cron else None,
            next_moment=next_moment(cron, at) if cron else None,
            jobs=self._jobs(at, training=seen.training),
        )

    def _jobs(self, at: datetime, *, training: bool) -> JobsSoFar:
        minutes = self._rules.training_minutes
        return JobsSoFar(
            open="replayed" if training else "",
            last_ended=self._ended[-1] if self._ended else None,
            asked=tuple(one for one in self._asked if at - one < _WEEK),
            trained=tuple((one, minutes) for one in self._ended if at - one < _MONTH),
            usual_minutes=minutes,
            usual_of=len(self._ended),
        )


def _measured(right: list[bool]) -> Measured:
    if not right:
        return Measured(0, Interval(None, None, None))
    return Measured(len(right), Interval(sum(right) / len(right), *wilson(sum(right), len(right))))
