"""What became of the labels that were asked for, by the reason for which they were: who does not answer may matter."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from monitoring.labelling.requests import ANSWERED, ASKED, OVERDUE, SKIPPED, STRATA, LabelRequest


@dataclass(frozen=True)
class StratumResponse:
    """
    One stratum.

    Attributes:
        waiting: Asked, and not overdue yet.
        rate: Share answered of those that are answered, skipped or overdue, 0..1; None where there are none.
    """

    stratum: str
    waiting: int
    answered: int
    skipped: int
    overdue: int
    rate: float | None


def responses(requests: Iterable[LabelRequest]) -> tuple[StratumResponse, ...]:
    """By stratum, those that were asked for; requests that share another's picture are left out."""
    counts = Counter((one.stratum, one.state) for one in requests if one.same_as is None)
    found = []
    for stratum in STRATA:
        waiting, answered, skipped, overdue = (counts[stratum, state] for state in (ASKED, ANSWERED, SKIPPED, OVERDUE))
        settled = answered + skipped + overdue
        if waiting or settled:
            rate = answered / settled if settled else None
            found.append(StratumResponse(stratum, waiting, answered, skipped, overdue, rate))
    return tuple(found)


def why(request: LabelRequest) -> str:
    """Why a person is asked, in words."""
    return {
        "audit": "drawn by chance: what estimates rest on",
        "gate": "the judgement of a candidate waits for it",
        "drifted": "looks unlike what the model was trained on",
        "disagreement": "the shadow answered otherwise",
        "uncertain": "the model was unsure",
    }.get(request.stratum, request.stratum)
