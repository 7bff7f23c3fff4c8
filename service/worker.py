"""One serving process put together: its slot in the spool, the live model, the queue, the counters."""

import logging
import os
import signal
import threading
from pathlib import Path

from infra.settings import Settings
from models.images import ImageLimits
from service.batcher import Batcher
from service.classifier import Answer, Classifier, ClassifierRules, Question
from service.door import Door
from service.known_tokens import KnownTokens
from service.live_model import LiveModel
from service.metrics import Metrics
from service.request_rate import request_rate
from service.rollout import Shadow
from service.spool import Spool, SpoolLimits

logger = logging.getLogger(__name__)

_PARENT_EVERY_S = 0.5
_GRACE_S = 15.0
_FIRST_LOOK_S = 10.0


class Worker:
    """Everything that one process needs to answer; made inside the process and event loop that use it."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        serve = settings.serve
        self.settings, self.metrics = settings, metrics
        megabytes = (serve.seal_mb, serve.least_free_disk_mb, serve.most_spool_mb)
        limits = SpoolLimits(serve.seal_s, *(int(each * 1_000_000) for each in megabytes))
        self.spool = Spool(spool_folder(settings), limits)
        self.live = LiveModel(settings, self.spool.slot, on_change=self._model_changed)
        images = ImageLimits(int(serve.most_body_mb * 1_000_000), int(serve.most_megapixels * 1_000_000))
        rules = ClassifierRules(images, serve.keep_images, serve.when_disk_full == "refuse")
        self.shadow = Shadow(self.live, self.spool, images, metrics, most_waiting=serve.shadow_queue_images)
        self.classifier = Classifier(self.live, self.spool, self.shadow, rules, metrics)
        self.batcher: Batcher[Question, Answer] = Batcher(
            self.classifier.answer, most_waiting=serve.queue_images, most_batch=serve.batch_images
        )
        self.known_tokens = KnownTokens(settings)
        self.door = Door(serve.token, self.known_tokens)
        self.request_rate = request_rate(settings)
        self.live.start(_FIRST_LOOK_S)
        self.known_tokens.start()
        logger.info("worker %d writes the spool %s", os.getpid(), self.spool.slot)

    def close(self) -> None:
        """Finish the batch in hand, sign off, seal the spool."""
        self.batcher.close()
        self.shadow.close()
        self.live.close()
        self.known_tokens.close()
        if self.request_rate is not None:
            self.request_rate.close()
        self.spool.close()

    def _model_changed(self, live: LiveModel) -> None:
        self.metrics.model(live.current.version if live.current else None, refused=live.error is not None)
        canary, shadow = (live.lineup.canary, live.lineup.shadow) if live.lineup else (None, None)
        self.metrics.trials(
            canary.version if canary else None, shadow.version if shadow else None, refused=live.trial_error is not None
        )


def spool_folder(settings: Settings) -> Path:
    """Where the spool of a project lies."""
    return settings.storage.home / "spool"


def leave_with_parent(parent: int | None = None) -> None:
    """
    End this process when the one that started it is gone.

    Serving workers outlive a supervisor that was killed, and keep its port: the next start would fail.

    Args:
        parent: its process number, where it is known from itself: one that died a moment ago is no longer seen.
    """
    parent = parent or os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            if gone.wait(_PARENT_EVERY_S):
                return
        logger.warning("the process that started this one (%d) is gone; leaving too", parent)
        os.kill(os.getpid(), signal.SIGTERM)
        gone.wait(_GRACE_S)
        os._exit(1)

    gone = threading.Event()
    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
