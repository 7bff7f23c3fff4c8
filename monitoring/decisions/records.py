"""What is told of decisions: reigns of champions, and stories of steps, each with the ledger rows that prove it."""

from dataclasses import dataclass
from datetime import datetime

from infra.ledger import LedgerRow

TRIGGER, JOB, GATE, ROLLOUT, PROMOTION, AFTERWARDS = "trigger", "job", "gate", "rollout", "promotion", "afterwards"
GOOD, WARN, BAD, ACTIVE, PLAIN = "good", "warn", "bad", "active", ""
_SHOWN_DIGITS = 8


@dataclass(frozen=True)
class Proof:
    """The ledger row that says so; `kedge ledger verify` shows that it is as it was written."""

    stream: str
    sequence: int
    hash: str

    @property
    def words(self) -> str:
        """As in "models#3 1f2e3d4c…": the hash's beginning."""
        return f"{self.stream}#{self.sequence} {self.hash[:_SHOWN_DIGITS]}…"


def proof_of(row: LedgerRow) -> Proof:
    """The row as a proof."""
    return Proof(row.stream, row.sequence, row.hash)


@dataclass(frozen=True)
class Trial:
    """
    A version that was tried beside the champion.

    Attributes:
        alias: "canary" or "shadow".
        share: Of the predictions, 0..1.
        until: None while it runs.
    """

    alias: str
    version: int
    share: float
    since: datetime
    until: datetime | None
    actor: str
    reason: str
    proofs: tuple[Proof, ...]


@dataclass(frozen=True)
class Reign:
    """
    One champion from one change of the pointer to the next: where one ends, the next begins.

    Attributes:
        sequence: Of the change that began it, from 1.
        until: None for the present one.
        how: "promoted", "rolled back" or "put back", as the ledger says; "moved" where no row of it does.
        job_id: The job that had made the version by then; "" where none is known.
        decision: The gate's outcome about the version: "promote", "undecided, with relief", …; "" where it has none.
        trials: Canaries and shadows that began in it.
    """

    sequence: int
    version: int
    since: datetime
    until: datetime | None
    how: str
    actor: str
    reason: str
    job_id: str
    decision: str
    trials: tuple[Trial, ...]
    proofs: tuple[Proof, ...]


@dataclass(frozen=True)
class Timeline:
    """
    Every champion there was, oldest first.

    Attributes:
        before: Trials from before the first champion; there should be none.
        problems: What does not fit together, a sentence each: rows that are missing, clocks that went back.
    """

    reigns: tuple[Reign, ...]
    before: tuple[Trial, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """
    One step of a story.

    Attributes:
        part: "trigger", "job", "gate", "rollout", "promotion" or "afterwards".
        at: None where nobody noted it.
        tone: "good", "warn", "bad", "active" (under way) or "".
        lines: What more there is to say, a sentence each.
        missing: What ought to be there and is not, a sentence each.
    """

    part: str
    at: datetime | None
    title: str
    tone: str = PLAIN
    lines: tuple[str, ...] = ()
    proofs: tuple[Proof, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Story:
    """
    One decision from what set it off to what came of it.

    Attributes:
        what: What it is, such as "Retrain for harm".
        came_to: What came of it, such as "version 3 was promoted"; "" where `what` says it all.
        version: That it is about; None where no version came of it.
        job_id: "" where a person moved the champion without a job.
    """

    at: datetime
    what: str
    came_to: str
    tone: str
    version: int | None
    job_id: str
    steps: tuple[Step, ...]

    @property
    def title(self) -> str:
        """Both in one line."""
        return f"{self.what}: {self.came_to}" if self.came_to else self.what
