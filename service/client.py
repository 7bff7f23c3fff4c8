"""A small client: sends images, gives answers as records, and comes back politely when told to."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from infra.clock import new_id
from service.patient_http import PatientHttp, ServiceAway, ServiceRefused

__all__ = ["Client", "ClientAnswer", "Feedback", "RetrainRequest", "ServiceAway", "ServiceRefused", "Unanswered"]

_BATCH_IMAGES, _BATCH_BYTES = 16, 8_000_000
_TOO_LARGE = 413
# What a request with one image is refused for because of that image, and of nothing else.
_OF_THE_IMAGE = (_TOO_LARGE, 415, 422)


@dataclass(frozen=True)
class ClientAnswer:
    """
    What the service says about one image.

    Attributes:
        model: name and version that answered, as "name:version".
        probabilities: by class, summing to 1.
    """

    id: str
    model: str
    label: str
    confidence: float
    probabilities: Mapping[str, float]

    @property
    def version(self) -> int:
        """The version that answered."""
        return int(self.model.rpartition(":")[2])


@dataclass(frozen=True)
class Unanswered:
    """An image that the service could not use, among others that it could; `code` is stable."""

    id: str
    code: str
    message: str


@dataclass(frozen=True)
class Feedback:
    """What the answer with this id should have been."""

    id: str
    label: str
    labelled_by: str = ""


@dataclass(frozen=True)
class RetrainRequest:
    """
    A request for a retrain, as it stands.

    Attributes:
        request: its id.
        state: "waiting", "accepted" or "declined".
        words: why.
        job: id of the job that does it; None where there is none.
    """

    request: str
    state: str
    reason: str
    words: str
    job: str | None


class Client:
    """
    Talks to one service; may be shared between threads.

        with Client("http://127.0.0.1:3000", token) as client:
            answer = client.predict(Path("card.jpg").read_bytes(), {"camera": "hall-1"})
            client.feedback([Feedback(answer.id, "dark")])

    Refusals that say "later" (429, 503) and broken connections are tried again within `patience_s`, waiting as
    Retry-After says and a random bit longer; nothing else is. Every prediction has an id from the start, so that a
    second try is known as one: the service answers it anew, and the log counts it once. Images are bytes and not
    open files, for what was half sent could not be sent again.

    Attributes:
        url: as given.
        patience_s: for all tries of one request together; `timeout_s` is for each.
    """

    def __init__(self, url: str, token: str = "", *, timeout_s: float = 30.0, patience_s: float = 15.0) -> None:
        """Nothing is asked yet; an address or a token that cannot be sent is a UserError."""
        self._service = PatientHttp(url, token, timeout_s=timeout_s, patience_s=patience_s)
        self.url, self.patience_s = url, patience_s

    def predict(
        self,
        image: bytes,
        metadata: Mapping[str, str] | None = None,
        id: str | None = None,  # noqa: A002 - its name in the interface
    ) -> ClientAnswer:
        """
        Classify one image.

        Raises:
            ServiceRefused: the service did not take it; `code` says why.
            ServiceAway: nobody answered within the patience.
        """
        params = {**(metadata or {}), "id": id or new_id()}
        headers = {"Content-Type": "application/octet-stream"}
        return _answer(self._service.ask("POST", "/v1/predict", content=image, params=params, headers=headers))

    def predict_many(
        self,
        images: Iterable[bytes],
        metadata: Mapping[str, str] | None = None,
        ids: Sequence[str] | None = None,
    ) -> Iterator[ClientAnswer | Unanswered]:
        """
        Classify images a batch at a time: one outcome for each, in their order, as the batches are answered.

        Args:
            images: may be a generator; little more than one batch of them is held.
            metadata: of all of them.
            ids: one for each image; made where none are given.

        Raises:
            ServiceRefused: a request failed as a whole, as for a wrong token.
            ServiceAway: nobody answered within the patience.
        """
        given = iter(ids) if ids is not None else iter(new_id, "")
        for batch in _batches(images):
            asked = list(zip(batch, given, strict=False))
            if len(asked) < len(batch):
                raise ValueError("there are more images than ids; give one for each, or none")
            yield from self._answers(asked, metadata or {})

    def feedback(self, labels: Sequence[Feedback]) -> Sequence[Mapping[str, str]]:
        """Hand in labels; returns the service's notes about some of them, such as an unknown class."""
        items = [{"id": one.id, "label": one.label, "labelled_by": one.labelled_by} for one in labels]
        notes: list[dict[str, str]] = self._service.ask("POST", "/v1/feedback", json=items)["notes"] if items else []
        return notes

    def model(self) -> Mapping[str, Any]:
        """What `GET /v1/model` says."""
        return self._service.ask("GET", "/v1/model")

    def request_retrain(self, reason: str) -> str:
        """
        Ask for a retrain; gives the request's id, by which `retrain_request` tells how it stands.

        A broken connection is tried again, so one wish may be written down twice; it is one job all the same.

        Raises:
            ServiceRefused: the token's role is not admin, or the reason cannot be used.
            ServiceAway: nobody answered within the patience.
        """
        identifier: str = self._service.ask("POST", "/v1/retrain", json={"reason": reason})["request"]
        return identifier

    def retrain_request(self, request: str) -> RetrainRequest:
        """How a request stands; one that nobody made is a ServiceRefused with the code `no_such_request`."""
        answer = self._service.ask("GET", f"/v1/retrain/{quote(request, safe='')}")
        return RetrainRequest(**{field.name: answer[field.name] for field in fields(RetrainRequest)})

    def ready(self) -> bool:
        """Whether the service has a model and answers, asked once."""
        return self._service.is_well("/readyz")

    def close(self) -> None:
        self._service.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answers(
        self, asked: Sequence[tuple[bytes, str]], metadata: Mapping[str, str]
    ) -> list[ClientAnswer | Unanswered]:
        form = {"id": [identifier for _, identifier in asked], "metadata": json.dumps(dict(metadata))}
        files = [("image", ("image", image)) for image, _ in asked]
        try:
            answer = self._service.ask("POST", "/v1/predict", data=form, files=files)
        except ServiceRefused as refused:
            if len(asked) == 1 and refused.status in _OF_THE_IMAGE:
                return [Unanswered(asked[0][1], refused.code, refused.message)]
            if len(asked) > 1 and refused.status == _TOO_LARGE:
                # Too much for one body may be well for two; what is too large alone will be found out.
                half = len(asked) // 2
                return [*self._answers(asked[:half], metadata), *self._answers(asked[half:], metadata)]
            raise
        return [_outcome(item) for item in answer.get("predictions", [answer])]


def _batches(images: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for image in images:
        if batch and (len(batch) == _BATCH_IMAGES or size + len(image) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(image)
        size += len(image)
    if batch:
        yield batch


def _outcome(item: Mapping[str, Any]) -> ClientAnswer | Unanswered:
    error = item.get("error")
    return _answer(item) if error is None else Unanswered(item["id"], error["code"], error["message"])


def _answer(item: Mapping[str, Any]) -> ClientAnswer:
    # A newer service may say more than this client knows.
    return ClientAnswer(**{field.name: item[field.name] for field in fields(ClientAnswer)})
