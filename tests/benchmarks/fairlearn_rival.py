"""`python fairlearn_rival.py RESAMPLES`: fairlearn's bootstrap of six rates over 24 groups; needs nothing of ours."""

import json
import sys
import time

import numpy as np
import pandas as pd
from fairlearn import metrics
from sklearn.metrics import accuracy_score, precision_score, recall_score


def main() -> None:
    """Tell the CPU seconds of one frame with this many resamples; importing is not counted."""
    chance = np.random.default_rng(3)
    truth = chance.random(20_000) < 0.25
    answer = truth == (chance.random(20_000) < 0.9)
    group = pd.Series(np.arange(20_000) % 24, name="group")
    began_s = time.process_time()
    metrics.MetricFrame(
        metrics={
            "accuracy": accuracy_score,
            "precision": precision_score,
            "recall": recall_score,
            "false positives": metrics.false_positive_rate,
            "false negatives": metrics.false_negative_rate,
            "selection": metrics.selection_rate,
        },
        y_true=truth.astype(int),
        y_pred=answer.astype(int),
        sensitive_features=group,
        n_boot=int(sys.argv[1]),
        ci_quantiles=[0.025, 0.975],
        random_state=1,
    )
    print(json.dumps({"cpu_s": round(time.process_time() - began_s, 2)}))


if __name__ == "__main__":
    main()
