"""A project of cards with a champion and a candidate, nobody serving, and a log that says what a test wants."""

import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from flows.workplace import Workplace, open_workplace
from infra.clock import new_id, now
from models.prediction import Label, Prediction, ShadowAnswer
from tests.service.cards import CLASSES, new_place

CHAMPION, CANDIDATE = 1, 2


def cards(folder: Path, rollout: str = "", more: str = "") -> Workplace:
    """Version 1 is champion, version 2 waits; `rollout` are lines of that section."""
    made = new_place(folder)
    path = made.settings.root / "kedge.toml"
    monitor = "[monitor]\nfeedback_is_random = true\n"
    path.write_text(f"{path.read_text()}[rollout]\n{rollout}\n{monitor}{more}")
    made.champion()
    made.version(sharpness=4.0)
    return open_workplace(made.settings.root)


class Answers:
    """Writes answers and labels into the log's tables, each in a segment of its own."""

    def __init__(self, place: Workplace) -> None:
        self.log = place.log
        self._segments: Iterator[int] = itertools.count(1)

    def champion(self, count: int, label: str = "light", version: int = CHAMPION, **options: object) -> list[str]:
        """So many answers to callers."""
        rows = [self._prediction(label, version, **options) for _ in range(count)]
        self.log.append_predictions("spool", next(self._segments), list(enumerate(rows)))
        return [row.id for row in rows]

    def mixed(self, count: int, label: str = "light", trial_label: str = "light", every: int = 2) -> list[str]:
        """Answers of champion and canary in turn; gives the canary's ids."""
        rows = [
            self._prediction(trial_label, CANDIDATE) if place % every == 0 else self._prediction(label, CHAMPION)
            for place in range(count)
        ]
        self.log.append_predictions("spool", next(self._segments), list(enumerate(rows)))
        return [row.id for row in rows if row.model_version == CANDIDATE]

    def shadow(self, count: int, theirs: str = "light", ours: str = "light") -> list[str]:
        """So many images that both answered."""
        given = [self._prediction(theirs, CHAMPION) for _ in range(count)]
        pairs = [
            ShadowAnswer(one.id, one.at, CHAMPION, theirs, 0.9, 1.0, CANDIDATE, ours, 0.9, 1.0, one.metadata)
            for one in given
        ]
        self.log.append_predictions("spool", next(self._segments), list(enumerate(given)))
        self.log.append_shadows("spool", next(self._segments), list(enumerate(pairs)))
        return [one.id for one in given]

    def label(self, ids: list[str], label: str) -> None:
        """What these should have been."""
        segment = next(self._segments)
        rows = [Label(one, label, now(), "ada", segment * 1000 + place) for place, one in enumerate(ids)]
        self.log.append_labels("spool", segment, list(enumerate(rows)))

    def _prediction(self, label: str, version: int, confidence: float = 0.9, late_s: float = 0.0) -> Prediction:
        at = now() + timedelta(seconds=late_s)
        rest = (1 - confidence) / (len(CLASSES) - 1)
        return Prediction(
            id=new_id(at), at=at, model_version=version, label=label, confidence=confidence,
            probabilities=tuple(confidence if one == label else rest for one in CLASSES), embedding=None,
            statistics=(0.5,), image_sha256=f"{next(self._images):064x}", image_width=1, image_height=1,
            image_format="png", image_bytes=4, image_kept=True, metadata={}, forward_ms=1.0,
        )  # fmt: skip

    _images = itertools.count(1)
