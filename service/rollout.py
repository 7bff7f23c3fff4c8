"""What is tried beside the champion: who is answered by the canary, and what a shadow would have answered."""

import contextlib
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from models.images import ImageLimits, ImageRefused
from models.prediction import Prediction, ShadowAnswer
from models.preprocessing import normalise
from service.lineup import LoadedModel
from service.live_model import LiveModel
from service.metrics import Metrics
from service.records import encode_shadow
from service.seeing import Seen, see
from service.segments import SHADOW, Frame
from service.spool import Spool, SpoolFull

logger = logging.getLogger(__name__)

_MOST_BATCH = 16
_NICE = 10
_RANGE = 1 << 64


def is_chosen(identifier: str, trial: LoadedModel) -> bool:
    """
    Whether a prediction falls to what is on trial: the same id always alike, and a share of all ids.

    Every version draws anew, so that not the same callers bear every canary; a share that grows keeps those it had.
    """
    digest = blake2b(f"{trial.version}:{identifier}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) < trial.share * _RANGE


@dataclass(frozen=True)
class Shown:
    """An answered image that the shadow may answer too."""

    data: bytes
    seen: Seen
    prediction: Prediction


class Shadow:
    """
    Answers what was answered already, on a thread that yields to everybody else.

    Its queue is bounded: what does not fit is skipped and counted, so that a slow shadow costs no caller anything.
    """

    def __init__(
        self, live: LiveModel, spool: Spool, limits: ImageLimits, metrics: Metrics, *, most_waiting: int
    ) -> None:
        self._live, self._spool, self._limits, self._metrics = live, spool, limits, metrics
        self._waiting: queue.Queue[Shown] = queue.Queue(most_waiting)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, shown: Sequence[Shown], trial: LoadedModel) -> None:
        """Queue those that fall to the shadow's share; never waits."""
        for one in shown:
            if not is_chosen(one.prediction.id, trial):
                continue
            try:
                self._waiting.put_nowait(one)
            except queue.Full:
                self._metrics.shadow("skipped")

    def close(self) -> None:
        """Finish the batch in hand; what still waits is let go."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _work(self) -> None:
        _step_back()
        while not self._stop.is_set():
            try:
                batch = self._next_batch()
                lineup = self._live.lineup
                if batch and lineup is not None and lineup.shadow is not None:
                    self._answer(batch, lineup.shadow)
            except Exception:
                logger.exception("the shadow failed at a batch; callers are not concerned")
                self._metrics.shadow("failed")

    def _next_batch(self) -> list[Shown]:
        batch: list[Shown] = []
        with contextlib.suppress(queue.Empty):
            batch.append(self._waiting.get(timeout=0.2))
            while len(batch) < _MOST_BATCH:
                batch.append(self._waiting.get_nowait())
        return batch

    def _answer(self, batch: Sequence[Shown], shadow: LoadedModel) -> None:
        preprocessing = shadow.runtime.artifact.preprocessing
        pairs: list[tuple[Shown, Seen]] = []
        for shown in batch:
            # An image that only this preprocessing cannot take is the shadow's fault, and is counted as such.
            try:
                same = shown.seen.preprocessing == preprocessing
                pairs.append((shown, shown.seen if same else see(shown.data, preprocessing, self._limits)))
            except ImageRefused:
                self._metrics.shadow("failed")
        if not pairs:
            return
        squares = np.stack([seen.square for _, seen in pairs])
        begun = time.perf_counter()
        probabilities = shadow.runtime.run(normalise(squares, preprocessing)).probabilities
        seconds = time.perf_counter() - begun
        self._metrics.forward("shadow", seconds)
        answers = [
            _shadow_answer(shown.prediction, shadow, row, seconds * 1000)
            for (shown, _), row in zip(pairs, probabilities, strict=True)
        ]
        try:
            self._spool.write([Frame(SHADOW, encode_shadow(answer)) for answer in answers])
        except SpoolFull:
            # The predictions' own records have the room first.
            self._metrics.shadow("skipped", len(answers))
            return
        for answer in answers:
            self._metrics.shadow("agreed" if answer.label == answer.champion_label else "differed")


def _shadow_answer(
    given: Prediction, shadow: LoadedModel, probabilities: "np.ndarray[tuple[int], np.dtype[np.float32]]", ms: float
) -> ShadowAnswer:
    best = int(probabilities.argmax())
    return ShadowAnswer(
        id=given.id,
        at=given.at,
        champion_version=given.model_version,
        champion_label=given.label,
        champion_confidence=given.confidence,
        champion_forward_ms=given.forward_ms,
        version=shadow.version,
        label=shadow.runtime.artifact.classes[best],
        confidence=float(probabilities[best]),
        forward_ms=ms,
        metadata=given.metadata,
    )


def _step_back() -> None:
    """Let every other thread of this process go first; only Linux gives a thread a niceness of its own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
