"""
The rollout in simulation: how often its guards stop a sound version, how soon a bad one; and the way back, timed.

The guards are `monitoring.trial_guards` themselves, over answers drawn with a known fault. The way back is
`kedge drill`'s, with real serving processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.drill.rehearsal import Drill, drill
from flows.workplace import open_workplace
from monitoring.guards import ALPHA, Guard, guard
from monitoring.trial_guards import (
    guard_of_answers,
    guard_of_confidence,
    guard_of_errors,
    guard_of_failures,
    paired_differences,
)
from tests.benchmarks.monitoring_rows import Row, Section
from tests.service.cards import new_place

RUNS = 400
_CLASSES, _SURE, _SPREAD, _ERROR, _AGREEMENT = 10, 0.92, 0.08, 0.08, 0.5
_MOST_FALSE = 4 * ALPHA  # four guards, each at its level


@dataclass(frozen=True)
class Canary:
    """
    A canary beside its champion.

    Attributes:
        share: Of the predictions; `answers` of them are its own.
        labelled: Share of the predictions that get a label.
        worse: Points of error more than the champion's 8 %.
        less_sure: Points of confidence less.
        one_class: It answers the same class to everything.
        failing: Share of its images at which it fails, so that the champion answers.
    """

    answers: int = 200
    share: float = 0.1
    labelled: float = 0.2
    worse: float = 0.0
    less_sure: float = 0.0
    one_class: bool = False
    failing: float = 0.0


def guards_of(canary: Canary, chance: np.random.Generator) -> tuple[Guard, ...]:
    """The guards at the end of one canary."""
    count = round(canary.answers / canary.share)
    tried = (chance.random(count) < canary.share) & (chance.random(count) >= canary.failing)
    wrong = chance.random(count) < np.where(tried, _ERROR + canary.worse, _ERROR)
    sure = np.clip(chance.normal(np.where(tried, _SURE - canary.less_sure, _SURE), _SPREAD), 0.1, 1.0)
    said = np.where(tried & canary.one_class, 0, chance.integers(0, _CLASSES, count))
    known = chance.random(count) < canary.labelled
    own = tried.tolist()
    return (
        guard_of_errors(paired_differences(tried[known].tolist(), wrong[known].astype(float).tolist()), "as canary"),
        guard_of_confidence(paired_differences(own, (1 - sure).tolist())),
        guard_of_answers(own, [str(one) for one in said], 1 - _AGREEMENT),
        guard_of_failures(own, canary.share),
    )


def stopped(canary: Canary, seed: int, runs: int = RUNS) -> float:
    """Share of runs in which any guard trips."""
    chance = np.random.default_rng(seed)
    return sum(any(one.tripped for one in guards_of(canary, chance)) for _ in range(runs)) / runs


def sent_back(error: float, labels: int, bound: float, seed: int, runs: int = RUNS) -> float:
    """Share of runs in which so many labels of a new champion with this error send it back."""
    chance = np.random.default_rng(seed)
    return sum(guard("errors", chance.random(labels) < error, bound, "").tripped for _ in range(runs)) / runs


def section(runs: int = RUNS) -> Section:
    """Everything that needs no process."""
    sound = {
        "sound, 1 in 5 labelled": Canary(),
        "sound, all labelled": Canary(labelled=1.0),
        "sound, share 0.5, all labelled": Canary(share=0.5, labelled=1.0),
        "5 points worse, which is tolerated, all labelled": Canary(worse=0.05, labelled=1.0),
    }
    bad = {
        "10 points worse, all labelled": Canary(worse=0.1, labelled=1.0),
        "20 points worse, 1 in 5 labelled": Canary(worse=0.2),
        "20 points worse, all labelled": Canary(worse=0.2, labelled=1.0),
        "50 points worse, 1 in 5 labelled": Canary(worse=0.5),
        "20 points less sure, no label": Canary(less_sure=0.2, labelled=0.0),
        "30 points less sure, no label": Canary(less_sure=0.3, labelled=0.0),
        "one class for everything, no label": Canary(one_class=True, labelled=0.0),
        "fails at half of its images, no label": Canary(failing=0.5, labelled=0.0),
    }
    words = (
        "A canary of 200 answers beside a champion with 8 % errors and a mean confidence of 0.92; share 0.1 where "
        f"nothing else is said; {runs} runs each. Probation: labels of a new champion judged at 8 % on 1,000 images, "
        "so that up to 11.6 % are fine."
    )
    rows = [*_sound_rows(sound, runs), *_bad_rows(bad, runs), *_probation_rows(runs)]
    return Section("Rollout: guards", (words,), tuple(rows))


def way_back(folder: Path) -> Section:
    """`kedge drill` in a small project, with two serving processes."""
    made = new_place(folder)
    made.champion()
    done: Drill = drill(open_workplace(made.settings.root), lambda words: None)
    rows = []
    for act in done.acts:
        rows.append(Row(f"{act.name}: from the guard's look to the last worker", "s", round(act.back_s, 2)))
        rows.append(Row(f"{act.name}: bad answers until then", "answers", float(act.bad_answers)))
    words = (f"`kedge drill`, {done.workers} workers, spool sealed every 0.3 s, looked at after every ten answers.",)
    return Section("Rollout: the way back", words, tuple(rows))


def _sound_rows(canaries: Mapping[str, Canary], runs: int) -> list[Row]:
    goal = f"at most {_MOST_FALSE:.2f}"
    found = {name: stopped(one, 1, runs) for name, one in canaries.items()}
    return [Row(f"canary, {name}: stopped", "share of runs", share, goal=goal, met=share <= _MOST_FALSE)
            for name, share in found.items()]  # fmt: skip


def _bad_rows(canaries: Mapping[str, Canary], runs: int) -> list[Row]:
    return [Row(f"canary, {name}: stopped", "share of runs", stopped(one, 2, runs)) for name, one in canaries.items()]


def _probation_rows(runs: int) -> list[Row]:
    bound, rows = 0.116, []
    for error, labels in ((0.08, 300), (0.116, 300), (0.2, 100), (0.3, 50), (0.5, 30)):
        share = sent_back(error, labels, bound, 3, runs)
        sound = error <= bound
        goal, met = (f"at most {ALPHA:.2f}", share <= ALPHA) if sound else ("", None)
        what = f"probation, {error:.0%} errors, {labels} labels: sent back"
        rows.append(Row(what, "share of runs", share, goal=goal, met=met))
    return rows


if __name__ == "__main__":
    for row in section().rows:
        print(f"{row.what:75s} {row.ours:.3f}  {row.goal}")
