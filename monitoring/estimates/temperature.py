"""Whether the probabilities carry the temperature that fits them: estimates without labels stand or fall with it."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Floats

_COLDEST, _HOTTEST = 0.2, 10.0
# Chi-squared with one degree of freedom: one well-fitted model in a thousand is doubted.
_DOUBTED = 10.83


@dataclass(frozen=True)
class TemperatureDoubt:
    """
    A temperature other than the model's own that would fit the reference far better.

    Attributes:
        factor: The model's temperature times this would be the best; above 1 the model is too sure of itself.
    """

    factor: float


def temperature_doubt(profile: ReferenceProfile) -> TemperatureDoubt | None:
    """
    A likelihood-ratio test on the profile's own images; None where the temperature fits, or nothing can be tested.

    The export fits the temperature on the same held-out images (*select*), so a model whose profile fails this had
    none, or one from elsewhere.
    """
    number = {label: place for place, label in enumerate(profile.classes)}
    truth = np.array([number.get(label, -1) for label in profile.truth[: profile.images]], dtype=np.intp)
    probabilities = profile.plain.probabilities
    if len(truth) != len(probabilities) or probabilities.shape[1] < 2:  # noqa: PLR2004 - one class is always certain
        return None
    known = (truth >= 0) & np.isfinite(probabilities).all(axis=1)
    truth = truth[known]
    if not len(truth):
        return None
    logits = np.log(np.clip(probabilities[known].astype(np.float64), 1e-30, None))

    def loss(logarithm: float) -> float:
        return _loss(logits / np.exp(logarithm), truth)

    found = minimize_scalar(loss, bounds=(np.log(_COLDEST), np.log(_HOTTEST)), method="bounded")
    # The export smooths its labels as Platt does, which costs a little likelihood and is no fault.
    gained = 2 * (loss(0.0) - float(found.fun))
    return TemperatureDoubt(float(np.exp(found.x))) if gained > _DOUBTED else None


def _loss(logits: Floats, truth: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> float:
    highest = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    return float((total - logits[np.arange(len(truth)), truth]).sum())
