"""What a rollout's next step is decided from, and what it is."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from infra.settings_sections import RolloutSettings
from monitoring.trial_evidence import ProbationEvidence, TrialEvidence

WAIT, MOVE, JUDGE, PROMOTE, END = "wait", "move", "judge", "promote", "end"


@dataclass(frozen=True)
class RolloutRules:
    """What the person in charge decided; as `RolloutSettings` has it, times as they are compared."""

    shadow_predictions: int
    canary_predictions: int
    canary_share: float
    least_agreement: float
    most_latency_ratio: float
    most_stage: timedelta
    probation: timedelta


@dataclass(frozen=True)
class Awaiting:
    """
    How an undecided candidate stands.

    Attributes:
        state: Of the version now: it changes when the gate has read once more.
        said: The gate's newest decision in a sentence.
        labels: Of each kind of label that it waits for, how many have come, in words.
        enough: Whether all have come that people could be asked for.
        some: Whether any has.
        reading: State of the job that judges it once more; "" = none was asked for.
    """

    state: str
    said: str = ""
    labels: tuple[str, ...] = ()
    enough: bool = False
    some: bool = False
    reading: str = ""


@dataclass(frozen=True)
class Observed:
    """
    What one look found.

    Attributes:
        champion: Who is champion now; None = nobody.
        champion_words: How that came about, for people: who moved the pointer, and why.
        went_back: Whether the version was champion and the pointer went back from it: by a rollback or a putting back,
            not by a promotion.
        was_promoted: Whether the version was champion since the rollout began.
        share: Of the predictions, that fall to it as this stage's shadow or canary, 0..1; None = it is not on trial.
        trial: What shadow or canary showed since the trial began; None outside these stages, or while unread.
        awaiting: How it stands with the labels; None outside the stage that waits for them.
        probation: What came back since the promotion; None outside that stage.
        refusal: What a serving worker says against the version; "" = nothing.
    """

    at: datetime
    champion: int | None
    champion_words: str = ""
    went_back: bool = False
    was_promoted: bool = False
    share: float | None = None
    trial: TrialEvidence | None = None
    awaiting: Awaiting | None = None
    probation: ProbationEvidence | None = None
    refusal: str = ""

    @property
    def is_idle(self) -> bool:
        """Whether nobody has sent an image since the trial began: its time has not begun either."""
        return self.trial is not None and not self.trial.predictions and not self.trial.expected


@dataclass(frozen=True)
class Step:
    """
    What to do: wait; move to `stage`; have it judged once more; promote; or end as `stage`.

    Attributes:
        words: Why, as a sentence without its end.
        overtaken: For an end: only because another version came first, and for nothing that was seen of this one.
    """

    deed: str
    stage: str
    words: str
    overtaken: bool = False


def rules_of(settings: RolloutSettings) -> RolloutRules:
    """The settings as rules."""
    return RolloutRules(
        shadow_predictions=settings.shadow_predictions,
        canary_predictions=settings.canary_predictions,
        canary_share=settings.canary_share,
        least_agreement=settings.least_agreement,
        most_latency_ratio=settings.most_latency_ratio,
        most_stage=timedelta(minutes=settings.most_stage_minutes),
        probation=timedelta(minutes=settings.probation_minutes),
    )
