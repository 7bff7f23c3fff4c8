"""The estimate of a window's accuracy without labels: a number, how sure it is, and whether it may be leant on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from monitoring.estimates.methods import Methods, methods
from monitoring.estimates.resampling import redrawn
from monitoring.estimates.scores import Flags, ReferenceScores, Scores, reference_scores, scores_of
from monitoring.estimates.temperature import temperature_doubt
from monitoring.performance import Interval
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch, Floats

CAVEAT = "Concept drift is not excluded: only labels can show that the same pictures have come to mean something else."
LEAST_PREDICTIONS, LEAST_OF_SUBGROUP = 50, 200
_LEAST_REFERENCE = 100
_MOST_DISAGREEMENT = 0.05
_MOST_SUBGROUPS = 50
_NONE = Interval(None, None, None)


@dataclass(frozen=True)
class SubgroupEstimate:
    """
    One value of a subgroup column; as `Estimate`.

    Attributes:
        reference: What it is compared with: "its own images" or "all images", where it has too few of its own.
    """

    column: str
    value: str
    predictions: int
    reference: str
    accuracy: Interval
    reference_accuracy: float | None
    loss: Interval
    valid: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """
    Accuracy of a window, as far as the answers themselves tell it.

    Attributes:
        predictions: In the window; `used` of them have whole probabilities.
        accuracy: Estimate with its 95 % interval, 0..1; None where there is none.
        reference_accuracy: Of the champion on the profile's held-out images.
        loss: Reference accuracy less estimate: positive is harm.
        methods: What each method says by itself.
        valid: Whether it may count as evidence; where it may not, `reasons` says why.
        caveat: Always to be said with it.
        subgroups: In the order of columns and values, those with enough predictions judged.
    """

    predictions: int
    used: int
    accuracy: Interval
    reference_images: int
    reference_accuracy: float | None
    loss: Interval
    methods: Methods | None
    valid: bool
    reasons: tuple[str, ...]
    caveat: str = CAVEAT
    subgroups: tuple[SubgroupEstimate, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def estimate(
    profile: ReferenceProfile,
    batch: Batch,
    *,
    gross_quiet: bool,
    subgroups: Sequence[str] = (),
    group: str = "",
) -> Estimate:
    """
    What the accuracy of a window probably is: ATC with negative entropy and calibrated confidence, taken together.

    The interval comes from drawing reference and window anew, and is as much wider as the two methods are apart.
    The probabilities must be the champion's own, after its temperature.

    Args:
        profile: Of the champion that answered.
        batch: The window.
        gross_quiet: No alarm of the gross lane is open: unlike pictures make every such estimate a guess.
        subgroups: Metadata columns, each value of which is estimated by itself.
        group: Metadata column of predictions that belong together (a session); "" = each stands alone.
    """
    reference, window = reference_scores(profile, group), scores_of(batch, group)
    doubts = [] if gross_quiet else ["a gross change is being signalled: these pictures are unlike the reference"]
    doubt = temperature_doubt(profile)
    if doubt is not None:
        doubts.append(
            f"the probabilities do not carry the temperature of the held-out images (it should be {doubt.factor:.2g} "
            "times what it is)"
        )
    whole = _estimated(reference, window, LEAST_PREDICTIONS, doubts)
    return Estimate(
        predictions=len(batch),
        used=len(window),
        accuracy=whole.accuracy,
        reference_images=len(reference),
        reference_accuracy=whole.reference_accuracy,
        loss=whole.loss,
        methods=whole.methods,
        valid=not whole.reasons,
        reasons=whole.reasons,
        subgroups=tuple(_subgroups(profile, batch, reference, window, subgroups, doubts)),
    )


@dataclass(frozen=True)
class _Estimated:
    accuracy: Interval
    reference_accuracy: float | None
    loss: Interval
    methods: Methods | None
    reasons: tuple[str, ...]


def _estimated(reference: ReferenceScores, window: Scores, least: int, doubts: Sequence[str]) -> _Estimated:
    reasons = list(doubts)
    if len(reference) < _LEAST_REFERENCE:
        reasons.insert(
            0, f"the reference has {len(reference)} of at least {_LEAST_REFERENCE} held-out images with truth"
        )
        return _Estimated(_NONE, None, _NONE, None, tuple(reasons))
    if len(window) < least:
        reasons.insert(0, f"not enough evidence: {len(window)} of {least} predictions")
    if not len(window):
        return _Estimated(_NONE, reference.accuracy, _NONE, None, tuple(reasons))
    guessed = methods(reference, window)
    if guessed.disagreement > _MOST_DISAGREEMENT:
        reasons.append(
            f"the two methods are {100 * guessed.disagreement:.0f} points apart "
            f"(more than {100 * _MOST_DISAGREEMENT:.0f})"
        )
    drawn = redrawn(reference, window)
    margin = guessed.disagreement / 2
    return _Estimated(
        accuracy=_interval(guessed.published, drawn.estimate, margin, least=0.0),
        reference_accuracy=reference.accuracy,
        loss=_interval(reference.accuracy - guessed.published, drawn.reference - drawn.estimate, margin, least=-1.0),
        methods=guessed,
        reasons=tuple(reasons),
    )


def _interval(value: float, draws: Floats, margin: float, *, least: float) -> Interval:
    low, high = (float(end) for end in np.quantile(draws, (0.025, 0.975)))
    return Interval(value, max(least, min(value, low) - margin), min(1.0, max(value, high) + margin))


def _subgroups(
    profile: ReferenceProfile,
    batch: Batch,
    reference: ReferenceScores,
    window: Scores,
    columns: Sequence[str],
    doubts: Sequence[str],
) -> list[SubgroupEstimate]:
    """The largest subgroups of each column; those too small are named with their size and nothing else."""
    found = []
    for column in columns:
        members = _values(batch, column)
        of_reference = _values(profile.plain, column)
        for value in sorted(members):
            part = window.of(members[value])
            own = reference.of(of_reference[value]) if value in of_reference else None
            beside = own if own is not None and len(own) >= LEAST_OF_SUBGROUP else reference
            if len(part) < LEAST_OF_SUBGROUP:
                words = f"not enough evidence: {len(part)} of {LEAST_OF_SUBGROUP} predictions"
                result = _Estimated(_NONE, None, _NONE, None, (words,))
            else:
                result = _estimated(beside, part, LEAST_OF_SUBGROUP, doubts)
            found.append(
                SubgroupEstimate(
                    column=column,
                    value=value,
                    predictions=len(part),
                    reference="its own images" if beside is own else "all images",
                    accuracy=result.accuracy,
                    reference_accuracy=result.reference_accuracy,
                    loss=result.loss,
                    valid=not result.reasons,
                    reasons=result.reasons,
                )
            )
    return found


def _values(batch: Batch, column: str) -> dict[str, Flags]:
    """The most frequent values with their rows; a million values would make a million masks."""
    found = batch.column(column)
    largest = list(found.counts())[:_MOST_SUBGROUPS]
    place = {value: code for code, value in enumerate(found.values)}
    return {value: found.codes == place[value] for value in largest}
