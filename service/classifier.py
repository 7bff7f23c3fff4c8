"""Images in, logged answers out: decode, measure, run the network once for the batch, write the record."""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from infra.clock import now
from models.images import ImageLimits, ImageRefused, Pixels, Preprocessing, decode, normalise, resize
from models.prediction import Prediction
from monitoring.image_stats import statistics_of
from service.live_model import LiveModel, LoadedModel
from service.metrics import Metrics
from service.records import encode_prediction
from service.spool import IMAGE, PREDICTION, Frame, Spool, SpoolFull

logger = logging.getLogger(__name__)

_REMEMBERED_IDS = 100_000
_REMEMBERED_IMAGES = 4096


class NoModel(Exception):
    """There is no champion yet, or none that could be loaded."""


class LogFull(Exception):
    """The disk has no room for the record, and the settings say that then nothing is answered."""


@dataclass(frozen=True)
class Question:
    """
    One image to classify.

    Attributes:
        id: of the prediction.
        data: the image's bytes as sent.
        own_id: whether the caller chose the id, so that it may have been used before.
    """

    id: str
    data: bytes
    metadata: Mapping[str, str]
    own_id: bool = False


@dataclass(frozen=True)
class Answer:
    """
    What the caller is told.

    Attributes:
        model: name and version that answered, as "name:version".
        probabilities: by class, summing to 1.
    """

    id: str
    model: str
    label: str
    confidence: float
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class ClassifierRules:
    """
    What is taken and what is kept.

    Attributes:
        refuse_when_full: answer nothing while there is no room for its record; otherwise answer and count it.
    """

    limits: ImageLimits
    keep_images: bool = True
    refuse_when_full: bool = False


class Classifier:
    """Answers batches; used by one thread."""

    def __init__(self, live: LiveModel, spool: Spool, rules: ClassifierRules, metrics: Metrics) -> None:
        self._live, self._spool, self._rules, self._metrics = live, spool, rules, metrics
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._images: OrderedDict[str, None] = OrderedDict()

    def answer(self, questions: Sequence[Question]) -> list[Answer | Exception]:
        """One outcome for each question; an image that cannot be read is an outcome of its own."""
        model = self._live.current  # read once, so that a batch is never answered by two versions
        if model is None:
            return [NoModel() for _ in questions]
        if self._rules.refuse_when_full and self._spool.full:
            return [LogFull() for _ in questions]
        images = [self._seen_image(question, model.runtime.artifact.preprocessing) for question in questions]
        readable = [place for place, image in enumerate(images) if isinstance(image, _Seen)]
        batch = [
            (question, image) for question, image in zip(questions, images, strict=True) if isinstance(image, _Seen)
        ]
        predictions = _predict(model, batch)
        self._metrics.batch(len(readable))
        try:
            predictions = self._logged(predictions, [questions[place] for place in readable])
        except SpoolFull as error:
            if self._rules.refuse_when_full:
                return [LogFull() for _ in questions]
            logger.debug("not logged: %s", error)
            self._metrics.dropped(len(predictions))
        outcomes: list[Answer | Exception] = [
            image if isinstance(image, ImageRefused) else NoModel() for image in images
        ]
        for place, prediction in zip(readable, predictions, strict=True):
            outcomes[place] = _answer(model, prediction)
        return outcomes

    def _seen_image(self, question: Question, preprocessing: Preprocessing) -> "_Seen | ImageRefused":
        # Each image is brought to the network's size at once: a batch of large ones would not fit into memory.
        try:
            image = decode(question.data, self._rules.limits)
        except ImageRefused as refusal:
            return refusal
        statistics = tuple(statistics_of(image.pixels).tolist())
        return _Seen(resize(image.pixels, preprocessing), statistics, image.width, image.height, image.format)

    def _logged(self, predictions: Sequence[Prediction], questions: Sequence[Question]) -> list[Prediction]:
        """Write the images and then the records that name them, in one write; returns the records as written."""
        frames: list[Frame] = []
        fresh: list[str] = []
        written: list[Prediction] = []
        for prediction, question in zip(predictions, questions, strict=True):
            sha256 = prediction.image_sha256
            if self._rules.keep_images and sha256 not in self._images and sha256 not in fresh:
                frames.append(Frame(IMAGE, bytes.fromhex(sha256) + question.data))
                fresh.append(sha256)
            record = replace(
                prediction,
                image_kept=self._rules.keep_images,
                repeated=question.own_id and self._answered_before(question.id),
            )
            frames.append(Frame(PREDICTION, encode_prediction(record)))
            written.append(record)
        if frames:
            self._spool.write(frames)
        # Only now: an image whose write failed has to be written when it comes again.
        for sha256 in fresh:
            _remember(self._images, sha256, _REMEMBERED_IMAGES)
        return written

    def _answered_before(self, identifier: str) -> bool:
        seen = identifier in self._ids
        _remember(self._ids, identifier, _REMEMBERED_IDS)
        return seen


@dataclass(frozen=True)
class _Seen:
    """What is left of an image once it was looked at: the network's square, and facts about the whole."""

    square: Pixels
    statistics: tuple[float, ...]
    width: int
    height: int
    format: str


def _predict(model: LoadedModel, batch: Sequence[tuple[Question, _Seen]]) -> list[Prediction]:
    if not batch:
        return []
    artifact = model.runtime.artifact
    squares = np.stack([image.square for _, image in batch])
    outputs = model.runtime.run(normalise(squares, artifact.preprocessing))
    best = outputs.probabilities.argmax(axis=1)
    return [
        Prediction(
            id=question.id,
            at=now(),
            model_version=model.version,
            label=artifact.classes[best[row]],
            confidence=float(outputs.probabilities[row, best[row]]),
            probabilities=tuple(outputs.probabilities[row].tolist()),
            embedding=outputs.embedding[row],
            statistics=image.statistics,
            image_sha256=hashlib.sha256(question.data).hexdigest(),
            image_width=image.width,
            image_height=image.height,
            image_format=image.format,
            image_bytes=len(question.data),
            image_kept=False,
            metadata=question.metadata,
        )
        for row, (question, image) in enumerate(batch)
    ]


def _answer(model: LoadedModel, prediction: Prediction) -> Answer:
    return Answer(
        id=prediction.id,
        model=model.title,
        label=prediction.label,
        confidence=prediction.confidence,
        probabilities=dict(zip(model.runtime.artifact.classes, prediction.probabilities, strict=True)),
    )


def _remember(known: "OrderedDict[str, None]", key: str, most: int) -> None:
    known[key] = None
    known.move_to_end(key)
    if len(known) > most:
        known.popitem(last=False)
