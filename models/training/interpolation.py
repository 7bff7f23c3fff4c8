"""Between the weights it started from and those it found: what forgets least for what it learns."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.training.account import say
from models.training.averaging import interpolated
from models.training.epochs import score_now
from models.training.job import Job
from models.training.precision import autocast, to_float
from models.training.selection import SelectScore, select_score
from models.training.standing import Best, Standing

_SHARES = tuple(step / 10 for step in range(11))


@dataclass(frozen=True)
class Trial:
    """What weights so far from the start score on old and on new *select* images; None where there are none."""

    share: float
    old: SelectScore | None
    new: SelectScore | None

    def mean(self, metric: str) -> float:
        """Old and new count the same, however many images each has."""
        values = [score.value(metric) for score in (self.old, self.new) if score is not None]
        return sum(values) / len(values)


def best_share(trials: tuple[Trial, ...], metric: str) -> float:
    """Of the trials that are best on old and new images together, the farthest from the start."""
    return max(trials, key=lambda trial: (round(trial.mean(metric), 9), trial.share)).share


def between_start_and_result(job: Job, standing: Standing, start: dict[str, Tensor]) -> tuple[Standing, float]:
    """
    The standing with interpolated weights (WiSE-FT, Wortsman et al. 2022), and how far they are from the start.

    Unchanged, with 1.0, where the plan does not ask for it or the start was another task's.
    """
    if not job.plan.interpolate:
        return standing, 1.0
    if job.plan.start != "champion":
        say(job, "train.interpolate was left out: the weights it started from do not know these classes.")
        return standing, 1.0
    result = standing.best.weights

    def best() -> float:
        trials = tuple(_tried(job, interpolated(start, result, share), share) for share in _SHARES)
        return best_share(trials, job.plan.metric)

    share = job.bench.ranks.told(best)
    weights = interpolated(start, result, share)
    job.bench.model.load_state_dict(weights)
    say(job, f"Interpolated: {share:.1f} of the way from the champion is best on old and new images.")
    return replace(standing, best=Best(score_now(job.bench, job.network), weights)), share


def _tried(job: Job, weights: dict[str, Tensor], share: float) -> Trial:
    job.bench.model.load_state_dict(weights)
    with autocast(job.plan, job.bench.device):
        logits = to_float(job.network.select_logits())
    labels = job.bench.select_labels
    new = torch.tensor([row.source == "production" for row in job.examples if row.role == "select"])
    new = new.to(labels.device)
    old_score, new_score = (select_score(logits[part], labels[part]) if part.any() else None for part in (~new, new))
    return Trial(share, old_score, new_score)
