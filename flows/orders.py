"""What a training job is asked for, and what came of it."""

from dataclasses import dataclass
from pathlib import Path

from models.gate_records import GateDecision
from models.registry import WAITING, ModelVersion

FIRST, SUCCESSOR = "train", "retrain"
CANDIDATE, DECLINED, ARCHIVED, READ_AGAIN = "candidate", "declined", "archived", "read again"


@dataclass(frozen=True)
class Order:
    """
    What is to be made.

    Attributes:
        kind: "train" (from the manifest, from the settings' weights) or "retrain" (from the champion).
        reason: One of `models.gate_records.REASONS`, or a person's words.
        run_dir: Where the job works; one that was broken off there is gone on with.
        shift: "input" where the watcher saw that the images themselves had changed; else empty.
        job_id: Of the job that it is made for, for the ledger; empty where there is none.
        new_classes: That the champion lacks and the candidate shall know.
        forecast: Whether the gain is forecast before anything is trained; None: as trigger.forecast and reason have it.
    """

    kind: str
    reason: str
    run_dir: Path
    shift: str = ""
    job_id: str = ""
    forecast: bool | None = None
    new_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """
    What came of an order, and what the gate said.

    Attributes:
        version: The candidate; the archived version that fits; or the champion that stays where the job was declined.
        decision: Of a declined job: what the forecast says the gate would come to.
        promoted: Whether it is champion now.
        fresh_images: Training images that came from production.
        seconds: From order to registration.
        report_page: What was trained, how it went and how good it is, as one HTML page; None where nothing was.
        state: "candidate" (a new version is registered), "declined" (its gain could not have been seen, so nothing was
            trained), "archived" (an earlier version fits and passed the gate, so nothing was trained) or "read again"
            (a candidate of before was judged a second time).
        words: What came of it, where nothing was trained.
        champion_version: The champion that it was compared with; None without one.
        rollout_words: How far it is on its way to the callers; "" where it was not sent out.
    """

    version: ModelVersion
    decision: GateDecision
    promoted: bool
    train_images: int
    fresh_images: int
    seconds: float
    report_page: Path | None
    state: str = CANDIDATE
    words: str = ""
    champion_version: int | None = None
    rollout_words: str = ""

    @property
    def refused(self) -> bool:
        """Whether the gate kept it from being promoted."""
        return not self.promoted and self.version.state == "refused"

    @property
    def waits(self) -> bool:
        """Whether the gate is undecided, and labels that would decide are waited for."""
        return not self.promoted and self.version.state == WAITING
