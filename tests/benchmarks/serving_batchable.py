"""BentoML's own way: `@bentoml.api(batchable=True)`, its access log, metrics and traces off as they are in ours."""

import os

import bentoml
from PIL.Image import Image
from pydantic import BaseModel

from tests.benchmarks.serving_rivals import MOST_BATCH, WORKERS, Network, seen


# A dict would do too, and have its schema drawn up anew for every answer: nearly twice the cost.
class Answer(BaseModel):
    label: str
    confidence: float
    probabilities: dict[str, float]


@bentoml.service(
    workers=int(os.environ[WORKERS]),
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class Batchable:
    def __init__(self) -> None:
        self._network = Network()

    # A second's patience: with less it refuses under load, at any load it waits no longer than its batches need.
    @bentoml.api(batchable=True, max_batch_size=MOST_BATCH, max_latency_ms=1000)
    def predict(self, images: list[Image]) -> list[Answer]:
        squares = [seen(image, self._network.preprocessing) for image in images]
        return [Answer(**answer) for answer in self._network.answers(squares)]
