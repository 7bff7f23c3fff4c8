"""Whether a replayed retrain would have been let through: by the gate, by a guard, or by nobody."""

from dataclasses import dataclass

from models import noninferiority
from models.gate import decide
from models.gate_needs import LabelNeed, needs_of
from models.gate_records import PROMOTE, Answers, ArtifactFacts, GateInput, GateRules
from monitoring.backtesting.replayed_model import JudgeRows, ReplayedModel, answers_of
from monitoring.backtesting.stream import Stream

GATE, GUARD, NOBODY = "gate", "guard", "nobody"
JUDGES = (GATE, GUARD, NOBODY)

_LEVEL = 0.05
# As in production where labels are asked for: an undecided candidate is judged once more when they have come.
TWO_READINGS = GateRules(planned_readings=2)
# A head has no file whose size, speed or licence could be objected to.
_NO_FILE = ArtifactFacts(latency_ms=0.0, size_mb=0.0, licence="none", parity_ok=True)


@dataclass(frozen=True)
class Judging:
    """
    Who judges.

    Attributes:
        judge: "gate" is production's, with its rules; "guard" refuses only what is surely worse than the champion, on
            old or on recent images; "nobody" lets everything through.
    """

    judge: str = GUARD
    rules: GateRules = TWO_READINGS
    subgroups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """
    Whether the candidate answers from now on, and why, in words.

    Attributes:
        needs: The labels that it waits for; empty where it was decided, or no other reading is planned.
    """

    promoted: bool
    words: str
    needs: tuple[LabelNeed, ...] = ()


def judge(
    stream: Stream,
    champion: ReplayedModel,
    candidate: ReplayedModel,
    rows: JudgeRows,
    reason: str,
    judging: Judging,
    *,
    readings: int = 0,
    random: bool = False,
) -> Judged:
    """
    Both answer the same images, none of which taught either.

    readings: Times that this candidate was judged.
    random: Whether chance drew all labels; else those prove a gain that were drawn or asked for, and no others.
    """
    if judging.judge == NOBODY:
        return Judged(True, "promoted unjudged")
    pairs = [
        (answers_of(stream, candidate, some, random=random), answers_of(stream, champion, some, random=random))
        for some in (rows.old, rows.recent)
    ]
    if judging.judge == GUARD:
        return _guarded(pairs)
    (candidate_old, champion_old), (candidate_recent, champion_recent) = pairs
    has_recent = candidate_recent.images > 0
    decision = decide(
        GateInput(
            reason=reason,
            artifact=_NO_FILE,
            candidate_old=candidate_old,
            champion_old=champion_old,
            candidate_recent=candidate_recent if has_recent else None,
            champion_recent=champion_recent if has_recent else None,
            subgroups=judging.subgroups,
            candidate_readings=readings,
        ),
        judging.rules,
    )
    promoted = decision.outcome == PROMOTE or decision.relief
    waits = not promoted and readings + 1 < judging.rules.planned_readings
    return Judged(promoted, " ".join(decision.words()), needs_of(decision) if waits else ())


def _guarded(pairs: list[tuple[Answers, Answers]]) -> Judged:
    for scope, (candidate, champion) in zip(("old", "recent"), pairs, strict=True):
        counts, _ = noninferiority.paired_counts(champion.right, candidate.right, candidate.groups)
        if candidate.images and noninferiority.lower_bound(counts, _LEVEL) > 0:
            points = 100 * counts.loss
            return Judged(False, f"surely worse on {candidate.images} {scope} images, by {points:.1f} points")
    images = sum(candidate.images for candidate, _ in pairs)
    return Judged(True, f"not surely worse on {images} images that judge")
