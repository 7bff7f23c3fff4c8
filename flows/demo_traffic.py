"""The demo's callers: a steady stream of images over HTTP, whose answers are compared with the truth."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import numpy as np

from flows.demo_world import Digit, photograph

_CALLERS = 8
_TIMEOUT_S = 20.0
_LABELS_A_CALL = 500


@dataclass(frozen=True)
class Answered:
    """
    One request and its answer.

    Attributes:
        at: Monotonic seconds, when it was sent.
        phase: Which part of the demo sent it.
        version: Of the model that answered, as "name:number"; empty when the request failed.
        answer: The predicted class; empty when the request failed.
        problem: What went wrong; empty when nothing did.
    """

    at: float
    phase: str
    camera: str
    truth: str
    id: str
    answer: str
    version: str
    problem: str = ""

    @property
    def right(self) -> bool:
        return self.answer == self.truth


@dataclass(frozen=True)
class Mix:
    """What is sent now: the cameras with their shares, and how many images a second."""

    phase: str
    cameras: dict[str, float]
    per_second: float


class Traffic:
    """Sends in the background until stopped; `mix` may be replaced at any time."""

    def __init__(self, url: str, digits: Sequence[Digit], seed: int, token: str = "") -> None:
        self.url, self.digits = url, digits
        self.chance = np.random.default_rng([seed, 2])
        self.mix: Mix | None = None
        self.answered: list[Answered] = []
        self._stop = threading.Event()
        limits = httpx.Limits(max_connections=_CALLERS)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S, limits=limits, trust_env=False)
        self._pool = ThreadPoolExecutor(_CALLERS, thread_name_prefix="caller")
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more; what is under way is answered first."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._pool.shutdown()
        self._client.close()

    def of(self, phase: str, cameras: Sequence[str] | None = None) -> list[Answered]:
        """What one phase sent, from some of the cameras where named."""
        done = list(self.answered)
        return [one for one in done if one.phase == phase and (cameras is None or one.camera in cameras)]

    def send(self, mix: Mix, images: int, progress: Callable[[int, int], None]) -> None:
        """Switch to `mix` and wait until it has brought `images` answers."""
        self.mix = mix
        while (done := len(self.of(mix.phase))) < images:
            progress(done, images)
            if not self._thread.is_alive():
                raise RuntimeError("the demo's traffic stopped by itself")
            time.sleep(0.2)
        progress(images, images)

    def label(self, answered: Sequence[Answered]) -> int:
        """Give the truth of these predictions back through the service; gives how many were sent."""
        labels = [{"id": one.id, "label": one.truth, "labelled_by": "demo"} for one in answered if one.id]
        for start in range(0, len(labels), _LABELS_A_CALL):
            self._client.post("/v1/feedback", json=labels[start : start + _LABELS_A_CALL]).raise_for_status()
        return len(labels)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            mix = self.mix
            if mix is None:
                time.sleep(0.05)
                due = time.monotonic()
                continue
            due += 1 / mix.per_second
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            elif wait < -1:
                due = time.monotonic()  # the machine is slower than the mix: do not pile up
            cameras, shares = zip(*mix.cameras.items(), strict=True)
            camera = str(self.chance.choice(cameras, p=shares))
            digit = self.digits[int(self.chance.integers(len(self.digits)))]
            sending = photograph(digit, camera, self.chance)
            self._pool.submit(self._call, mix.phase, sending.png, sending.label, camera, sending.original)

    def _call(self, phase: str, png: bytes, truth: str, camera: str, original: str) -> None:
        at = time.monotonic()
        identifier = answer = version = problem = ""
        try:
            response = self._client.post(
                "/v1/predict",
                params={"camera": camera, "original": original},
                content=png,
                headers={"content-type": "image/png"},
            )
            response.raise_for_status()
            body = response.json()
            identifier, answer, version = body["id"], body["label"], body["model"]
        except (httpx.HTTPError, KeyError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
        self.answered.append(Answered(at, phase, camera, truth, identifier, answer, version, problem))
