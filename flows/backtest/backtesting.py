"""A backtest of a project: gather what was logged, replay it under each policy, and set the policies side by side."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from statistics import median
from typing import Any

import numpy as np

from flows.backtest.policies import Policy, policies_of
from flows.backtest.policy_kinds import Usual
from flows.judging import rules_of as gate_rules_of
from flows.workplace import Workplace
from infra.errors import UserError
from infra.jobs import JUDGE, Job, jobs, minutes_taken
from models.gate_records import GateRules
from models.rollout_runs import PATIENT
from monitoring.backtesting.champion_rows import moment
from monitoring.backtesting.judging import GATE, GUARD, Judging
from monitoring.backtesting.logged import Logged, logged_stream, most_labelled_version
from monitoring.backtesting.replay import ReplayRules, replay
from monitoring.backtesting.replayed_model import first_model
from monitoring.backtesting.scores import PolicyScore, compared
from monitoring.backtesting.stream import Stream
from monitoring.labelling.requests import ANSWERED
from monitoring.labelling.rows import requests
from monitoring.reference.profile import ReferenceProfile, load_profile

_MOST_LOOKS, _MOST_JOBS = 1_000, 50
_A_RETRAIN_IS = (
    "A retrain of the replay is the head alone, fitted anew to logged embeddings of old reference images and of every "
    "label that had come by then; a real one also fine-tunes the network, and may do better. It answers everybody as "
    "soon as it is ready: shadow, canary and probation are not replayed."
)


@dataclass(frozen=True)
class Asked:
    """
    What to replay.

    Attributes:
        policies: Names, or a TOML file.
        judge: Who lets candidates through, where a policy does not say: "gate", "guard" or "nobody".
        since: Only answers from then on.
        version: Whose answers; None = of the version with most labels.
        most_rows: At most so many answers, the newest.
    """

    policies: str
    judge: str = GUARD
    since: datetime | None = None
    version: int | None = None
    most_rows: int = 100_000


@dataclass(frozen=True)
class BacktestReport:
    """
    What came of it.

    Attributes:
        labelled, drawn: Answers whose truth is known, and those of them that chance drew to be labelled.
        training_minutes: Of one retrain; `cost_basis` says in words where that comes from.
        words: Policy to what it does.
        judges: Policy to who lets its candidates through.
        notes: Sentences that belong with every figure.
    """

    name: str
    version: int
    since: datetime
    until: datetime
    predictions: int
    labelled: int
    drawn: int
    training_minutes: float
    cost_basis: str
    look_every_s: float
    words: dict[str, str]
    judges: dict[str, str]
    scores: tuple[PolicyScore, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def backtest(place: Workplace, asked: Asked, say: Callable[[str], None] = lambda words: None) -> BacktestReport:
    """
    Replay the log; nothing is written, and nothing that serves or watches is touched.

    Raises:
        UserError: there is no version whose labelled answers could be replayed, or a policy cannot be meant.
    """
    profile = _profile(place, asked)
    logged = _logged(place, profile, asked)
    minutes, basis = training_cost(jobs(place.engine, _MOST_JOBS), place.settings.train.budget_minutes)
    usual = Usual(place.settings, _days(logged.stream), _accuracy(profile), minutes)
    policies = policies_of(asked.policies, usual, asked.judge)
    rules = _rules(place, logged.stream, minutes)
    first, replayed = first_model(logged.stream, profile), []
    for policy in policies:
        say(f"Replaying {policy.name} …")
        judging = replace(rules.judging, judge=policy.judge)
        done = replay(logged.stream, first, policy.made.begin(), replace(rules, judging=judging))
        replayed.append((policy.name, done))
    return BacktestReport(
        name=place.settings.project.name,
        version=profile.version,
        since=moment(logged.stream.began),
        until=moment(logged.stream.ended),
        predictions=len(logged.stream) - logged.stream.base,
        labelled=logged.labelled,
        drawn=logged.drawn,
        training_minutes=minutes,
        cost_basis=basis,
        look_every_s=float(rules.look_every / np.timedelta64(1, "s")),
        words={policy.name: policy.made.words for policy in policies},
        judges={policy.name: policy.judge for policy in policies},
        scores=compared(logged.stream, replayed, minutes),
        notes=tuple(_notes(place, logged, policies)),
    )


def training_cost(done: tuple[Job, ...], budget_minutes: float) -> tuple[float, str]:
    """Minutes of one retrain, and where that comes from: jobs that ended, else what the settings allow."""
    taken = [
        minutes
        for job in done
        if job.state in ("done", "refused", "undecided") and job.kind != JUDGE and job.finished_at is not None
        if (minutes := minutes_taken(job.started_at, job.finished_at, job.evidence)) is not None
    ]
    if not taken:
        return budget_minutes, "train.budget_minutes, for no job has ended yet"
    return median(taken), f"the median of {len(taken)} jobs" if len(taken) > 1 else "the one job that has ended"


def _profile(place: Workplace, asked: Asked) -> ReferenceProfile:
    version = asked.version if asked.version is not None else most_labelled_version(place.log)
    if version is None:
        raise UserError(
            "No answer in the log has a label, so nobody can say what a policy would have won. "
            "`kedge labels next` says which to label first."
        )
    place.registry.version(version)
    profile = load_profile(place.engine, place.objects, place.settings.project.name, version)
    if profile is None:
        raise UserError(
            f"Version {version} has no reference profile, so nothing of it can be replayed; `kedge train` and "
            "`kedge retrain` write one with their model. Name another version with --model-version."
        )
    return profile


def _logged(place: Workplace, profile: ReferenceProfile, asked: Asked) -> Logged:
    answered = requests(place.engine, place.settings.project.name, (ANSWERED,))
    return logged_stream(
        place.log,
        profile,
        audited=frozenset(one.prediction_id for one in answered if one.in_audit),
        group=place.settings.data.group,
        since=asked.since,
        most_rows=asked.most_rows,
    )


def _rules(place: Workplace, stream: Stream, minutes: float) -> ReplayRules:
    data, gate = place.settings.data, place.settings.gate
    span = stream.ended - stream.began
    every = max(np.timedelta64(round(1e6 * place.settings.monitor.every_s), "us"), span // _MOST_LOOKS)
    rules = GateRules(
        min_precision=gate.min_precision,
        min_recall=gate.min_recall,
        overall_margin=gate.overall_margin,
        class_margin=gate.class_margin,
        required_groups=gate.required_groups,
        planned_readings=gate_rules_of(place).planned_readings,
    )
    return ReplayRules(
        every,
        minutes,
        Judging(rules=rules, subgroups=data.subgroups),
        data.subgroups,
        most_waiting=np.timedelta64(round(60e6 * PATIENT * place.settings.rollout.most_stage_minutes), "us"),
        feedback_is_random=place.settings.monitor.feedback_is_random,
    )


def _notes(place: Workplace, logged: Logged, policies: tuple[Policy, ...]) -> list[str]:
    notes = [_A_RETRAIN_IS, *logged.notes]
    if not place.settings.monitor.feedback_is_random:
        if not logged.drawn:
            notes.append(
                "No label was drawn by chance and monitor.feedback_is_random is off, so labelled harm could not be "
                "seen by Kedge's own policy: volunteered labels train, and never measure."
            )
        notes.append(
            "Accuracy is over all labelled answers, whoever chose them; where people label mostly errors, it is lower "
            "than that of the traffic. Compare policies by it, and nothing else."
        )
    if any(policy.judge == GATE for policy in policies):
        notes.append("The gate judged on fewer images than a real one: old reference images stand in for its old set.")
    if any(policy.judge == GATE for policy in policies) and gate_rules_of(place).planned_readings > 1:
        notes.append(
            "A candidate about which it was undecided waits for labels, and no other retrain begins meanwhile. Only "
            "labels that are in the log can come, for what people would have answered if they had been asked is not "
            "known: more candidates wait in vain here than in production."
        )
    return notes


def _days(stream: Stream) -> float:
    return max(1e-6, float((stream.ended - stream.began) / np.timedelta64(1, "D")))


def _accuracy(profile: ReferenceProfile) -> float:
    errors, images = profile.judged_errors.get("overall", (0, 0))
    if images:
        return 1 - errors / images
    right = [answer == truth for answer, truth in zip(profile.plain.labels, profile.truth, strict=False)]
    return float(np.mean(right))
