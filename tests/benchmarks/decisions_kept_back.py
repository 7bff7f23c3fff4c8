"""
What keeps successors back in the simulated quarters with harm: each cause taken away by itself.

`python -m tests.benchmarks.decisions_kept_back [SEEDS]`. No policy could be run like this: it is told when the change
began, or lets a loss of ten points on old images pass. It tells what knowing or having more would bring at most.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from models.gate_records import GateRules
from monitoring.backtesting import replay as replaying
from monitoring.backtesting.judging import GATE, TWO_READINGS, Judging
from monitoring.backtesting.replay import Replayed, ReplayRules, replay
from monitoring.backtesting.replayed_model import JudgeRows, ReplayedModel, first_model, judge_rows
from monitoring.backtesting.stream import Stream
from tests.benchmarks.decisions_labeller import TenADay
from tests.benchmarks.decisions_policies import CONTENDERS, OURS, TRAINING_MINUTES
from tests.benchmarks.decisions_worlds import CHANGES, Quarter, quarter

_SEEDS = 4
_USUAL, _LENIENT = TWO_READINGS, replace(TWO_READINGS, overall_margin=0.10)
# Whether recent images from before the change are left out, and the gate's rules.
_WAYS: Mapping[str, tuple[bool, GateRules]] = {
    "as it is": (False, _USUAL),
    "recent images from after the change only": (True, _USUAL),
    "ten points of loss on old images allowed": (False, _LENIENT),
    "both": (True, _LENIENT),
}


def main(seeds: int) -> None:
    """Print, for each way, in how many quarters a successor was promoted, and the mean accuracy."""
    lived = [(change.begin, quarter(change, seed)) for change in CHANGES if change.harms for seed in range(seeds)]
    for name, (dated, rules) in _WAYS.items():
        done = [_live(one, begin if dated else None, rules) for begin, one in lived]
        promoted = np.mean([any(retrain.promoted for retrain in one.retrains) for one in done])
        accuracy = 100 * np.mean([np.nanmean(one.right) for one in done])
        print(f"{name}: {promoted:.0%} of {len(done)} quarters, accuracy {accuracy:.1f} %", flush=True)


def _live(lived: Quarter, begin: float | None, rules: GateRules) -> Replayed:
    def dated(stream: Stream, champion: ReplayedModel, moment: np.datetime64, candidate: int) -> JudgeRows:
        rows = judge_rows(stream, champion, moment, candidate)
        if begin is None:
            return rows
        since = stream.began + np.timedelta64(round(begin * 86_400e6), "us")
        return JudgeRows(rows.old, rows.recent[stream.times[rows.recent] >= since])

    settings = ReplayRules(np.timedelta64(24, "h"), TRAINING_MINUTES, Judging(GATE, rules), labeller=TenADay())
    with patch.object(replaying, "judge_rows", dated):
        return replay(lived.stream, first_model(lived.stream, lived.profile), CONTENDERS[OURS].begin(), settings)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else _SEEDS)
