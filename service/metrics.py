"""What the service counts about itself; right across workers, and across workers that died."""

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from service.segments import OPEN, SEALED

logger = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)
_STATUSES = ("200", "202", "400", "401", "403", "404", "405", "408", "413", "415", "422", "429", "500", "503")
_SHARED = "PROMETHEUS_MULTIPROC_DIR"
# One for each kind of number that is counted below, and more than all routes and statuses take.
_FILES = ("counter", "histogram", "gauge_livesum", "gauge_livemin", "gauge_livemax")
_FILE_BYTES = 1 << 17


class Metrics:
    """
    The service's counters; `page` gives the sum over all workers when they share a folder, else this process's own.

    The labels are fixed: routes and statuses that are known here, nothing that a caller can make up.
    """

    def __init__(self, spool: Path, routes: Iterable[str]) -> None:
        self._spool = spool
        # Where workers share a folder, the page is put together from files, not from a registry of this process.
        self._shared = os.environ.get(_SHARED)
        if self._shared is not None:
            _reserve(Path(self._shared))
        self._registry = CollectorRegistry()
        self._routes = frozenset(routes)
        self._known: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        home = self._registry
        self._requests = Counter("kedge_http_requests", "Requests answered", ["route", "status"], registry=home)
        self._seconds = Histogram(
            "kedge_http_request_duration_seconds", "Time to answer", ["route"], buckets=_SECONDS, registry=home
        )
        self._predictions = Counter("kedge_predictions", "Images answered", registry=home)
        self._batches = Histogram("kedge_batch_images", "Images in one forward pass", buckets=_IMAGES, registry=home)
        self._forward = Histogram(
            "kedge_forward_duration_seconds", "One forward pass, by who ran it", ["model"], buckets=_SECONDS,
            registry=home,
        )  # fmt: skip
        self._canary = Counter(
            "kedge_canary_predictions", "Images that fell to the canary; failed ones the champion answered",
            ["outcome"], registry=home,
        )  # fmt: skip
        self._shadow = Counter(
            "kedge_shadow_predictions", "Images that fell to the shadow, and whether it agreed", ["outcome"],
            registry=home,
        )  # fmt: skip
        self._dropped = Counter(
            "kedge_predictions_not_logged", "Images answered while the disk had no room for the record", registry=home
        )
        self._labels = Counter("kedge_feedback_labels", "Labels kept", ["known_class"], registry=home)
        self._waiting = Gauge(
            "kedge_queue_images", "Images waiting for a batch", registry=home, multiprocess_mode="livesum"
        )
        self._version = Gauge(
            "kedge_model_version", "Version that answers; the oldest one while workers differ", registry=home,
            multiprocess_mode="livemin",
        )  # fmt: skip
        self._canary_version = Gauge(
            "kedge_canary_version", "Version on trial as canary; 0 = none", registry=home, multiprocess_mode="livemin"
        )
        self._shadow_version = Gauge(
            "kedge_shadow_version", "Version on trial as shadow; 0 = none", registry=home, multiprocess_mode="livemin"
        )
        self._trial_refused = Gauge(
            "kedge_trial_refused",
            "1 while a canary or shadow is refused by a worker",
            registry=home,
            multiprocess_mode="livemax",
        )
        self._refused = Gauge(
            "kedge_model_refused",
            "1 while a champion is refused by a worker",
            registry=home,
            multiprocess_mode="livemax",
        )
        # What never happened yet is 0, not unknown: a rate needs both ends.
        for model in ("champion", "canary", "shadow"):
            self._forward.labels(model)
        for outcome in ("answered", "failed"):
            self._canary.labels(outcome)
        for outcome in ("agreed", "differed", "skipped", "failed"):
            self._shadow.labels(outcome)

    def request(self, route: str, status: int, seconds: float) -> None:
        """One request was answered."""
        known = self._known.get((route, status))
        if known is None:
            named = route if route in self._routes else "other"
            text = str(status) if str(status) in _STATUSES else "other"
            known = self._requests.labels(named, text), self._seconds.labels(named)
            # Looking a label up costs more than counting; what a caller makes up is not remembered.
            if named == route:
                self._known[route, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def batch(self, images: int) -> None:
        """One forward pass was run."""
        self._predictions.inc(images)
        self._batches.observe(images)

    def forward(self, model: Literal["champion", "canary", "shadow"], seconds: float, images: int = 0) -> None:
        """One forward pass took so long; `images` counts those that the canary answered."""
        self._forward.labels(model).observe(seconds)
        if model == "canary":
            self._canary.labels("answered").inc(images)

    def canary_failed(self, images: int) -> None:
        """The canary could not answer these; the champion did."""
        self._canary.labels("failed").inc(images)

    def shadow(self, outcome: Literal["agreed", "differed", "skipped", "failed"], images: int = 1) -> None:
        """What became of images that fell to the shadow."""
        self._shadow.labels(outcome).inc(images)

    def dropped(self, predictions: int) -> None:
        """Answers were given without a record."""
        self._dropped.inc(predictions)

    def labels(self, known: int, unknown: int) -> None:
        """Labels were kept; `unknown` of them name a class that the model does not have."""
        self._labels.labels("yes").inc(known)
        self._labels.labels("no").inc(unknown)

    def queue(self, images: int) -> None:
        """So many images wait now."""
        self._waiting.set(images)

    def model(self, version: int | None, *, refused: bool) -> None:
        """This version answers now (0 for none), and whether a newer one was refused."""
        self._version.set(version or 0)
        self._refused.set(refused)

    def trials(self, canary: int | None, shadow: int | None, *, refused: bool) -> None:
        """What is tried beside the champion now."""
        self._canary_version.set(canary or 0)
        self._shadow_version.set(shadow or 0)
        self._trial_refused.set(refused)

    def page(self) -> bytes:
        """The metrics in the text format of Prometheus."""
        if self._shared is None:
            return generate_latest(self._registry) + generate_latest(self._spool_registry())
        _reap(Path(self._shared))
        registry = self._spool_registry()
        MultiProcessCollector(registry, self._shared)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def _spool_registry(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        registry.register(_SpoolCollector(self._spool))
        return registry


class _SpoolCollector(Collector):
    """The spool's backlog, read from its files when asked: it is the same whoever answers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        sizes, oldest = [], time.time()
        for path in (*self._folder.glob(f"*/*{SEALED}"), *self._folder.glob(f"*/*{OPEN}")):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue  # shipped in this moment
            sizes.append(state.st_size)
            oldest = min(oldest, state.st_mtime)
        yield GaugeMetricFamily("kedge_spool_bytes", "Bytes not shipped yet", value=sum(sizes))
        yield GaugeMetricFamily("kedge_spool_segments", "Segments not shipped yet", value=len(sizes))
        age = time.time() - oldest if sizes else 0.0
        yield GaugeMetricFamily("kedge_spool_oldest_age_seconds", "Since the oldest was last written", value=age)


def _reserve(folder: Path) -> None:
    """
    Make room on the disk for all that this process will count.

    Its files are mapped into memory: once a disk is full, touching a page that has no room there kills the process.
    """
    for kind in _FILES:
        try:
            with (folder / f"{kind}_{os.getpid()}.db").open("ab") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, _FILE_BYTES)
        except OSError as error:
            logger.warning("no room for the counters in %s: %s", folder, error)


def _reap(folder: Path) -> None:
    """A killed worker leaves its gauges behind; its counters stay, or totals would fall."""
    for path in folder.glob("gauge_live*.db"):
        found = re.search(r"_(\d+)\.db$", path.name)
        if found and not _alive(int(found[1])):
            with contextlib.suppress(FileNotFoundError):  # another worker does the same in this moment
                mark_process_dead(int(found[1]), str(folder))  # type: ignore[no-untyped-call]


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
