"""How right the answers of a period were, from the labels that were asked for: which estimate the labels allow."""

from dataclasses import dataclass

from monitoring.estimates.asked import Asked, Expected
from monitoring.estimates.prediction_powered import best_weight, corrected_mean
from monitoring.estimates.responses import LEAST_RESPONSE, Response, lowest_rate, responses, worst_case
from monitoring.estimates.uniform import uniform
from monitoring.performance import Interval

LEAST_LABELS, LEAST_TO_CORRECT = 30, 100
NONE, UNIFORM, CORRECTED = "none", "uniform", "corrected"
# With fewer errors than this the spread of the labels says nothing about how many more there might be.
_LEAST_ERRORS = 5
_LEAST_WORTH = 0.8


@dataclass(frozen=True)
class Corrected:
    """
    An estimate over all predictions of a period; it sees concept drift, for it rests on labels.

    Attributes:
        labels: Usable answers; `uniform_labels` of them were drawn by chance alone.
        rests_on: "none", "uniform" (Wilson's interval on those drawn by chance) or "corrected" (all labels by their
            probabilities, and the confidences of everyone).
        accuracy: With its 95 % interval, 0..1.
        weight: Of the confidences, 0..1; 0 unless corrected.
        responses: By stratum.
        worst_case: Set where too few answered: between every missing label wrong, and every one right.
        notes: Sentences.
    """

    predictions: int
    labels: int
    uniform_labels: int
    rests_on: str
    accuracy: Interval
    weight: float
    responses: tuple[Response, ...]
    worst_case: Interval | None
    notes: tuple[str, ...]


def corrected(asked: Asked, expected: Expected, earlier: Asked) -> Corrected:
    """
    The estimate that these labels allow: none below 30, Wilson's on the uniform part below 100, else the corrected one.

    Args:
        asked: The period's requests.
        expected: Of all its predictions.
        earlier: Requests of earlier periods under the same model, from which the weight of the confidences comes.
    """
    labels = int(asked.usable.sum())
    plain = uniform(asked)
    notes: list[str] = []
    weight, accuracy, rests_on = 0.0, plain.accuracy, UNIFORM
    errors = int((asked.usable & ~asked.right).sum())
    if labels < LEAST_LABELS:
        accuracy, rests_on = Interval(None, None, None), NONE
        notes.append(f"not enough evidence: {labels} of {LEAST_LABELS} labels")
    elif labels >= LEAST_TO_CORRECT and errors >= _LEAST_ERRORS:
        weight = best_weight(earlier) if int(earlier.usable.sum()) >= LEAST_LABELS else 0.0
        if not weight:
            notes.append("no earlier labels show what the confidences are worth, so the labels stand alone")
        accuracy, rests_on = corrected_mean(asked, expected, weight), CORRECTED
    elif plain.labels < LEAST_LABELS:
        accuracy, rests_on = Interval(None, None, None), NONE
        notes.append(f"not enough evidence: {plain.labels} of {LEAST_LABELS} labels drawn by chance alone")
    elif plain.worth < _LEAST_WORTH * plain.labels:
        notes.append(
            f"the {plain.labels} labels drawn by chance are worth about {plain.worth:.0f}: copies of one picture and "
            "labels of one session count together, and unequal chances cost some"
        )
    worst = None
    rate = lowest_rate(asked)
    if rate is not None and rate < LEAST_RESPONSE and rests_on != NONE:
        worst = worst_case(asked, expected, weight)
        notes.append(
            f"only {100 * rate:.0f} % of the requests of one kind were answered (at least "
            f"{100 * LEAST_RESPONSE:.0f} % are expected); the missing ones may be the hard ones"
        )
    return Corrected(
        predictions=expected.predictions,
        labels=labels,
        uniform_labels=plain.labels,
        rests_on=rests_on,
        accuracy=accuracy,
        weight=weight,
        responses=responses(asked),
        worst_case=worst,
        notes=tuple(notes),
    )
