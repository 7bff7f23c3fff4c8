"""Who answers now: the champion, and what is tried beside it."""

from dataclasses import dataclass
from datetime import datetime

from models.runtime import Runtime


@dataclass(frozen=True)
class LoadedModel:
    """
    One version in memory, warm.

    Attributes:
        since: when it became champion, or its trial began; aware, UTC.
        share: of predictions, for what is on trial.
    """

    name: str
    version: int
    since: datetime
    runtime: Runtime
    share: float = 1.0

    @property
    def title(self) -> str:
        """The model as answers name it."""
        return f"{self.name}:{self.version}"


@dataclass(frozen=True)
class Lineup:
    """Who answers now; read once per batch, so that no batch is answered half by one and half by another."""

    champion: LoadedModel
    canary: LoadedModel | None = None
    shadow: LoadedModel | None = None
