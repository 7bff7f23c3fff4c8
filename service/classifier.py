"""Images in, logged answers out: decode, measure, run the network once for the batch, write the record."""

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from infra.clock import now
from models.images import ImageLimits, ImageRefused
from models.prediction import Prediction
from models.preprocessing import normalise
from monitoring.image_stats import statistics_of_all
from service.lineup import Lineup, LoadedModel
from service.live_model import LiveModel
from service.metrics import Metrics
from service.records import encode_prediction
from service.rollout import Shadow, Shown, is_chosen
from service.seeing import Seen, see
from service.segments import IMAGE, PREDICTION, Frame
from service.spool import Spool, SpoolFull

logger = logging.getLogger(__name__)

_REMEMBERED_IDS = 100_000
_REMEMBERED_IMAGES = 4096


class NoModel(Exception):
    """There is no champion yet, or none that could be loaded."""


class LogFull(Exception):
    """The disk has no room for the record, and the settings say that then nothing is answered."""


class VersionGone(Exception):
    """The version that the caller insists on stopped answering while the question waited."""


@dataclass(frozen=True)
class Question:
    """
    One image to classify.

    Attributes:
        id: of the prediction.
        data: the image's bytes as sent.
        own_id: whether the caller chose the id, so that it may have been used before.
        version: the only one that may answer; None = whoever the id falls to.
        refusal: why the image is not even looked at, where that is known already.
    """

    id: str
    data: bytes
    metadata: Mapping[str, str]
    own_id: bool = False
    version: int | None = None
    refusal: ImageRefused | None = None


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

    def __init__(self, live: LiveModel, spool: Spool, shadow: Shadow, rules: ClassifierRules, metrics: Metrics) -> None:
        self._live, self._spool, self._shadow, self._rules, self._metrics = live, spool, shadow, rules, metrics
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._images: OrderedDict[str, None] = OrderedDict()  # of the segment that is being written
        self._seals = spool.seals

    def answer(self, questions: Sequence[Question]) -> list[Answer | Exception]:
        """One outcome for each question; an image that cannot be read is an outcome of its own."""
        lineup = self._live.lineup  # read once: what changes meanwhile concerns the next batch
        if lineup is None:
            return [NoModel() for _ in questions]
        if self._rules.refuse_when_full and self._spool.full:
            return [LogFull() for _ in questions]
        outcomes: list[Answer | Exception] = [VersionGone()] * len(questions)
        given: list[_Given] = []
        for model, places in _split(lineup, questions):
            given += self._given(lineup, model, [(place, questions[place]) for place in places], outcomes)
        self._metrics.batch(len(given))
        try:
            given = self._logged(given)
        except SpoolFull as error:
            if self._rules.refuse_when_full:
                return [LogFull() for _ in questions]
            logger.debug("not logged: %s", error)
            self._metrics.dropped(len(given))
        for one in given:
            outcomes[one.place] = _answer(one.model, one.prediction)
        if lineup.shadow is not None:
            self._shadow.offer([Shown(one.question.data, one.seen, one.prediction) for one in given], lineup.shadow)
        return outcomes

    def _given(
        self,
        lineup: Lineup,
        model: LoadedModel,
        asked: Sequence[tuple[int, Question]],
        outcomes: list[Answer | Exception],
    ) -> "list[_Given]":
        """What the model answers; images that cannot be read get their outcome here."""
        preprocessing = model.runtime.artifact.preprocessing
        readable: list[tuple[int, Question, Seen]] = []
        for place, question in asked:
            if question.refusal is not None:
                outcomes[place] = question.refusal
                continue
            try:
                readable.append((place, question, see(question.data, preprocessing, self._rules.limits)))
            except ImageRefused as refusal:
                outcomes[place] = refusal
        if not readable:
            return []
        try:
            return _predicted(model, readable, self._rules, self._metrics, canary=model is lineup.canary)
        except Exception:
            if model is lineup.champion:
                raise
            logger.exception("the canary %s failed at a batch; the champion answers it", model.title)
            self._metrics.canary_failed(len(readable))
            free = [(place, question) for place, question in asked if question.version is None]
            return self._given(lineup, lineup.champion, free, outcomes)

    def _logged(self, given: "Sequence[_Given]") -> "list[_Given]":
        """Write the images and then the records that name them, in one write; returns what was written."""
        seals = self._spool.seals
        if seals != self._seals:
            # Each segment has the images that it names: what is kept of one must not hang on what is kept of another.
            self._seals = seals
            self._images.clear()
        frames: list[Frame] = []
        fresh: list[str] = []
        own: list[str] = []
        written: list[_Given] = []
        for one in given:
            sha256 = one.prediction.image_sha256
            if self._rules.keep_images and sha256 not in self._images and sha256 not in fresh:
                frames.append(Frame(IMAGE, bytes.fromhex(sha256) + one.question.data))
                fresh.append(sha256)
            record = one
            if one.question.own_id:
                if one.question.id in self._ids or one.question.id in own:
                    record = replace(one, prediction=replace(one.prediction, repeated=True))
                own.append(one.question.id)
            frames.append(Frame(PREDICTION, encode_prediction(record.prediction)))
            written.append(record)
        if frames:
            self._spool.write(frames)
        # Only now: what could not be written has to be written when it comes again, and is then no repetition.
        for sha256 in fresh:
            _remember(self._images, sha256, _REMEMBERED_IMAGES)
        for identifier in own:
            _remember(self._ids, identifier, _REMEMBERED_IDS)
        return written


@dataclass(frozen=True)
class _Given:
    """An answer before it is told: whose, to what, and where in the batch."""

    place: int
    question: Question
    seen: Seen
    model: LoadedModel
    prediction: Prediction


def _split(lineup: Lineup, questions: Sequence[Question]) -> list[tuple[LoadedModel, list[int]]]:
    """The places that each model answers; whoever asks for a version that does not answer is in none."""
    canary = lineup.canary
    if canary is None and not any(question.version for question in questions):
        return [(lineup.champion, list(range(len(questions))))]
    places: dict[int, list[int]] = {}
    for place, question in enumerate(questions):
        tried = canary is not None and is_chosen(question.id, canary)
        falls_to = canary.version if canary is not None and tried else lineup.champion.version
        places.setdefault(question.version or falls_to, []).append(place)
    answering = [model for model in (lineup.champion, canary) if model is not None]
    return [(model, places[model.version]) for model in answering if model.version in places]


def _predicted(
    model: LoadedModel,
    readable: Sequence[tuple[int, Question, Seen]],
    rules: ClassifierRules,
    metrics: Metrics,
    *,
    canary: bool,
) -> list[_Given]:
    artifact = model.runtime.artifact
    squares = np.stack([seen.square for _, _, seen in readable])
    begun = time.perf_counter()
    outputs = model.runtime.run(normalise(squares, artifact.preprocessing))
    seconds = time.perf_counter() - begun
    metrics.forward("canary" if canary else "champion", seconds, len(readable))
    best = outputs.probabilities.argmax(axis=1)
    statistics = statistics_of_all([seen.sample for _, _, seen in readable]).tolist()
    return [
        _Given(
            place,
            question,
            seen,
            model,
            Prediction(
                id=question.id,
                at=now(),
                model_version=model.version,
                label=artifact.classes[best[row]],
                confidence=float(outputs.probabilities[row, best[row]]),
                probabilities=tuple(outputs.probabilities[row].tolist()),
                embedding=outputs.embedding[row],
                statistics=tuple(statistics[row]),
                image_sha256=hashlib.sha256(question.data).hexdigest(),
                image_width=seen.width,
                image_height=seen.height,
                image_format=seen.format,
                image_bytes=len(question.data),
                image_kept=rules.keep_images,
                metadata=question.metadata,
                forward_ms=seconds * 1000,
            ),
        )
        for row, (place, question, seen) in enumerate(readable)
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
