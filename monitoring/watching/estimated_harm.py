"""Whether window after window is probably worse than it may be, by the estimates that need no label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from monitoring.identification import ShiftReport


@dataclass(frozen=True)
class EstimatedHarm:
    """
    What the newest windows of a champion say together.

    Attributes:
        windows: So many of the newest in a row have a valid estimate that lies below the reference by more than the
            tolerance, and its interval wholly below.
        loss: By how much, in the newest of them, 0..1; None where there is none.
    """

    windows: int = 0
    loss: float | None = None


def estimated_harm(summaries: Sequence[Mapping[str, Any]], tolerance: float) -> EstimatedHarm:
    """Of summaries as their rows keep them, the newest first; one without a valid estimate ends the row."""
    losses: list[float] = []
    for summary in summaries:
        loss = _valid_loss(summary.get("estimate"))
        if loss is None or loss <= tolerance:
            break
        losses.append(loss)
    return EstimatedHarm(len(losses), losses[0] if losses else None)


def newest_shift(summaries: Sequence[Mapping[str, Any]]) -> ShiftReport | None:
    """Of the newest summary; None where it was not asked or could not be told."""
    found = summaries[0].get("shift") if summaries else None
    return ShiftReport.from_json(found) if isinstance(found, Mapping) else None


def _valid_loss(estimate: Any) -> float | None:
    if not isinstance(estimate, Mapping) or estimate.get("valid") is not True:
        return None
    loss = estimate.get("loss")
    value, low = (loss.get(end) for end in ("value", "low")) if isinstance(loss, Mapping) else (None, None)
    if not (isinstance(value, int | float) and isinstance(low, int | float) and isfinite(value)):
        return None
    # A small window, or few held-out images, lies a few points lower by chance as often as not.
    return float(value) if low > 0 else None
